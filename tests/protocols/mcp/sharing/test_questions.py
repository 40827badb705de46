"""Which of several clients answers what their common server asks."""

import json
from typing import Any

from mcpctld.protocols.jsonrpc import Message, parse
from mcpctld.protocols.mcp.sharing.calls import Calls, Member
from mcpctld.protocols.mcp.sharing.handshake import Handshake
from mcpctld.protocols.mcp.sharing.questions import MAX_QUESTIONS, Questions

ELICIT = "elicitation/create"


def request(method: str, id: Any = 1) -> Message:
    message = parse(json.dumps({"jsonrpc": "2.0", "id": id, "method": method}).encode())
    assert isinstance(message, Message)
    return message


class Desk:
    """Two clients and the books."""

    def __init__(self) -> None:
        self.calls = Calls(0)
        self.handshake = Handshake()
        self.questions = Questions(self.calls, self.handshake)
        self.one, self.other = Member(), Member()
        self.numbers = iter(range(10**6))

    def ask(self, method: str = ELICIT, *members: Member) -> Member | str:
        question = request(method, next(self.numbers))
        return self.questions.ask(question, members or (self.one, self.other))


def test_the_client_with_a_call_in_flight_is_asked():
    desk = Desk()
    desk.calls.begin(desk.other, request("tools/call"))
    assert desk.ask() is desk.other


def test_of_several_it_is_the_one_whose_call_is_the_oldest():
    desk = Desk()
    first = desk.calls.begin(desk.one, request("tools/call"))
    desk.calls.begin(desk.other, request("tools/call"))
    assert desk.ask() is desk.one
    desk.calls.end(first)
    assert desk.ask() is desk.other


def test_a_call_that_has_asked_goes_behind_those_that_have_not():
    desk = Desk()
    desk.calls.begin(desk.one, request("tools/call"))
    desk.calls.begin(desk.other, request("tools/call"))
    assert [desk.ask(), desk.ask(), desk.ask()] == [desk.one, desk.other, desk.one]


def test_a_call_that_may_ask_goes_before_one_that_does_not():
    desk = Desk()
    desk.calls.begin(desk.one, request("tools/list"))
    assert desk.ask() is desk.one
    desk.calls.begin(desk.other, request("resources/read"))
    assert desk.ask() is desk.other


def test_without_a_call_nobody_can_be_asked():
    desk = Desk()
    assert "no client has a call in flight" in str(desk.ask())
    desk.calls.begin(desk.one, request("subscriptions/listen"))
    assert "no client has a call in flight" in str(desk.ask())


def test_a_client_that_is_alone_is_asked_anyway():
    desk = Desk()
    assert desk.ask(ELICIT, desk.one) is desk.one


def test_the_roots_are_asked_of_the_one_who_spoke_of_them():
    desk = Desk()
    desk.calls.begin(desk.one, request("tools/list"))
    desk.questions.rooted = desk.other
    assert desk.ask("roots/list") is desk.other
    assert desk.ask(ELICIT) is desk.one
    desk.calls.begin(desk.one, request("tools/call"))
    assert desk.ask("roots/list") is desk.one


def test_who_has_not_declared_it_is_not_asked_but_for_the_founder():
    desk = Desk()
    desk.other.capabilities = frozenset({"roots"})
    desk.calls.begin(desk.other, request("tools/call"))
    assert "does not support elicitation/create" in str(desk.ask())
    assert desk.ask("roots/list") is desk.other
    assert desk.ask("something/new") is desk.other
    desk.handshake.begin(desk.other, request("initialize"), b"0")  # the process knows it, then
    assert desk.ask() is desk.other


def test_only_who_was_asked_answers_and_only_once():
    desk = Desk()
    desk.calls.begin(desk.one, request("tools/call"))
    desk.ask()
    assert not desk.questions.answer(desk.other, b"0")
    assert not desk.questions.answer(desk.one, b"5")
    assert desk.questions.answer(desk.one, b"0.0")
    assert not desk.questions.answer(desk.one, b"0")


def test_a_question_can_be_given_up():
    desk = Desk()
    desk.calls.begin(desk.one, request("tools/call"))
    desk.ask()
    assert desk.questions.cancel(b"0") is desk.one
    assert desk.questions.cancel(b"0") is None
    assert not desk.questions.answer(desk.one, b"0")


def test_who_goes_leaves_questions_unanswered():
    desk = Desk()
    desk.calls.begin(desk.one, request("tools/call"))
    desk.ask()
    desk.questions.rooted = desk.one
    assert desk.questions.drop(desk.other) == []
    assert desk.questions.rooted is desk.one
    assert desk.questions.drop(desk.one) == [b"0"]
    assert desk.questions.rooted is None
    assert desk.questions.clear() == []


def test_all_can_be_dropped():
    desk = Desk()
    desk.calls.begin(desk.one, request("tools/call"))
    desk.ask()
    assert desk.questions.clear() == [(desk.one, b"0")]
    assert desk.questions.clear() == []


def test_questions_without_end_are_refused():
    desk = Desk()
    for _ in range(MAX_QUESTIONS):
        assert desk.ask(ELICIT, desk.one) is desk.one
    assert "too many" in str(desk.ask(ELICIT, desk.one))
