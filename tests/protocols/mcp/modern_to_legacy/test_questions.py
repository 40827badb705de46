"""What a legacy server asks the client."""

import json

import pytest

from mcpctld.protocols.mcp.bridge import Event, ToServer
from mcpctld.protocols.mcp.modern_to_legacy.questions import (
    Question,
    read_elicitations,
    read_question,
)
from mcpctld.protocols.mcp.modern_to_legacy.sides import ServerSide
from mcpctld.protocols.mcp.objects import open_object
from protocols.mcp.modern_to_legacy.stage import one, text

SAMPLING = "sampling/createMessage"
ELICITATION = "elicitation/create"


def question(method: str, **params: object) -> Question:
    return read_question("q", one(id=7, method=method, params=params))


def code(asked: Question, capabilities: object) -> int:
    """Of the refusal; 0 when the client may be asked."""
    refusal = asked.refusal(open_object(text(capabilities)))
    return refusal.code if refusal else 0


@pytest.mark.parametrize(
    ("asked", "capabilities", "refused"),
    [
        (question("roots/list"), {"roots": {}}, 0),
        (question("roots/list"), {}, -32601),
        (question("roots/list"), {"roots": True}, -32601),
        (question(SAMPLING), {"sampling": {}}, 0),
        (question(SAMPLING), {"roots": {}}, -32601),
        (question(SAMPLING, tools=[]), {"sampling": {}}, -32602),
        (question(SAMPLING, tools=[]), {"sampling": {"tools": {}}}, 0),
        (question(ELICITATION), {}, -32601),
        (question(ELICITATION), {"elicitation": {}}, 0),
        (question(ELICITATION), {"elicitation": {"form": {}}}, 0),
        (question(ELICITATION, mode="form"), {"elicitation": {"form": {}, "url": {}}}, 0),
        (question(ELICITATION, mode="form"), {"elicitation": {"url": {}}}, -32602),
        (question(ELICITATION, mode="url"), {"elicitation": {"url": {}}}, 0),
        (question(ELICITATION, mode="url"), {"elicitation": {}}, -32602),
        (question("tasks/get"), {"tasks": {}}, -32601),
    ],
)
def test_only_what_the_client_declared_is_asked(
    asked: Question, capabilities: object, refused: int
):
    assert code(asked, capabilities) == refused


def test_the_client_is_asked_without_what_its_revision_does_not_have():
    asked = question(
        ELICITATION,
        mode="url",
        url="u:",
        elicitationId="e",
        task={},
        _meta={"progressToken": 1, "a": 2},
    )
    assert json.loads(asked.for_client) == {
        "method": ELICITATION,
        "params": {"mode": "url", "url": "u:", "_meta": {"a": 2}},
    }
    assert json.loads(question("roots/list", _meta={"progressToken": 1}).for_client) == {
        "method": "roots/list",
        "params": {},
    }


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        (ELICITATION, {"result": {"action": "cancel"}}),
        (SAMPLING, {"error": {"code": -32603, "message": "why"}}),
    ],
)
def test_to_decline_is_a_cancel_or_an_error(method: str, answer: dict[str, object]):
    events: list[Event] = []
    question(method).decline(ServerSide(events.append), "why")
    (event,) = events
    assert isinstance(event, ToServer)
    assert json.loads(event.message.raw) == {"jsonrpc": "2.0", "id": 7, **answer}


def test_what_nobody_asked_is_not_declined():
    events: list[Event] = []
    Question("q", b"", ELICITATION, {}).decline(ServerSide(events.append), "why")
    assert events == []


def test_a_question_waits_in_one_place():
    asked, here, there = question("roots/list"), [], []
    asked.leave()
    asked.move(here)
    assert here == [asked]
    asked.move(there)
    assert (here, there) == ([], [asked])
    asked.leave()
    assert there == []


def elicitations(*entries: object) -> list[dict[str, bytes]]:
    return read_elicitations(text({"code": -32042, "data": {"elicitations": entries}}))


def test_an_error_may_list_urls_to_visit():
    (found,) = elicitations({"mode": "url", "url": "u:", "message": "m", "elicitationId": "e"})
    assert found == {
        "mode": b'"url"',
        "url": b'"u:"',
        "message": b'"m"',
        "elicitationId": b'"e"',
    }
    assert elicitations({"url": "u:"}) == [{"message": b'""', "mode": b'"url"', "url": b'"u:"'}]


@pytest.mark.parametrize(
    "entries", [[], [7], [{}], [{"url": 7}], [{"url": "u:"}, {}], [{"url": "u:"}] * 65]
)
def test_a_list_that_is_none_asks_for_nothing(entries: list[object]):
    assert elicitations(*entries) == []


def test_an_error_without_a_list_asks_for_nothing():
    assert read_elicitations(b"7") == []
    assert read_elicitations(b'{"data":[]}') == []
