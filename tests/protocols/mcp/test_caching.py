"""Which answers may be given again (MCP 2026-07-28, "Caching"): the question, the time, and what was wrong."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpctld.protocols.jsonrpc import Kind, Message, parse
from mcpctld.protocols.mcp import caching
from mcpctld.protocols.mcp.caching import PROMPTS, RESOURCES, TOOLS, Answer

P = "io.modelcontextprotocol/"
MODERN = {P + "protocolVersion": "2026-07-28", P + "clientCapabilities": {}}
ASKED, RECEIVED = 1000.0, 1001.0


def ask(method: str = "tools/list", params: object = None) -> Message:
    fields = {"id": 1, "method": method, **({} if params is None else {"params": params})}
    parsed = parse(json.dumps(fields).encode())
    assert isinstance(parsed, Message)
    return parsed


def ask_raw(params: bytes) -> Message:
    parsed = parse(b'{"id":1,"method":"tools/list","params":%b}' % params)
    assert isinstance(parsed, Message)
    return parsed


def modern(method: str = "tools/list", **more: object) -> Message:
    return ask(method, {"_meta": MODERN, **more})


def text(value: object) -> bytes:
    return json.dumps(value).encode()


# ---------------------------------------------------------------- the question


def test_the_same_question_has_one_label_whatever_its_id_order_and_tracing():
    one = ask_raw(b'{"cursor":"a","_meta":{"x":1,"progressToken":7,"traceparent":"t"}}')
    other = ask_raw(b'{ "_meta": {"progressToken":8,"baggage":"b","x":1}, "cursor":"a" }')
    assert caching.question(one, b"scope") == caching.question(other, b"scope")


@pytest.mark.parametrize(
    "params", [b"{}", b" { } ", b'{"_meta":{}}', b'{"_meta":{"progressToken":1}}']
)
def test_no_params_are_empty_ones(params: bytes):
    assert caching.question(ask_raw(params), b"s") == caching.question(ask(), b"s")


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(ask("prompts/list", {"cursor": "a"}), id="method"),
        pytest.param(ask("tools/list", {"cursor": "b"}), id="cursor"),
        pytest.param(ask("tools/list", {"cursor": "a", "_meta": {"x": 1}}), id="_meta"),
        pytest.param(ask("tools/list", {}), id="no cursor"),
        pytest.param(ask("tools/list", {"cursor": "a", "_meta": MODERN}), id="revision"),
    ],
)
def test_different_questions_have_different_labels(other: Message):
    assert caching.question(ask("tools/list", {"cursor": "a"}), b"s") != caching.question(
        other, b"s"
    )


def test_a_label_is_of_one_scope():
    assert caching.question(ask(), b"one") != caching.question(ask(), b"other")
    assert caching.question(ask(), b"a", b"bc") != caching.question(ask(), b"ab", b"c")


@pytest.mark.parametrize(
    "params",
    [
        pytest.param(b"[1]", id="an array"),
        pytest.param(b"7", id="a number"),
        pytest.param(b'{"_meta":[]}', id="_meta is none"),
        pytest.param(b'{"inputResponses":{}}', id="a retry with answers"),
        pytest.param(b'{"requestState":"x"}', id="a retry with a state"),
    ],
)
def test_some_questions_have_none(params: bytes):
    assert caching.question(ask_raw(params), b"s") == b""


@given(st.lists(st.binary(), max_size=4), st.lists(st.binary(), max_size=4))
def test_a_digest_tells_its_parts_apart(one: list[bytes], other: list[bytes]):
    assert (caching.digest(*one) == caching.digest(*other)) == (one == other)


# ---------------------------------------------------------------- what is kept


def test_an_answer_survives_the_disk():
    answer = Answer(b'{"tools":["\\ud800"]}', ASKED, RECEIVED, 2.5)
    assert caching.from_bytes(answer.to_bytes()) == answer
    assert b"tools" not in repr(answer).encode()


@given(st.binary())
def test_anything_else_is_not_taken_for_an_answer(data: bytes):
    assert caching.from_bytes(data) is None


def test_a_legacy_result_is_kept_whatever_it_says_of_caching():
    for result in (b'{"tools":[]}', b'{"tools":[],"ttlMs":0}'):
        assert caching.keep(ask(), result, ASKED, RECEIVED) == Answer(result, ASKED, RECEIVED)


@pytest.mark.parametrize(
    "result",
    [
        pytest.param(b'"text"', id="not an object"),
        pytest.param(b"{" + b" " * caching.MAX_RESULT_BYTES + b"}", id="too long"),
    ],
)
def test_other_results_are_not_kept(result: bytes):
    assert caching.keep(ask(), result, ASKED, RECEIVED) is None


def test_initialize_is_kept_when_it_names_a_revision():
    result = text({"protocolVersion": "2025-11-25"})
    assert caching.keep(ask("initialize"), result, ASKED, RECEIVED) is not None
    for wrong in ({}, {"protocolVersion": 7}, {"protocolVersion": ""}):
        assert caching.keep(ask("initialize"), text(wrong), ASKED, RECEIVED) is None


@pytest.mark.parametrize("request_", [modern(), ask("server/discover"), modern("server/discover")])
def test_a_modern_result_is_kept_for_its_ttl(request_: Message):
    result = b'{"resultType":"complete","ttlMs":1500,"cacheScope":"private"}'
    kept = caching.keep(request_, result, ASKED, RECEIVED)
    assert kept == Answer(result, ASKED, RECEIVED, 1.5)


@pytest.mark.parametrize(
    "members",
    [
        b"",
        b'"ttlMs":0',
        b'"ttlMs":-5',
        b'"ttlMs":null',
        b'"ttlMs":true',
        b'"ttlMs":"60000"',
        b'"ttlMs":60000,"resultType":"input_required"',
        b'"ttlMs":60000,"resultType":7',
    ],
)
def test_a_modern_result_that_may_not_be_kept_is_not(members: bytes):
    assert caching.keep(modern(), b"{%b}" % members, ASKED, RECEIVED) is None


@pytest.mark.parametrize("ttl", [b"1e300", b"99999999999999999999"])
def test_a_very_long_ttl_is_cut(ttl: bytes):
    kept = caching.keep(modern(), b'{"ttlMs":%b}' % ttl, ASKED, RECEIVED)
    assert kept is not None
    assert kept.ttl_s == caching.MAX_AGE_S


def test_an_unchanged_answer_is_written_again_before_its_time_is_over():
    assert Answer(b"{}", ASKED, RECEIVED).rewrite_s == caching.REWRITE_S
    assert Answer(b"{}", ASKED, RECEIVED, 40.0).rewrite_s == 10.0
    assert Answer(b"{}", ASKED, RECEIVED, 1e6).rewrite_s == caching.REWRITE_S


# ---------------------------------------------------------------- what may be given

LEGACY_ANSWER = Answer(b"{}", ASKED, RECEIVED)
MODERN_ANSWER = Answer(b"{}", ASKED, RECEIVED, 60.0)


@pytest.mark.parametrize(
    ("now", "changed", "down", "expected"),
    [
        pytest.param(RECEIVED, 0.0, False, True, id="at once"),
        pytest.param(RECEIVED + 59.9, 0.0, False, True, id="within its ttl"),
        pytest.param(RECEIVED + 60.0, 0.0, False, False, id="after it"),
        pytest.param(RECEIVED + 60.0, 0.0, True, False, id="after it, server down"),
        pytest.param(RECEIVED - 0.1, 0.0, True, False, id="a clock that went back"),
        pytest.param(RECEIVED + 1, ASKED, True, False, id="changed since"),
        pytest.param(RECEIVED + 1, ASKED + 0.5, False, False, id="changed while it came"),
        pytest.param(RECEIVED + 1, ASKED - 0.5, False, True, id="changed before"),
    ],
)
def test_a_modern_answer_is_given_while_it_is_fresh(
    now: float, changed: float, down: bool, expected: bool
):
    assert caching.usable(MODERN_ANSWER, modern(), now, changed, down=down) is expected


@pytest.mark.parametrize(
    ("now", "changed", "down", "expected"),
    [
        pytest.param(RECEIVED + 29 * 86400, 0.0, False, True, id="some weeks old"),
        pytest.param(RECEIVED + 30 * 86400, 0.0, True, False, id="30 days old"),
        pytest.param(RECEIVED - 1e6, 0.0, False, True, id="a clock that went back"),
        pytest.param(RECEIVED + 1, ASKED + 1, False, False, id="changed since"),
        pytest.param(RECEIVED + 1, ASKED + 1, True, True, id="changed since, server down"),
    ],
)
def test_a_legacy_answer_is_given_for_long(now: float, changed: float, down: bool, expected: bool):
    assert caching.usable(LEGACY_ANSWER, ask(), now, changed, down=down) is expected


# ---------------------------------------------------------------- what was wrong


@pytest.mark.parametrize(
    ("given_", "real", "expected"),
    [
        (b'{"tools":[1]}', b'{"tools":[1]}', False),
        (b'{"tools":[{"a":1,"b":2}]}', b'{ "tools": [ {"b":2,"a":1} ] }', False),
        (
            b'{"tools":[],"ttlMs":1,"_meta":{"a":1}}',
            b'{"tools":[],"ttlMs":2,"resultType":"x"}',
            False,
        ),
        (b'{"tools":[1]}', b'{"tools":[2]}', True),
        (b'{"tools":[],"nextCursor":"a"}', b'{"tools":[],"nextCursor":"b"}', True),
        (b'{"tools":[]}', b'"tools"', True),
        (b'{"tools":["\\ud800"]}', b'{"tools":["\\ud801"]}', True),
        (b"{}", b"{" + b" " * 2 * caching.MAX_RESULT_BYTES + b"}", True),
        (b'{"a":0}', b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", True),
    ],
)
def test_results_differ_by_their_contents(given_: bytes, real: bytes, expected: bool):
    assert caching.differs(given_, real) is expected


def test_what_an_answer_to_initialize_promises():
    listed = {"listChanged": True}
    capabilities: dict[str, Any] = {"tools": listed, "prompts": {"listChanged": 1}, "resources": {}}
    assert caching.promised(text({"capabilities": capabilities})) == {TOOLS}
    capabilities["resources"] = {"subscribe": True, **listed}
    assert caching.promised(text({"capabilities": capabilities})) == {TOOLS, RESOURCES}
    for other in ({}, {"capabilities": None}, {"capabilities": {"tools": True}}):
        assert caching.promised(text(other)) == frozenset()


def test_an_early_answer_promises_to_tell_of_all_lists_that_there_are():
    capabilities = {"tools": {}, "prompts": {"listChanged": False, "x": 1.50}, "logging": {}}
    result = {"protocolVersion": "2025-11-25", "capabilities": capabilities, "serverInfo": {"n": 1}}
    early = caching.with_promises(text(result))
    assert caching.promised(early) == {TOOLS, PROMPTS}
    assert json.loads(early) == result | {
        "capabilities": {
            "tools": {"listChanged": True},
            "prompts": {"listChanged": True, "x": 1.5},
            "logging": {},
        }
    }


@pytest.mark.parametrize("result", [{"a": 1}, {"capabilities": 7}, {"capabilities": {"tools": 7}}])
def test_what_has_no_lists_gets_no_promises(result: dict[str, Any]):
    assert json.loads(caching.with_promises(text(result))) == result


# ---------------------------------------------------------------- subscriptions


def test_what_a_subscription_wants():
    wanted = {"toolsListChanged": True, "promptsListChanged": False, "resourceSubscriptions": ["x"]}
    assert caching.wanted(text({"notifications": wanted})) == {TOOLS}
    wanted |= {"promptsListChanged": True, "resourcesListChanged": True}
    assert caching.wanted(text({"notifications": wanted})) == caching.ALL_LISTS
    for other in ({}, {"notifications": []}, [1]):
        assert caching.wanted(text(other)) == frozenset()


def test_a_change_is_told_on_a_subscription_or_on_none():
    plain = caching.change_notice(TOOLS)
    assert json.loads(plain.raw) == {"jsonrpc": "2.0", "method": TOOLS}
    notice = caching.change_notice(PROMPTS, b'"seven"')
    assert notice.kind is Kind.NOTIFICATION
    assert json.loads(notice.raw) == {
        "jsonrpc": "2.0",
        "method": PROMPTS,
        "params": {"_meta": {P + "subscriptionId": "seven"}},
    }
    assert caching.subscription_of(notice.params) == b'"seven"'
    assert caching.subscription_of(plain.params) == b""
