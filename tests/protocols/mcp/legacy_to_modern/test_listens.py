"""`legacy_to_modern.listens`: what the client wants to hear of, whatever it takes."""

import json
import math
from typing import Any

import pytest

from mcpctld.errors import McpctlError, TimedOut, Unreachable
from mcpctld.protocols.jsonrpc import Message, parse
from mcpctld.protocols.mcp.bridge import Event, Fail, GiveUp, ToClient, ToServer
from mcpctld.protocols.mcp.legacy_to_modern.listens import MAX_SUBSCRIPTIONS, Listens
from mcpctld.protocols.mcp.legacy_to_modern.outbound import Outbound


class Stage:
    """The client's requests have the numbers that a test gives; the server's listen requests come in order."""

    def __init__(self, *changes: str) -> None:
        self.events: list[Event] = []
        self.listens = Listens(Outbound(self.events.append))
        self.now = 0.0
        if changes:
            self.listens.begin(changes, 0)

    def subscribe(self, id: int, uri: str = "a:b") -> None:
        self.listens.subscribe(b"%d" % id, uri, self.now)

    def unsubscribe(self, id: int, uri: str = "a:b") -> None:
        self.listens.unsubscribe(b"%d" % id, uri, self.now)

    def acknowledge(self, id: object, *uris: str) -> None:
        notifications = json.dumps({"resourceSubscriptions": uris}).encode()
        self.listens.receive_acknowledged(json.dumps(id).encode(), notifications, self.now)

    def end(self, id: object, reason: McpctlError | None = None, code: int = 0) -> None:
        text = json.dumps(id).encode()
        message = parse(b'{"id":%b,"error":{"code":%d}}' % (text, code))
        assert isinstance(message, Message)
        self.listens.receive_end(text, message if code else reason, self.now)

    def wait(self) -> float:
        """Let time pass until something is due; how long that took."""
        began, self.now = self.now, self.listens.deadline
        self.listens.receive_time(self.now)
        return self.now - began

    def heard(self) -> list[Any]:
        events, self.events[:] = [_plain(event) for event in self.events], []
        return events

    def listen(self) -> tuple[Any, Any]:
        """The only event: a listen request; its id, and what of."""
        [(id, method, params)] = self.heard()
        assert method == "subscriptions/listen"
        return id, params["notifications"]


def _plain(event: Event) -> Any:
    match event:
        case ToServer(message=Message() as message):
            asked = json.loads(message.raw)
            return asked["id"], asked["method"], asked["params"]
        case ToClient(message=Message() as message):
            said = json.loads(message.raw)
            if "method" in said:
                return said["method"], said["params"]
            return said["id"], said.get("result", said.get("error"))
        case GiveUp(id=id):
            return "give up", json.loads(id)
        case Fail(id=id, error=error):
            return "fail", json.loads(id), str(error)


def subscribed(*uris: str) -> tuple[Stage, Any]:
    """A client that has subscribed to these, and the listen request."""
    stage = Stage()
    for number, uri in enumerate(uris):
        stage.subscribe(number, uri)
        listen = next(event[0] for event in stage.heard() if len(event) == 3)
        stage.acknowledge(listen, *uris)
        stage.heard()
    return stage, listen


# ---------------------------------------------------------------- make before break


def test_without_anything_to_hear_of_nobody_listens():
    stage = Stage()
    stage.listens.begin((), 0)
    assert stage.heard() == []
    assert stage.listens.deadline == math.inf


def test_lists_and_resources_are_listened_for_with_one_request():
    stage = Stage("tools")
    first, notifications = stage.listen()
    assert notifications == {"toolsListChanged": True}
    stage.acknowledge(first)
    stage.subscribe(1)
    second, notifications = stage.listen()
    assert notifications == {"toolsListChanged": True, "resourceSubscriptions": ["a:b"]}
    assert stage.listens.knows(b'"%b"' % first.encode())
    stage.acknowledge(second, "a:b")
    assert stage.heard() == [("give up", first), (1, {})]
    assert not stage.listens.knows(b'"%b"' % first.encode())


def test_what_changes_before_the_acknowledgement_takes_one_more_request():
    stage = Stage()
    stage.subscribe(1, "a:a")
    first, _ = stage.listen()
    stage.subscribe(2, "b:b")
    stage.subscribe(3, "c:c")
    stage.subscribe(4, "a:a")
    assert stage.heard() == []
    stage.acknowledge(first, "a:a")
    *answers, (second, _, params) = stage.heard()
    assert answers == [(1, {}), (4, {})]
    assert params["notifications"] == {"resourceSubscriptions": ["a:a", "b:b", "c:c"]}
    stage.acknowledge(second, "a:a", "b:b", "c:c")
    assert stage.heard() == [("give up", first), (2, {}), (3, {})]


def test_a_resource_that_is_subscribed_to_needs_no_request():
    stage, _ = subscribed("a:b")
    stage.subscribe(5, "a:b")
    assert stage.heard() == [(5, {})]


def test_a_resource_that_the_server_does_not_tell_of_is_refused():
    stage = Stage()
    stage.subscribe(1, "a:a")
    stage.subscribe(2, "b:b")
    [(first, *_)] = stage.heard()
    stage.acknowledge(first)
    (id, error), (second, _, params) = stage.heard()
    assert (id, error["code"]) == (1, -32602)
    assert "a:a" in error["message"]
    assert params["notifications"] == {"resourceSubscriptions": ["b:b"]}
    stage.acknowledge(second, "b:b", "x:x")
    assert stage.heard() == [("give up", first), (2, {})]


def test_an_acknowledgement_of_something_else_changes_nothing():
    stage, listen = subscribed("a:b")
    stage.acknowledge(listen)
    stage.acknowledge("unknown")
    stage.subscribe(1, "c:d")
    stage.listen()
    stage.acknowledge(listen)
    assert stage.heard() == []


def test_unsubscribing_is_answered_at_once():
    stage, first = subscribed("a:a", "b:b")
    stage.unsubscribe(7, "a:a")
    answer, (second, _, params) = stage.heard()
    assert answer == (7, {})
    assert params["notifications"] == {"resourceSubscriptions": ["b:b"]}
    stage.acknowledge(second, "b:b")
    assert stage.heard() == [("give up", first)]
    stage.unsubscribe(8, "x:x")
    assert stage.heard() == [(8, {})]
    stage.unsubscribe(9, "b:b")
    assert stage.heard() == [(9, {}), ("give up", second)]


def test_who_unsubscribes_meanwhile_does_not_wait_for_ever():
    stage = Stage()
    stage.subscribe(1)
    listen, _ = stage.listen()
    stage.unsubscribe(2)
    done, (id, error) = stage.heard()
    assert (done, id) == ((2, {}), 1)
    assert "unsubscribed" in error["message"]
    stage.acknowledge(listen, "a:b")
    assert stage.heard() == [("give up", listen)]


def test_a_request_that_is_forgotten_is_not_answered():
    stage = Stage()
    stage.subscribe(1)
    listen, _ = stage.listen()
    assert stage.listens.forget(b"1.0")
    assert not stage.listens.forget(b"1")
    stage.acknowledge(listen, "a:b")
    assert stage.heard() == []


def test_so_many_resources_can_be_subscribed_to_and_no_more():
    stage = Stage()
    for number in range(MAX_SUBSCRIPTIONS):
        stage.subscribe(number, f"a:{number}")
    assert len(stage.heard()) == 1
    stage.subscribe(5000, "one:more")
    [(id, error)] = stage.heard()
    assert (id, error["code"]) == (5000, -32602)


# ---------------------------------------------------------------- broken off


def test_it_is_taken_up_again_after_growing_pauses_and_changes_are_told():
    stage = Stage("tools", "prompts")
    listen, _ = stage.listen()
    stage.acknowledge(listen)
    pauses = []
    for _ in range(8):
        stage.end(listen, Unreachable("cut"))
        assert stage.heard() == []
        pauses.append(stage.wait())
        listen, _ = stage.listen()
        stage.acknowledge(listen)
        assert stage.heard() == [
            ("notifications/tools/list_changed", {}),
            ("notifications/prompts/list_changed", {}),
        ]
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]


def test_after_a_good_while_the_first_pause_is_short_again():
    stage, listen = subscribed("a:b")
    for lived, pause in ((5, 1), (5, 2), (11, 1), (5, 2)):
        stage.now += lived
        stage.end(listen)
        assert stage.wait() == pause
        listen, _ = stage.listen()
        stage.acknowledge(listen, "a:b")
        assert stage.heard() == [("notifications/resources/updated", {"uri": "a:b"})]


def test_when_the_first_one_is_refused_the_next_comes_later():
    stage = Stage("tools")
    listen, _ = stage.listen()
    stage.end(listen, code=-32603)
    assert stage.wait() == 1
    listen, _ = stage.listen()
    stage.acknowledge(listen)
    assert stage.heard() == []  # nothing was missed, for nothing was heard before


def test_a_server_that_does_not_know_the_method_is_asked_again_only_for_a_reason():
    stage = Stage("tools")
    listen, _ = stage.listen()
    stage.end(listen, code=-32601)
    assert stage.listens.deadline == math.inf
    stage.subscribe(1)
    stage.listen()


@pytest.mark.parametrize(
    ("reason", "code", "heard"),
    [
        (Unreachable("cut"), 0, ("fail", 1, "cut")),
        (None, 0, ("fail", 1, "the server has ended the subscription at once")),
        (None, -32603, (1, {"code": -32603})),
        (None, -32020, ("fail", 1, "the server refused the form of subscriptions/listen: ")),
    ],
)
def test_who_waits_for_a_listen_request_that_fails_has_failed(
    reason: McpctlError | None, code: int, heard: Any
):
    stage, _ = subscribed("a:a")
    stage.subscribe(1, "b:b")
    stage.subscribe(2, "b:b")
    listen, _ = stage.listen()
    stage.subscribe(3, "c:c")
    stage.listens.forget(b"2")
    stage.end(listen, reason, code)
    first, (_, _, params) = stage.heard()
    assert first == heard
    assert params["notifications"] == {"resourceSubscriptions": ["a:a", "c:c"]}


def test_the_end_of_something_else_changes_nothing():
    stage, listen = subscribed("a:a")
    stage.end("unknown")
    stage.subscribe(1, "b:b")
    stage.listen()
    stage.end("unknown")
    assert stage.heard() == []
    assert stage.listens.knows(json.dumps(listen).encode())


def test_when_only_a_change_fails_what_was_heard_is_heard_on():
    stage, current = subscribed("a:a")
    stage.subscribe(1, "b:b")
    listen, _ = stage.listen()
    stage.end(listen, Unreachable("cut"))
    assert stage.heard() == [("fail", 1, "cut")]
    assert stage.listens.deadline == math.inf
    assert stage.listens.knows(b'"%b"' % current.encode())


def test_when_the_old_one_ends_first_the_new_one_is_waited_for():
    stage, current = subscribed("a:a")
    stage.subscribe(1, "b:b")
    listen, _ = stage.listen()
    stage.end(current)
    assert stage.heard() == []
    stage.acknowledge(listen, "a:a", "b:b")
    assert stage.heard() == [
        (1, {}),
        ("notifications/resources/updated", {"uri": "a:a"}),
        ("notifications/resources/updated", {"uri": "b:b"}),
    ]


def test_while_nobody_listens_a_subscription_does_not_wait_for_the_pause():
    stage, listen = subscribed("a:a")
    stage.end(listen)
    stage.subscribe(1, "a:a")
    again, _ = stage.listen()
    assert stage.listens.deadline == 60
    stage.acknowledge(again, "a:a")
    assert stage.heard()[0] == (1, {})


def test_a_server_that_does_not_acknowledge_has_failed():
    stage = Stage()
    stage.subscribe(1)
    listen, _ = stage.listen()
    stage.listens.receive_time(59)
    assert stage.heard() == []
    assert stage.wait() == 60
    text = "the server has not acknowledged a subscription within 60 s"
    assert stage.heard() == [("give up", listen), ("fail", 1, text)]
    assert not stage.listens.knows(json.dumps(listen).encode())
    assert str(TimedOut(text)) == text
