"""`mcpctld.protocols.splice`: ids replaced, added, found and guessed in raw text."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpctld.protocols.excerpt import EXCERPT_BYTES
from mcpctld.protocols.splice import find_id, guess_id, insert_id, one_line, replace_id

# ---------------------------------------------------------------- one line


def test_a_text_of_one_line_is_given_back_itself():
    raw = b'{"a":"x\\ny"}'
    assert one_line(raw) is raw


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_line_ends_between_tokens_become_spaces(end):
    raw = b'{"a":' + end + b"  [1," + end + b'"x\\n"]}' + end
    assert end not in one_line(raw)
    assert json.loads(one_line(raw)) == {"a": [1, "x\n"]}
    assert len(one_line(raw)) == len(raw)


# ---------------------------------------------------------------- replacing


@pytest.mark.parametrize(
    ("raw", "replaced"),
    [
        (b'{"id":1,"method":"x"}', b'{"id":NEW,"method":"x"}'),
        (b' { "id" :\t1\n, "method":"x"}', b' { "id" :\tNEW\n, "method":"x"}'),
        (b'{"jsonrpc":"2.0","id":"a,}","x":1}', b'{"jsonrpc":"2.0","id":NEW,"x":1}'),
        (b'{"jsonrpc":"2.0","id":-1.5e+7}', b'{"jsonrpc":"2.0","id":NEW}'),
        (b'{"method":"\\"id\\":2","id":1}', b'{"method":"\\"id\\":2","id":NEW}'),
        (b'{"params":{"id":7},"id":1}', b'{"params":{"id":7},"id":NEW}'),
        (b'{"id":1,"params":{"id":7}}', b'{"id":NEW,"params":{"id":7}}'),
        (b'{"params":{"id":7},"id":1,"x":null}', b'{"params":{"id":7},"id":NEW,"x":null}'),
        (b'{"params":{"id":7},"id":1,"x":[]}', b'{"params":{"id":7},"id":NEW,"x":[]}'),
        (b'{"a":[{"id":7}],"id":1,"x":{"id":8}}', b'{"a":[{"id":7}],"id":NEW,"x":{"id":8}}'),
        (b'{"a":{},"id":"id","x":[]}', b'{"a":{},"id":NEW,"x":[]}'),
        (b'{"a":["id"],"id":1,"x":"\\"id\\":3"}', b'{"a":["id"],"id":NEW,"x":"\\"id\\":3"}'),
        (b'{"x\\"id":5,"a":[],"id":1,"b":[]}', b'{"x\\"id":5,"a":[],"id":NEW,"b":[]}'),
        (b'{"a":[],"\\u0069\\u0064":1}', b'{"a":[],"\\u0069\\u0064":NEW}'),
        (b'{"id":1,"a":"\\ud800"}', b'{"id":NEW,"a":"\\ud800"}'),
        (b'{"id":null,"error":{}}', b'{"id":NEW,"error":{}}'),
        (b'{"id":1,"method":"x","id":2}', b'{"id":1,"method":"x","id":NEW}'),
        (b'{"id":1,"i\\u0064":2,"a":[]}', b'{"id":1,"i\\u0064":NEW,"a":[]}'),
        (b'{"a":[[[[[{"id":3}]]]]],"id":1,"z":[]}', b'{"a":[[[[[{"id":3}]]]]],"id":NEW,"z":[]}'),
    ],
)  # fmt: skip
def test_only_the_value_of_the_top_level_id_changes(raw, replaced):
    assert replace_id(raw, b'"n"') == replaced.replace(b"NEW", b'"n"')


@pytest.mark.parametrize("raw", [b'{"a":1}', b'{"a":{"id":1}}', b'{"id":{}}', b'{"id":1,"id":[]}'])
def test_replacing_what_is_not_there_is_a_mistake(raw):
    with pytest.raises(ValueError, match="no id"):
        replace_id(raw, b"1")


def test_an_added_id_comes_first():
    assert insert_id(b' { "method":"x"}', b"5") == b' {"id":5, "method":"x"}'


scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
)
texts = st.text() | st.sampled_from(
    ["id", '"id"', ',"id":5}', '{"id":5,', "\\", '"', "}", "\\u0069d"]
)
values = st.recursive(
    scalars | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=10,
)
ids = st.integers() | texts | st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def messages(draw: st.DrawFn) -> tuple[bytes, dict[str, object]]:
    """The text of an object with an id somewhere at its top, and the object."""
    members = draw(st.dictionaries(texts, values, max_size=4))
    members.pop("id", None)
    items = [*members.items(), ("id", draw(ids))]
    message = dict(draw(st.permutations(items)))
    text = json.dumps(
        message,
        ensure_ascii=draw(st.booleans()),
        indent=draw(st.sampled_from([None, 0, 2])),
        separators=draw(st.sampled_from([(",", ":"), (" , ", " : ")])),
    )
    return text.encode(errors="backslashreplace"), message


@given(messages(), st.sampled_from([b"17", b'"mine"', b'"id"']))
@settings(deadline=None, max_examples=300)
def test_every_byte_but_those_of_the_id_stays(case, new):
    raw, message = case
    replaced = replace_id(raw, new)
    assert json.loads(replaced) == {**message, "id": json.loads(new)}
    old = find_id(raw)
    assert old is not None
    assert json.loads(old) == message["id"]
    assert replace_id(replaced, old) == raw


@given(messages())
@settings(deadline=None)
def test_an_added_id_leaves_the_rest_as_it_was(case):
    raw, _ = case
    added = insert_id(raw, b"5")
    start = raw.index(b"{") + 1
    assert added == raw[:start] + b'"id":5,' + raw[start:]


def test_finding_looks_at_the_top_level_only():
    assert find_id(b'{"a":{"id":1}}') is None
    assert find_id(b'{"a":{"id":1},"id":"x"}') == b'"x"'


# ---------------------------------------------------------------- guessing


@pytest.mark.parametrize(
    ("head", "tail", "id_"),
    [
        (b'{"jsonrpc":"2.0","id":12,"result":{"a', b"", b"12"),
        (b'{"id":"x","jsonrpc":"2.0","result":{"a', b"", b'"x"'),
        (b' { "method" : "tools/call" , "id" : 1 , "params":{"a', b"", b"1"),
        (b'{"id":1}', b"", b"1"),
        (b'{"result":{"id":7,', b'"}]},"id":5}', b"5"),
        (b'{"result":{"id":7,', b'"}]},"id":5,"jsonrpc":"2.0"}', b"5"),
        (b'{"result":{"id":7,', b'"}]},"jsonrpc":"2.0","id":5 } \r', b"5"),
        (b'{"result":{"id":7,', b'"}] , "id":"q"}', b'"q"'),
        # not surely the id:
        (b'{"result":{"id":7,', b'"id":5}}', None),
        (b'{"result":{"id":7,', b'"id":5}]}', None),
        (b'{"result":"x', b'\\"id":5}', None),
        (b'{"result":"x', b'"id":5}', None),
        (b'{"result":"x', b',\\"id\\":5}"}', None),
        (b'{"jsonrpc":"2.0","id":12', b"", None),
        (b'{"jsonrpc":"2.0","id":"12', b"", None),
        (b'{"result":[{"id":1,', b"", None),
        (b'[{"id":1,', b"", None),
        (b"", b"", None),
        # nothing that an answer could be given to:
        (b'{"id":null,', b"", None),
        (b'{"id":true,', b"", None),
        (b'{"id":false,', b"", None),
        (b'{"id":"\xff",', b"", None),
        (b'{"id":"\x01",', b"", None),
        (b'{"id":"\\x",', b"", None),
        (b'{"id":' + b"1" * 5000 + b",", b"", None),
    ],
)
def test_an_id_is_guessed_only_where_it_is_certain(head, tail, id_):
    assert guess_id(head, tail) == id_


@given(messages(), st.integers(1, 60), st.integers(1, 60))
@settings(deadline=None, max_examples=300)
def test_a_guess_is_never_wrong(case, head, tail):
    raw, message = case
    guess = guess_id(raw[:head], raw[-tail:])
    assert guess is None or json.loads(guess) == message["id"]


@given(st.binary(max_size=60), st.binary(max_size=60))
@settings(deadline=None)
def test_guessing_takes_any_bytes(head, tail):
    guess = guess_id(b'{"id":' + head, tail + b'"id":1}')
    assert guess is None or isinstance(json.loads(guess), str | int | float)


# ---------------------------------------------------------------- cost


@pytest.mark.parametrize(
    "raw",
    [
        b'{"result":"' + b"\\n" * 500_000 + b'","a":[],"id":1,"b":[]}',
        b'{"result":' + b"[" * 800 + b'"]"' + b"]" * 800 + b',"id":1,"b":[]}',
        b'{"result":[' + b'{"id":[1,"]"]},' * 60_000 + b'1],"id":1,"b":[]}',
        b'{"result":"' + b"\\\\" * 400_000 + b'","id":1}',
        b"{" + b'"a":1,' * 100_000 + b'"b":[],"id":1,"c":[]}',
    ],
)
def test_a_megabyte_of_any_shape_is_linear_work(raw):
    # Quadratic work on these would take minutes: finishing is the proof.
    assert find_id(raw) == b"1"
    assert find_id(replace_id(raw, b"22")) == b"22"
    guess_id(raw[:EXCERPT_BYTES], raw[-EXCERPT_BYTES:])
