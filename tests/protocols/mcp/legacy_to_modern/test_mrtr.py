"""`legacy_to_modern.mrtr`: the rounds of one request, question by question."""

import itertools
import json
import math
from typing import Any

import pytest

from mcpctld.errors import Denied, McpctlError, PeerError, TimedOut
from mcpctld.protocols.jsonrpc import Message, parse
from mcpctld.protocols.mcp.legacy_to_modern.initialize import read_client
from mcpctld.protocols.mcp.legacy_to_modern.mrtr import (
    MAX_QUESTIONS,
    MAX_ROUNDS,
    NotOffered,
    Question,
    Rounds,
    question_params,
)
from mcpctld.protocols.mcp.objects import open_object
from protocols.mcp.legacy_to_modern.talk import P

EVERYTHING = {"roots": {}, "sampling": {"tools": {}}, "elicitation": {"form": {}, "url": {}}}
ROOTS = {"method": "roots/list"}
SAMPLING = {"method": "sampling/createMessage", "params": {"maxTokens": 5}}
FORM = {"method": "elicitation/create", "params": {"mode": "form", "message": "?"}}
URL = {"method": "elicitation/create", "params": {"mode": "url", "url": "u:v"}}


def rounds(version: str = "2025-11-25", **capabilities: Any) -> Rounds:
    params = {"protocolVersion": version, "capabilities": capabilities or EVERYTHING}
    count = itertools.count()
    return Rounds(read_client(json.dumps(params).encode()), lambda: b'"q%d"' % next(count))


def ask(r: Rounds, now: float = 0, state: object = None, **requests: Any) -> list[Question]:
    result = {"inputRequests": requests, "requestState": state}
    return r.receive_round(open_object(json.dumps(result).encode()), now)


def answer(r: Rounds, question: Question, now: float = 0, **members: Any) -> None:
    message = parse(b'{"id":%b,%b' % (question.id, json.dumps(members).encode()[1:]))
    assert isinstance(message, Message)
    r.receive_answer(message, now)


def retry(r: Rounds, now: float = 0) -> Any:
    added = r.take_retry(now)
    return added and {name: json.loads(value) for name, value in added.items()}


# ---------------------------------------------------------------- a round


def test_all_questions_of_a_round_are_put_at_once_and_answered_in_any_order():
    r = rounds()
    first, second = ask(r, a=ROOTS, b=FORM, state="s")
    assert first.id != second.id
    assert [question.wish.method for question in r.questions] == ["roots/list", "elicitation/create"]  # fmt: skip
    answer(r, second, result={"action": "decline"})
    assert retry(r) is None
    assert r.questions == [first]
    answer(r, first, now=5, result={"roots": []})
    assert r.deadline == 5
    assert retry(r, 5) == {
        "inputResponses": {"a": {"roots": []}, "b": {"action": "decline"}},
        "requestState": "s",
    }
    assert retry(r, 5) is None
    assert r.deadline == math.inf


def test_answers_keep_their_text_and_so_does_the_state():
    r = rounds()
    asked = b'{"a":{"method":"roots/list"}}'
    [question] = r.receive_round({"inputRequests": asked, "requestState": rb'"\u0061"'}, 0)
    message = parse(b'{"id":%b,"result":{"x" : 1.0}}' % question.id)
    assert isinstance(message, Message)
    r.receive_answer(message, 0)
    expected = {"inputResponses": b'{"a":{"x" : 1.0}}', "requestState": rb'"\u0061"'}
    assert r.take_retry(0) == expected


def test_a_state_is_sent_only_in_the_round_it_came_in():
    r = rounds()
    [question] = ask(r, a=ROOTS, state="s")
    answer(r, question, result={})
    retry(r)
    [question] = ask(r, a=ROOTS)
    answer(r, question, result={})
    assert retry(r) == {"inputResponses": {"a": {}}}


@pytest.mark.parametrize(
    "result",
    [
        {},
        {"inputRequests": None, "requestState": None},
        {"inputRequests": {}},
        {"inputRequests": []},
        {"inputRequests": 5, "requestState": "s"},
        {"inputRequests": {"a": 5}},
        {"inputRequests": {"a": {}}},
        {"inputRequests": {"a": {"method": 5}}},
        {"requestState": 5},
        {"inputRequests": {str(number): ROOTS for number in range(MAX_QUESTIONS + 1)}},
    ],
)
def test_a_server_that_breaks_the_rules_is_not_asked_again(result: Any):
    with pytest.raises(PeerError):
        rounds().receive_round(open_object(json.dumps(result).encode()), 0)


def test_rounds_come_to_an_end():
    r = rounds()
    for _ in range(MAX_ROUNDS):
        [question] = ask(r, a=ROOTS)
        answer(r, question, result={})
        assert retry(r)
    with pytest.raises(PeerError, match="more than 10 times"):
        ask(r, a=ROOTS)


# ---------------------------------------------------------------- what the client offers


@pytest.mark.parametrize(
    ("wish", "capabilities", "name"),
    [
        (ROOTS, {"sampling": {}}, "roots"),
        (SAMPLING, {"roots": {}}, "sampling"),
        ({**SAMPLING, "params": {"tools": []}}, {"sampling": {}}, "sampling with tools"),
        ({**SAMPLING, "params": {"toolChoice": {}}}, {"sampling": {}}, "sampling with tools"),
        (FORM, {"elicitation": {"url": {}}}, "elicitation"),
        (URL, {"elicitation": {"form": {}}}, "elicitation by URL"),
        ({"method": "x/y"}, {"roots": {}}, "'x/y'"),
    ],
)
def test_a_client_is_not_asked_for_what_it_does_not_offer(wish: Any, capabilities: Any, name: str):
    r = rounds(**capabilities)
    with pytest.raises(NotOffered, match=f"asks for {name}, which"):
        ask(r, a=wish)
    assert r.questions == []


def test_a_client_is_not_asked_half_a_round():
    r = rounds(roots={})
    with pytest.raises(NotOffered):
        ask(r, a=ROOTS, b=FORM)
    assert r.questions == []


def test_tools_may_be_used_in_sampling_where_that_is_offered():
    assert ask(rounds(), a={**SAMPLING, "params": {"tools": []}})


# ---------------------------------------------------------------- no answer


@pytest.mark.parametrize("said", [{"error": {"code": 1, "message": "no"}}, {"result": 5}])
def test_an_elicitation_that_fails_is_cancelled(said: Any):
    r = rounds()
    [question] = ask(r, a=FORM)
    answer(r, question, **said)
    assert retry(r) == {"inputResponses": {"a": {"action": "cancel"}}}


@pytest.mark.parametrize("wish", [ROOTS, SAMPLING])
@pytest.mark.parametrize(
    ("said", "reason"),
    [({"error": {"code": 1, "message": "no"}}, "no"), ({"result": 5}, "no usable answer")],
)
def test_for_anything_else_the_request_has_failed(wish: Any, said: Any, reason: str):
    r = rounds()
    first, second = ask(r, a=wish, b=FORM)
    with pytest.raises(Denied, match=f"the client refused {wish['method']}: {reason}"):
        answer(r, first, **said)
    assert r.questions == [second]


def test_questions_take_too_long_unless_there_is_progress():
    r = rounds()
    first, second = ask(r, a=FORM, b=ROOTS)
    assert r.deadline == 600
    assert r.expired(599) == []
    r.receive_progress(b'"q0"', 300)
    assert r.expired(600) == [second]
    with pytest.raises(TimedOut, match="late"):
        r.give_up(second, TimedOut("late"), 600)
    assert r.deadline == 900
    assert r.expired(900) == [first]
    r.give_up(first, TimedOut("late"), 900)
    assert retry(r, 900) == {"inputResponses": {"a": {"action": "cancel"}}}


# ---------------------------------------------------------------- nothing to ask


def test_a_server_that_only_wants_to_be_asked_again_is_after_growing_pauses():
    r = rounds()
    now, pauses = 0.0, []
    for _ in range(5):
        assert ask(r, now, state="s") == []
        assert retry(r, now) is None
        pauses.append(round(r.deadline - now, 3))
        now = r.deadline
        assert retry(r, now) == {"requestState": "s"}
    assert pauses == [0.05, 0.1, 0.2, 0.25, 0.25]
    [question] = ask(r, now, a=ROOTS)
    answer(r, question, now, result={})
    assert retry(r, now)
    ask(r, now, state="s")
    assert r.deadline == pytest.approx(now + 0.05)


def test_who_went_to_a_url_is_not_asked_again_while_the_server_waits_for_what_happens_there():
    r = rounds()
    [question] = ask(r, a=URL)
    answer(r, question, result={"action": "accept"})
    assert retry(r)
    now, pauses = 0.0, []
    for _ in range(2 * MAX_ROUNDS):  # which are not counted
        assert ask(r, now, b=URL, state="s") == []
        pauses.append(r.deadline - now)
        now = r.deadline
        expected = {"inputResponses": {"b": {"action": "accept"}}, "requestState": "s"}
        assert retry(r, now) == expected
    assert pauses == [1, 2, 4, 8, *[15] * (2 * MAX_ROUNDS - 4)]
    assert ask(r, 599, b=URL) == []
    assert len(ask(r, 600, b=URL)) == 1


def test_in_a_round_with_another_question_only_that_is_put():
    r = rounds()
    [question] = ask(r, a=URL)
    answer(r, question, result={"action": "accept"})
    retry(r)
    [question] = ask(r, 1, a=URL, b=ROOTS)
    assert question.wish.name == "b"
    answer(r, question, 2, result={})
    assert retry(r, 2) == {"inputResponses": {"a": {"action": "accept"}, "b": {}}}


@pytest.mark.parametrize("action", ["decline", "cancel"])
def test_who_did_not_go_to_a_url_is_asked_again(action: str):
    r = rounds()
    [question] = ask(r, a=URL)
    answer(r, question, result={"action": action})
    retry(r)
    assert len(ask(r, a=URL)) == 1


def test_a_url_elicitation_without_a_url_is_put_as_it_is():
    r = rounds()
    wish = {"method": "elicitation/create", "params": {"mode": "url"}}
    for _ in range(2):
        [question] = ask(r, a=wish)
        answer(r, question, result={"action": "accept"})


# ---------------------------------------------------------------- how a question is put


def put(wish: Any, version: str = "2025-11-25") -> Any:
    [question] = ask(rounds(), a=wish)
    return json.loads(question_params(question, version))


def test_a_question_says_where_progress_goes_and_loses_reserved_keys():
    assert put(ROOTS) == {"_meta": {"progressToken": "q0"}}
    meta = {"own": 1, "progressToken": "theirs", P + "x": 1}
    sampling = {**SAMPLING, "params": {"maxTokens": 5, "_meta": meta}}
    assert put(sampling) == {"maxTokens": 5, "_meta": {"own": 1, "progressToken": "q0"}}


def test_an_elicitation_by_url_gets_the_id_that_2025_11_25_requires():
    assert put(URL)["elicitationId"] == "q0"


def test_forms_have_a_mode_only_since_there_is_another():
    assert put(FORM)["mode"] == "form"
    assert put(FORM, "2025-06-18") == {"message": "?", "_meta": {"progressToken": "q0"}}


def test_refusals_are_errors_of_ours():
    assert issubclass(NotOffered, McpctlError)
