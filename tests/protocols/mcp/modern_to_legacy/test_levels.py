"""Log messages: a level for each request, one for the session."""

from mcpctld.errors import Unreachable
from protocols.mcp.modern_to_legacy.stage import P, Stage, request


def with_level(id: int, level: str):
    return request(id, "tools/list", meta={f"{P}logLevel": level})


def test_the_level_is_set_before_the_request_goes():
    stage = Stage()
    stage.send(with_level(1, "info"))
    asked = stage.asked("logging/setLevel")
    assert asked["params"] == {"level": "info"}
    assert not stage.events
    stage.answer(asked, {})
    assert stage.asked("tools/list").get("params") is None


def test_only_a_more_verbose_level_is_set_again():
    stage = Stage()
    stage.send(with_level(1, "warning"))
    stage.answer(stage.asked("logging/setLevel"), {})
    stage.asked("tools/list")
    stage.send(with_level(2, "error"))
    stage.asked("tools/list")
    stage.send(with_level(3, "debug"))
    assert stage.asked("logging/setLevel")["params"] == {"level": "debug"}


def test_requests_wait_for_the_level_that_they_need():
    stage = Stage()
    stage.send(with_level(1, "warning"))
    first = stage.asked("logging/setLevel")
    stage.send(with_level(2, "error"))
    stage.send(with_level(3, "debug"))
    stage.send(with_level(4, "info"))
    stage.send(request(5, "prompts/list"))
    stage.asked("prompts/list")
    assert not stage.events
    stage.answer(first, {})
    stage.asked("tools/list")
    stage.asked("tools/list")
    second = stage.asked("logging/setLevel")
    assert second["params"] == {"level": "debug"}
    stage.answer(second, {})
    stage.asked("tools/list")
    stage.asked("tools/list")
    assert not stage.events


def test_a_server_that_refuses_is_asked_once():
    stage = Stage()
    stage.send(with_level(1, "info"))
    stage.refuse(stage.asked("logging/setLevel"), -32601)
    stage.asked("tools/list")
    stage.send(with_level(2, "info"))
    stage.asked("tools/list")


def test_a_server_that_does_not_answer_holds_a_request_up_for_a_while_once():
    stage = Stage()
    stage.send(with_level(1, "info"))
    late = stage.asked("logging/setLevel")
    stage.pass_time(4.9)
    assert not stage.events
    stage.pass_time(0.2)
    stage.asked("tools/list")
    stage.answer(late, {})
    stage.send(with_level(2, "info"))
    stage.asked("tools/list")


def test_after_a_failure_the_next_request_sets_it():
    stage = Stage()
    stage.send(with_level(1, "info"))
    stage.fail(stage.asked("logging/setLevel"), Unreachable("gone"))
    stage.asked("tools/list")
    stage.send(with_level(2, "info"))
    stage.asked("logging/setLevel")


def test_a_request_that_was_cancelled_meanwhile_is_not_sent():
    stage = Stage()
    stage.send(with_level(1, "info"))
    asked = stage.asked("logging/setLevel")
    stage.cancel(1)
    stage.answer(asked, {})
    assert not stage.events


def test_a_server_without_logging_is_not_asked():
    stage = Stage(server={"tools": {}})
    stage.send(with_level(1, "info"))
    stage.asked("tools/list")
