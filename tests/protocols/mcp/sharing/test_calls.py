"""Requests of several clients under ids of ours, each used once."""

import json
from typing import Any

import pytest

from mcpctld.protocols.jsonrpc import Message, parse
from mcpctld.protocols.mcp.sharing.calls import MAX_LATE, Calls, Member, as_ours


def request(id: Any, method: str = "tools/call", **params: Any) -> Message:
    text = json.dumps({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
    message = parse(text.encode())
    assert isinstance(message, Message)
    return message


def test_no_id_is_used_twice():
    calls, one, other = Calls(100), Member(), Member()
    ids = [calls.begin(one, request(1)), calls.begin(other, request(1)), calls.begin_own("x")]
    assert ids == [b"100", b"101", b"102"]
    calls.answer(b"101")
    assert calls.begin(other, request(1)) == b"103"


def test_a_request_is_found_by_the_id_that_its_client_gave():
    calls, one, other = Calls(0), Member(), Member()
    calls.begin(one, request(1))
    mine = calls.begin(other, request(1))
    text = calls.begin(other, request("1"))
    assert calls.find(other, b"1.0") == mine
    assert calls.find(other, b'"\\u0031"') == text
    assert calls.find(other, b"2") is None
    assert calls.of(other) == [mine, text]
    assert calls[mine].member is other


def test_what_matters_of_a_request_is_kept():
    calls, member = Calls(0), Member()
    plain = calls.begin(member, request(1))
    assert (calls[plain].token, calls[plain].uri, calls[plain].logs) == (b"", "", False)
    meta = {"progressToken": "t", "io.modelcontextprotocol/logLevel": "debug"}
    rich = calls.begin(member, request(2, _meta=meta))
    assert (calls[rich].token, calls[rich].logs) == (b'"t"', True)
    about = calls.begin(member, request(3, "resources/subscribe", uri="x:y"))
    assert calls[about].uri == "x:y"
    assert calls[calls.begin(member, request(4, "resources/subscribe"))].uri == ""


def test_only_requests_of_clients_are_in_flight():
    calls, member = Calls(0), Member()
    calls.begin_own("initialize")
    waited = calls.begin(member, request(1, "initialize"))
    assert [call.id for call in calls] == [b"1"]
    calls.orphan(waited)
    assert list(calls) == []
    assert calls.open(waited) is not None
    orphan = calls.answer(waited)
    assert orphan is not None
    assert orphan.member is None


def test_an_answer_belongs_to_its_request_and_only_the_first():
    calls, member = Calls(0), Member()
    id = calls.begin(member, request(7))
    answered = calls.answer(id)
    assert answered is not None
    assert (answered.member, answered.id) == (member, b"7")
    assert calls.answer(id) is None
    assert calls.answer(b"99") is None
    assert calls.end(id) is None
    assert calls.end(calls.begin(member, request(8))) is not None


def test_an_answer_to_a_cancelled_request_is_still_its_clients_but_once():
    calls, member = Calls(0), Member()
    id = calls.begin(member, request(7))
    calls.cancel(id)
    assert list(calls) == []
    assert calls.find(member, b"7") is None
    late = calls.answer(id)
    assert late is not None
    assert late.id == b"7"
    assert calls.answer(id) is None


def test_progress_may_come_after_the_answer():
    calls, member = Calls(0), Member()
    id = calls.begin(member, request(7, _meta={"progressToken": 5}))
    assert calls.by_token(id) is calls[id]
    calls.answer(id)
    call = calls.by_token(id)
    assert call is not None
    assert (call.member, call.token) == (member, b"5")
    assert calls.answer(id) is None
    plain = calls.begin(member, request(8))
    assert calls.by_token(plain) is None
    assert calls.by_token(b"99") is None


def test_what_is_over_is_remembered_up_to_a_limit():
    calls, member = Calls(0), Member()
    ids = [calls.begin(member, request(number)) for number in range(MAX_LATE + 1)]
    for id in ids:
        calls.cancel(id)
    assert calls.answer(ids[0]) is None
    assert calls.answer(ids[1]) is not None


def test_a_call_on_whose_behalf_something_was_asked_keeps_its_place():
    calls, member = Calls(0), Member()
    first = calls.begin(member, request(1))
    second = calls.begin(member, request(2))
    assert calls.note_asked(first) is member
    assert [(id, call.asked) for id, call in calls.items()] == [(first, True), (second, False)]


def test_when_all_is_lost_clients_are_named():
    calls, member = Calls(0), Member()
    id = calls.begin(member, request(1))
    calls.cancel(calls.begin(member, request(2)))
    calls.begin_own("x")
    assert [call.id for call in calls.clear()] == [b"1"]
    assert calls.open(id) is None
    assert calls.answer(b"1") is None
    assert calls.begin(member, request(1)) == b"3"


@pytest.mark.parametrize(
    ("spelled", "ours"),
    [(b"12", b"12"), (b"12.0", b"12"), (b"1.2e1", b"12"), (b'"12"', b'"12"'), (b"0.5", b"")],
)
def test_an_id_may_come_back_in_another_spelling(spelled: bytes, ours: bytes):
    assert as_ours(spelled) == ours
