"""The two sides of the bridge, as its parts see them."""

import json

from mcpctld.errors import McpctlError, UserError
from mcpctld.protocols.mcp.bridge import Event, Fail, GiveUp, ToClient, ToServer
from mcpctld.protocols.mcp.modern_to_legacy.requests import Refusal
from mcpctld.protocols.mcp.modern_to_legacy.sides import Answer, ClientSide, ServerSide
from protocols.mcp.modern_to_legacy.stage import one


def said(event: Event) -> object:
    assert isinstance(event, ToClient | ToServer)
    return json.loads(event.message.raw)


def test_a_request_is_answered_once_whatever_comes():
    events: list[Event] = []
    client = ClientSide(events.append)
    client.proven = True
    assert client.begin(b"1")
    assert not client.begin(b"1.0")
    client.answer(b"1", b"{}")
    client.answer(b"1", b"{}")
    client.relay_error(b"1", b"{}")
    client.refuse(b"1", Refusal(-32601, "no"))
    client.fail(b"1", UserError("no"))
    assert [said(event) for event in events] == [{"jsonrpc": "2.0", "id": 1, "result": {}}]
    assert client.begin(b"1")


def test_a_request_that_was_left_is_not_answered():
    events: list[Event] = []
    client = ClientSide(events.append)
    client.begin(b"1")
    client.leave(b"1")
    client.leave(b"2")
    client.answer(b"1", b"{}")
    assert events == []


def test_errors_of_ours_say_whose_they_are():
    events: list[Event] = []
    client = ClientSide(events.append)
    client.proven = True
    client.begin(b'"a"')
    client.refuse(b'"a"', Refusal(-32022, "why", {"x": 1}))
    assert said(events[0]) == {
        "jsonrpc": "2.0",
        "id": "a",
        "error": {"code": -32022, "message": "mcpctl: why", "data": {"source": "mcpctl", "x": 1}},
    }


def test_before_the_server_is_known_to_fit_a_refusal_is_a_failure():
    events: list[Event] = []
    client = ClientSide(events.append)
    client.begin(b"1")
    client.refuse(b"1", Refusal(-32022, "why", {"x": 1}))
    assert isinstance(events[0], Fail)
    error = events[0].error
    assert (str(error), error.rpc_code, error.rpc_data) == ("why", -32022, {"x": 1})


def test_notifications_go_to_both_sides():
    events: list[Event] = []
    ClientSide(events.append).tell("n", b'{"a":1}')
    ServerSide(events.append).tell("n")
    assert [said(event) for event in events] == [
        {"jsonrpc": "2.0", "method": "n", "params": {"a": 1}},
        {"jsonrpc": "2.0", "method": "n"},
    ]


def test_an_answer_of_the_server_finds_who_asked_once():
    events: list[Event] = []
    answers: list[tuple[Answer, float]] = []
    server = ServerSide(events.append)
    ids = [server.new_id(), server.new_id()]
    assert ids[0] != ids[1]
    for id in ids:
        server.ask(id, "m", b"", lambda answer, now: answers.append((answer, now)))
    answer, error = one(id=json.loads(ids[0]), result={}), McpctlError("x")
    for _ in range(2):
        server.answered(ids[1], error, 2.0)
        server.answered(ids[0], answer, 3.0)
    assert answers == [(error, 2.0), (answer, 3.0)]


def test_a_request_that_was_given_up_is_cancelled_first_and_once():
    events: list[Event] = []
    server = ServerSide(events.append)
    id = server.new_id()
    server.ask(id, "m", b"", lambda answer, now: None)
    server.give_up(id)
    server.give_up(id)
    assert said(events[1]) == {
        "jsonrpc": "2.0",
        "method": "notifications/cancelled",
        "params": {"requestId": json.loads(id)},
    }
    assert events[2:] == [GiveUp(id)]


def test_requests_of_the_server_are_answered():
    events: list[Event] = []
    server = ServerSide(events.append)
    server.answer(b"7", b'{"a":1}')
    server.refuse(b'"x"', -32601, "no")
    assert [said(event) for event in events] == [
        {"jsonrpc": "2.0", "id": 7, "result": {"a": 1}},
        {"jsonrpc": "2.0", "id": "x", "error": {"code": -32601, "message": "no"}},
    ]
