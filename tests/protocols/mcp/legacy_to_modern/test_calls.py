"""`legacy_to_modern.calls`: requests under way, by whatever a message may name them."""

import json
from typing import Any

import pytest

from mcpctld.protocols.mcp.legacy_to_modern.calls import Call, Calls
from mcpctld.protocols.mcp.legacy_to_modern.initialize import read_client
from mcpctld.protocols.mcp.legacy_to_modern.mrtr import Rounds
from mcpctld.protocols.mcp.objects import open_object

ROOTS = {"inputRequests": {"a": {"method": "roots/list"}}}


def opened(**params: Any) -> dict[str, bytes]:
    return open_object(json.dumps(params).encode())


def progress(token: object, value: object) -> dict[str, bytes]:
    return opened(progressToken=token, progress=value)


def begin(calls: Calls, id: bytes = b"1", **params: Any) -> Call:
    call = Call(id, "tools/call", opened(**params))
    calls.begin(call)
    return call


def rounds() -> Rounds:
    return Rounds(read_client(b'{"capabilities":{"roots":{}}}'), lambda: b'"q"')


def test_a_call_is_found_by_either_side_s_id():
    calls = Calls()
    call = begin(calls, b"1", name="t")
    calls.ask(call, b'"x"')
    assert (call.tool, call.asked) == ("t", b'"x"')
    assert calls.find(b"1.0") is call
    assert calls.take_asked(b'"y"') is None
    assert calls.take_asked(b'"\\u0078"') is call
    assert call.asked == b""
    assert calls.take_asked(b'"x"') is None


@pytest.mark.parametrize("params", [{}, {"name": 5}])
def test_a_call_may_name_no_tool(params: Any):
    assert begin(Calls(), **params).tool is None


def test_after_its_end_nothing_leads_to_a_call():
    calls = Calls()
    call = begin(calls, _meta={"progressToken": 1})
    calls.ask(call, b"1")
    calls.end(call)
    assert calls.find(b"1") is None
    assert calls.take_asked(b"1") is None
    calls.end(call)


def test_questions_lead_to_their_call_until_it_ends():
    calls = Calls()
    call = begin(calls)
    assert calls.in_rounds == []
    [question] = calls.begin_rounds(call, rounds()).receive_round(opened(**ROOTS), 0)
    calls.expect(call, question.id)
    assert calls.in_rounds == [call]
    assert calls.find_question(b'"q"') is call
    calls.end(call)
    assert calls.find_question(b'"q"') is None
    assert calls.in_rounds == []


def test_progress_is_kept_back_only_in_later_rounds():
    calls = Calls()
    call = begin(calls, _meta={"progressToken": "t"})
    assert calls.is_progress(progress("t", 2))
    assert calls.is_progress(progress("t", 1))
    calls.begin_rounds(call, rounds())
    assert not calls.is_progress(progress("t", 1))
    assert not calls.is_progress(progress("t", 2))
    assert calls.is_progress(progress("t", 2.5))
    assert not calls.is_progress(progress("t", 2.5))


def test_progress_that_cannot_be_judged_goes_on():
    calls = Calls()
    calls.begin_rounds(begin(calls, _meta={"progressToken": 5}), rounds())
    for said in (
        progress(5, "far"),
        progress("5", 1),
        progress([], 1),
        opened(progressToken=5),
        {},
    ):
        assert calls.is_progress(said)
        assert calls.is_progress(said)


def test_of_two_calls_with_one_token_the_later_keeps_it():
    calls = Calls()
    token = {"progressToken": 5}
    first, second = begin(calls, b"1", _meta=token), begin(calls, b"2", _meta=token)
    calls.end(first)
    calls.begin_rounds(second, rounds())
    assert calls.is_progress(progress(5, 1))
    assert not calls.is_progress(progress(5, 1))
    begin(calls, b"3", _meta={"progressToken": {}})
    assert calls.is_progress(progress({}, 1))
