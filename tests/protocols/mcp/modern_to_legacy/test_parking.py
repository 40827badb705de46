"""Exchanges that wait for the client's answers."""

import pytest

from mcpctld.protocols.mcp.modern_to_legacy.parking import MAX_PARKED
from protocols.mcp.modern_to_legacy.stage import Stage, request


def park(stage: Stage, id: object = 1, method: str = "tools/call") -> tuple[str, object, str]:
    """A request that was answered with a question: its id at the server, the question's, and the handle."""
    upstream = stage.call(id, method)
    asked = stage.ask()
    stage.pass_time(0.03)
    _, handle = stage.questions(id)
    return upstream, asked, handle


def test_a_handle_works_once():
    stage = Stage()
    upstream, _, handle = park(stage)
    stage.send(request(2, "tools/call", name="x", requestState=handle))
    assert not stage.events
    stage.send(request(3, "tools/call", name="x", requestState=handle))
    assert stage.error(3)["code"] == -32602
    stage.answer(upstream, {"content": []})
    stage.result(2)


@pytest.mark.parametrize(
    ("method", "params"),
    [("tools/call", {"name": "y"}), ("prompts/get", {"name": "x"}), ("tools/call", {})],
)
def test_a_handle_is_for_the_same_request_only(method: str, params: dict[str, object]):
    stage = Stage()
    upstream, _, handle = park(stage)
    stage.send(request(2, method, requestState=handle, **params))
    assert stage.error(2)["code"] == -32602
    stage.send(request(3, "tools/call", name="x", requestState=handle))
    stage.answer(upstream, {})
    stage.result(3)


def test_a_handle_of_nobody_is_not_known():
    stage = Stage()
    stage.send(request(1, "tools/call", name="x", requestState="no"))
    assert stage.error(1)["code"] == -32602


def test_an_exchange_that_nobody_goes_on_with_is_given_up():
    stage = Stage()
    upstream, asked, handle = park(stage)
    stage.pass_time(599.0)
    assert not stage.events
    stage.pass_time(2.0)
    stage.take_cancellation(upstream)
    assert stage.take_server() == {"jsonrpc": "2.0", "id": asked, "result": {"action": "cancel"}}
    stage.send(request(2, "tools/call", name="x", requestState=handle))
    assert stage.error(2)["code"] == -32602
    stage.answer(upstream, {})
    stage.pass_time(3600.0)
    assert not stage.events


def test_the_oldest_of_too_many_is_given_up():
    stage = Stage()
    parked = [park(stage, id) for id in range(MAX_PARKED)]
    upstream = stage.call("one more")
    stage.ask()
    stage.pass_time(0.03)
    stage.take_cancellation(parked[0][0])
    assert stage.take_server()["id"] == parked[0][1]
    _, handle = stage.questions("one more")
    stage.send(request("again", "tools/call", name="x", requestState=parked[0][2]))
    assert stage.error("again")["code"] == -32602
    stage.send(request("more", "tools/call", name="x", requestState=handle))
    stage.answer(upstream, {})
    stage.result("more")
