"""`mcpctld.protocols.jsonrpc`: what a line is, and what is refused."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpctld.protocols import jsonrpc
from mcpctld.protocols.jsonrpc import Batch, Kind, Malformed, Message, id_key, parse


def one(line: bytes) -> Message:
    message = parse(line)
    assert isinstance(message, Message)
    return message


def refused(line: bytes) -> Malformed:
    with pytest.raises(Malformed) as caught:
        parse(line)
    return caught.value


# ---------------------------------------------------------------- what a message is


@pytest.mark.parametrize(
    ("line", "kind", "id_", "method"),
    [
        (b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}', Kind.REQUEST, b"1", "tools/list"),
        (b'{"method":"ping","id":"a"}', Kind.REQUEST, b'"a"', "ping"),
        (b'{"method":"ping","id":-7}', Kind.REQUEST, b"-7", "ping"),
        (b'{"method":"ping","id":1.50}', Kind.REQUEST, b"1.50", "ping"),
        (b'{"method":"ping","id":1,"result":{}}', Kind.REQUEST, b"1", "ping"),
        (b'{"method":"notifications/initialized"}', Kind.NOTIFICATION, b"", None),
        (b'{"id":1,"result":{}}', Kind.RESULT, b"1", ""),
        (b'{"id":1,"result":null}', Kind.RESULT, b"1", ""),
        (b'{"id":1,"result":{},"error":null}', Kind.RESULT, b"1", ""),
        (b'{"id":1,"result":null,"error":{"code":1}}', Kind.ERROR, b"1", ""),
        (b'{"id":1,"error":null}', Kind.ERROR, b"1", ""),
        (b'{"id":null,"error":{"code":-32700}}', Kind.ERROR, b"null", ""),
        (b'{"error":{"code":-32700}}', Kind.ERROR, b"", ""),
        (b' \t{"id" : 1 ,\r\n "result" : {} } \n', Kind.RESULT, b"1", ""),
        (b'{"id":1,"id":2,"result":{}}', Kind.RESULT, b"2", ""),
        (b'{"\\u0069d":3,"result":{}}', Kind.RESULT, b"3", ""),
        (b'{"id":1,"method":"\\u0070ing"}', Kind.REQUEST, b"1", "ping"),
    ],
)
def test_the_members_decide_what_a_message_is(line, kind, id_, method):
    message = one(line)
    assert message.kind is kind
    assert message.id == id_
    assert method is None or message.method == method
    assert message.raw is line


def test_parts_are_the_bytes_of_the_message():
    request = one(b'{"id":1,"method":"x","params": {"n":1.0,  "e":1E5}}')
    assert request.params == b'{"n":1.0,  "e":1E5}'
    assert request.result == request.error == b""
    assert one(b'{"id":1,"result":[1.10]}').result == b"[1.10]"
    assert one(b'{"id":1,"error":{"code":1}}').error == b'{"code":1}'


def test_a_message_shows_nothing_of_its_contents():
    request = one(b'{"id":1,"method":"x","params":{"password":"hunter2"}}')
    assert repr(request) == "<request x id=1 of 53 bytes>"
    batch = parse(b'[{"id":1,"result":"hunter2"}]')
    assert repr(batch) == "<batch of 1 messages, 29 bytes>"


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("line", "code", "id_"),
    [
        (b"", -32700, b"null"),
        (b"Starting server...", -32700, b"null"),
        (b"[INFO] starting", -32700, b"null"),
        (b'{"id":1,"result":{}', -32700, b"null"),
        (b'{"id":1,"result":{}} x', -32700, b"null"),
        (b'{"id":1,"result":NaN}', -32700, b"null"),
        (b'{"id":1,"result":-Infinity}', -32700, b"null"),
        (b'{"id":01,"result":{}}', -32700, b"null"),
        (b'{"id":1,"result":"\x01"}', -32700, b"null"),
        (b'{"id":1,"result":"\xff"}', -32700, b"null"),
        (b'{"id":1,"result":"\xed\xa0\x80"}', -32700, b"null"),
        (b'{"id":1,"\xc3":"x","result":{}}', -32700, b"null"),
        (b"\xef\xbb\xbf{}", -32700, b"null"),
        (b'{"id":1,"result":"\\u12x4"}', -32700, b"null"),
        (b"17", -32600, b"null"),
        (b'"text"', -32600, b"null"),
        (b"null", -32600, b"null"),
        (b"[]", -32600, b"null"),
        (b"[1]", -32600, b"null"),
        (b'[[{"method":"x"}]]', -32600, b"null"),
        (b"{}", -32600, b"null"),
        (b'{"id":7}', -32600, b"7"),
        (b'{"id":7,"method":""}', -32600, b"7"),
        (b'{"id":7,"method":5}', -32600, b"7"),
        (b'{"method":null,"id":"x"}', -32600, b'"x"'),
        (b'{"method":{}}', -32600, b"null"),
        (b'{"id":null,"method":"x"}', -32600, b"null"),
        (b'{"id":{},"method":"x"}', -32600, b"null"),
        (b'{"id":[1],"method":"x"}', -32600, b"null"),
        (b'{"id":true,"method":"x"}', -32600, b"null"),
        (b'{"result":{}}', -32600, b"null"),
        (b'{"id":null,"result":{}}', -32600, b"null"),
    ],
)
def test_what_is_no_message_is_refused_with_the_code_to_answer(line, code, id_):
    error = refused(line)
    assert (error.code, error.id) == (code, id_)
    assert error.reason == str(error) != ""


@pytest.mark.parametrize(
    "line",
    [
        b'{"id":1,"result":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b"[" * 100_000 + b"]" * 100_000,
        b'{"id":1,"a":"\\ud800","result":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)
def test_deep_nesting_is_refused_not_a_crash(line):
    error = refused(line)
    assert (error.code, error.reason) == (-32700, "nested too deeply")


# ---------------------------------------------------------------- batches


def test_a_batch_holds_its_messages_in_order():
    line = b' [{"id":1,"method":"a"}, {"method":"b"} ,{"id":"c","result":1}]'
    batch = parse(line)
    assert isinstance(batch, Batch)
    assert batch.raw is line
    assert [m.raw for m in batch.messages] == [
        b'{"id":1,"method":"a"}',
        b'{"method":"b"}',
        b'{"id":"c","result":1}',
    ]


# ---------------------------------------------------------------- lone surrogates


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        (rb"\ud800", "\N{REPLACEMENT CHARACTER}"),
        (rb"\uDFFF", "\N{REPLACEMENT CHARACTER}"),
        (rb"\udc00\ud800", "\N{REPLACEMENT CHARACTER}" * 2),
        (rb"\ud800\ud83d\ude00", "\N{REPLACEMENT CHARACTER}\N{GRINNING FACE}"),
        (rb"\ud83d\\ude00", "\N{REPLACEMENT CHARACTER}\\ude00"),
        (rb"\\ud83d\ude00", "\\ud83d\N{REPLACEMENT CHARACTER}"),
        (rb"\\ud800\udc00\u0041", "\\ud800\N{REPLACEMENT CHARACTER}A"),
        (rb"\\\ud800", "\\\N{REPLACEMENT CHARACTER}"),
        (rb"\ud800 \\ud800", "\N{REPLACEMENT CHARACTER} \\ud800"),
    ],
)
def test_escaped_lone_surrogates_are_carried(text, seen):
    line = b'{"id":1,"method":"x","params":{"name":"%b"}}' % text
    message = one(line)
    assert message.raw is line
    assert jsonrpc.read_params(message).name == seen


def test_an_id_with_a_lone_surrogate_stays_as_it_was():
    message = one(rb'{"params":{"id":3},"method":"x","id":"\ud800"}')
    assert message.id == rb'"\ud800"'
    assert jsonrpc.with_id(message, b"9") == rb'{"params":{"id":3},"method":"x","id":9}'


def test_lone_surrogates_do_not_hide_other_faults():
    assert refused(rb'{"id":1,"result":["\ud800",]}').code == -32700
    assert refused(rb'{"id":{},"method":"\ud800"}').code == -32600
    assert refused(rb'[{"id":1,"result":"\ud800"}]').code == -32700  # not carried in batches


# ---------------------------------------------------------------- ids


@pytest.mark.parametrize(
    ("one_id", "same"),
    [
        (b"1", b"1.0"),
        (b"1", b"10e-1"),
        (b"0", b"-0"),
        (b"-3", b"-3.00"),
        (b"1.5", b"15E-1"),
        (b"12345678901234567890123", b"12345678901234567890123.0"),
        (b'"a"', rb'"\u0061"'),
        (b'"a/b"', rb'"a\/b"'),
        ('"é"'.encode(), rb'"\u00e9"'),
        (rb'"\ud800"', rb'"\uD800"'),
        (b"null", b"null"),
        (b"1e99999999999999999999", b"1e99999999999999999999"),
    ],
)
def test_equal_ids_have_equal_keys(one_id, same):
    assert id_key(one_id) == id_key(same)
    assert hash(id_key(one_id)) == hash(id_key(same))


def test_different_ids_have_different_keys():
    ids = [b"1", b'"1"', b"-1", b"1.5", b"2", b'"a"', b'"A"', rb'"\""', b"null", b"", b'"null"']
    ids += [b"1e400", b"1e401", b"1e-400", b"1e-999999999", b"1e99999999999999999999"]
    assert len({id_key(i) for i in ids}) == len(ids)


@given(st.text(), st.booleans())
@settings(deadline=None)
def test_a_string_has_one_key_however_it_is_escaped(text, ascii_only):
    written = json.dumps(text, ensure_ascii=ascii_only).encode(errors="surrogatepass")
    everything_escaped = '"' + "".join(
        f"\\u{unit:04x}"
        for unit in memoryview(text.encode("utf-16-le", "surrogatepass")).cast("H")
    ) + '"'  # fmt: skip
    assert id_key(written) == id_key(everything_escaped.encode())


# ---------------------------------------------------------------- readers and writers


def test_readers_see_the_parts_of_their_message():
    request = one(b'{"id":1,"method":"tools/call","params":{"name":"echo"}}')
    assert jsonrpc.read_params(request).name == "echo"
    result = one(b'{"id":1,"result":{"serverInfo":{"name":"s"}}}')
    assert jsonrpc.read_initialize_result(result).server_name == "s"
    error = one(b'{"id":1,"error":{"code":-3,"message":"no"}}')
    assert jsonrpc.read_error(error) == (-3, "no")


@pytest.mark.parametrize(
    ("line", "value"),
    [
        (
            jsonrpc.request_line(b'"a"', "x", {"é": [1, None]}),
            {"jsonrpc": "2.0", "id": "a", "method": "x", "params": {"é": [1, None]}},
        ),
        (jsonrpc.request_line(b"1", "x"), {"jsonrpc": "2.0", "id": 1, "method": "x"}),
        (jsonrpc.notification_line("x"), {"jsonrpc": "2.0", "method": "x"}),
        (jsonrpc.notification_line("x", []), {"jsonrpc": "2.0", "method": "x", "params": []}),
        (jsonrpc.result_line(b"1", b"{}"), {"jsonrpc": "2.0", "id": 1, "result": {}}),
        (
            jsonrpc.error_line(b"1", -5, "n\no"),
            {"jsonrpc": "2.0", "id": 1, "error": {"code": -5, "message": "n\no"}},
        ),
        (
            jsonrpc.error_line(b"", -5, "\udcff", {"a": 1}),
            {
                "jsonrpc": "2.0",
                "id": None,
                "error": {"code": -5, "message": "\udcff", "data": {"a": 1}},
            },
        ),
    ],
)
def test_our_own_messages_are_one_line_of_compact_json(line, value):
    assert json.loads(line) == value
    assert b"\n" not in line
    assert b'":' in line
    assert b'": ' not in line
    assert one(line).raw == line


def test_what_json_cannot_say_is_not_written():
    with pytest.raises(ValueError, match="JSON"):
        jsonrpc.notification_line("x", {"n": float("nan")})


def test_an_id_is_replaced_or_added():
    assert jsonrpc.with_id(one(b'{"id":1,"method":"x"}'), b'"n"') == b'{"id":"n","method":"x"}'
    assert jsonrpc.with_id(one(b'{"method":"x"}'), b"2") == b'{"id":2,"method":"x"}'


# ---------------------------------------------------------------- made of JSON text


@pytest.mark.parametrize(
    "made",
    [
        pytest.param(jsonrpc.new_request(b"7", "a/b", b'{"x":1}'), id="request"),
        pytest.param(jsonrpc.new_request(b'"\\u00e9"', "a/b"), id="request without params"),
        pytest.param(jsonrpc.new_notification("n/\ud800", b'{"x":[1.0]}'), id="notification"),
        pytest.param(jsonrpc.new_notification("n"), id="notification without params"),
        pytest.param(jsonrpc.new_result(b"7", b'{"x":1}'), id="result"),
        pytest.param(
            jsonrpc.new_error(b"7", jsonrpc.error_text(-32601, "no", {"x": 1})),
            id="error with data",
        ),
        pytest.param(jsonrpc.new_error(b"null", jsonrpc.error_text(-32601, "no")), id="error"),
    ],
)
def test_a_message_made_of_json_text_is_the_one_that_would_be_parsed(made: Message):
    read = one(made.raw)
    assert (read.raw, read.kind, read.id) == (made.raw, made.kind, made.id)
    assert read.method in (made.method, made.method.replace("\ud800", "\ufffd"))
    assert (read.params, read.result, read.error) == (made.params, made.result, made.error)


# ---------------------------------------------------------------- any bytes at all

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip
envelopes = st.fixed_dictionaries(
    {},
    optional={
        "jsonrpc": st.just("2.0"),
        "id": st.none() | st.integers() | st.text() | json_values,
        "method": st.text() | json_values,
        "params": json_values,
        "result": json_values,
        "error": json_values,
        "else": json_values,
    },
)


@given(envelopes, st.booleans(), st.sampled_from([None, 1]))
@settings(deadline=None)
def test_the_envelope_is_what_a_full_parser_sees(envelope, ascii_only, indent):
    text = json.dumps(envelope, ensure_ascii=ascii_only, indent=indent)
    line = text.encode(errors="backslashreplace")
    if _is_no_message(envelope):
        assert refused(line).code == -32600
        return
    message = one(line)
    assert message.raw is line
    assert json.loads(message.id or b"null") == envelope.get("id")
    assert (message.kind in (Kind.REQUEST, Kind.NOTIFICATION)) == bool(envelope.get("method"))
    assert message.params == b"" or "params" in envelope


def _is_no_message(envelope: dict[str, object]) -> bool:
    id_, method = envelope.get("id"), envelope.get("method", "")
    if isinstance(id_, bool | list | dict) or not isinstance(method, str):
        return True
    if method:
        return id_ is None and "id" in envelope
    unused_error = "result" in envelope and envelope.get("error") is None
    is_error = "error" in envelope and not unused_error
    return not is_error and ("result" not in envelope or id_ is None)


tokens = [b"{", b"}", b"[", b"]", b":", b",", b" ", b'"id"', b'"method"', b'"result"', b'"x"', b"1"]
tokens += [b'"', b"\\", b"u", b"d800", b"null", b"\xff"]


@given(st.binary() | st.lists(st.sampled_from(tokens)).map(b"".join))
@settings(deadline=None, max_examples=300)
def test_any_bytes_are_a_message_or_refused(line):
    try:
        parsed = parse(line)
    except Malformed as malformed:
        error: Malformed | None = malformed
    else:
        error = None
        assert parsed.raw is line
        assert isinstance(json.loads(line), dict | list)
    if error is not None:
        assert error.code in (-32700, -32600)
        assert isinstance(json.loads(error.id), str | int | float | None)
