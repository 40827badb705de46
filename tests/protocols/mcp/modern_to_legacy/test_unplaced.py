"""Questions that come outside of any request that could be stopped for them."""

import pytest

from mcpctld.protocols.mcp.modern_to_legacy.unplaced import MAX_UNPLACED
from protocols.mcp.modern_to_legacy.stage import NAMED, Stage, request


def test_they_are_asked_with_the_next_request_before_it_is_sent():
    stage = Stage()
    first, second = stage.ask("roots/list"), stage.ask("elicitation/create", message="m")
    assert not stage.events
    stage.send(request(1, "tools/list"))
    stage.asked("tools/list")
    stage.send(request(2, "tools/call", name="x"))
    asked, handle = stage.questions(2)
    assert [entry["method"] for entry in asked.values()] == ["roots/list", "elicitation/create"]
    assert not stage.events
    answers = dict(zip(asked, ({"roots": []}, {"action": "decline"}), strict=True))
    stage.send(request(3, "tools/call", name="x", requestState=handle, inputResponses=answers))
    assert stage.take_server() == {"jsonrpc": "2.0", "id": first, "result": {"roots": []}}
    assert stage.take_server() == {"jsonrpc": "2.0", "id": second, "result": {"action": "decline"}}
    assert stage.asked("tools/call")["params"] == {"name": "x"}
    stage.pass_time(3600.0)
    assert not stage.events


def test_only_a_client_that_declared_it_is_asked():
    stage = Stage()
    stage.ask("sampling/createMessage")
    stage.call(1, capabilities={"elicitation": {}})
    stage.call(2, "tools/list")
    stage.send(request(3, "prompts/get", name="x"))
    asked, _ = stage.questions(3)
    assert [entry["method"] for entry in asked.values()] == ["sampling/createMessage"]


def test_what_nobody_was_asked_in_time_is_an_error_for_the_server():
    stage = Stage()
    asked = stage.ask("elicitation/create")
    stage.pass_time(599.0)
    assert not stage.events
    stage.pass_time(2.0)
    said = stage.take_server()
    assert (said["id"], said["error"]["code"]) == (asked, -32603)
    stage.call()
    assert not stage.events


def test_not_more_than_some_wait():
    stage = Stage()
    for _ in range(MAX_UNPLACED):
        stage.ask("roots/list")
    assert not stage.events
    stage.ask("roots/list")
    assert stage.take_server()["error"]["code"] == -32603


def test_roots_asked_by_chance_during_a_list_wait():
    stage = Stage()
    listed = stage.call(1, "tools/list")
    stage.ask("roots/list")
    stage.answer(listed, {"tools": []})
    stage.result(1)
    stage.pass_time(60.0)
    assert not stage.events
    stage.send(request(2, "tools/call", name="x"))
    assert len(stage.questions(2)[0]) == 1


def test_roots_that_a_list_seems_to_wait_for_are_refused():
    stage = Stage()
    stage.call(1, "resources/list")
    asked = stage.ask("roots/list")
    stage.pass_time(1.9)
    assert not stage.events
    stage.pass_time(0.2)
    said = stage.take_server()
    assert (said["id"], said["error"]["code"]) == (asked, -32601)
    assert not stage.events


@pytest.mark.parametrize("method", ["elicitation/create", "sampling/createMessage"])
def test_other_questions_during_a_list_are_refused_at_once(method: str):
    stage = Stage()
    stage.call(1, "completion/complete")
    asked = stage.ask(method)
    said = stage.take_server()
    assert (said["id"], said["error"]["code"]) == (asked, -32601)


@pytest.mark.parametrize("method", sorted(NAMED))
def test_each_request_that_can_be_stopped_is(method: str):
    stage = Stage()
    stage.ask("roots/list")
    stage.send(request(1, method, **NAMED[method]))
    stage.questions(1)


def test_a_question_that_the_server_withdraws_is_not_asked():
    stage = Stage()
    asked = stage.ask("roots/list")
    stage.receive(method="notifications/cancelled", params={"requestId": asked})
    stage.call()
    stage.pass_time(3600.0)
    assert not stage.events
