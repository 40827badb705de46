"""Clients that share one process: everyone gets what is theirs, under the names that they gave."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpctld.errors import McpctlError, Unreachable
from mcpctld.protocols.jsonrpc import Batch, Message, parse
from mcpctld.protocols.mcp.sharing.events import Deliver, Fail, Outgoing
from mcpctld.protocols.mcp.sharing.session import MAX_OWN, Sharing

P = "io.modelcontextprotocol/"
ERROR = Unreachable("it broke")
CAPABILITIES = {"tools": {"listChanged": True}, "prompts": {"listChanged": True}, "logging": {}}
RESULT = {"protocolVersion": "2025-11-25", "capabilities": CAPABILITIES, "serverInfo": {}}


class Table:
    """The clients by name, and the process by hand."""

    def __init__(self, *names: str) -> None:
        self.sharing = Sharing(1000)
        self.members = {name: self.sharing.join() for name in names}
        self.errors: list[tuple[str, Any, McpctlError]] = []

    # ------------------------------------------------------------ clients

    def send(self, name: str, method: str, id: Any = None, /, **params: Any) -> None:
        """A request, or without an id a notification."""
        ids = {} if id is None else {"id": id}
        self.say(name, {"jsonrpc": "2.0", **ids, "method": method, "params": params})

    def say(self, name: str, message: Any) -> None:
        """Any message."""
        self.sharing.send(self.members[name], parse(json.dumps(message).encode()))

    def leave(self, name: str) -> list[Any]:
        """A client goes; what it said and nobody took."""
        unsent = self.sharing.leave(self.members[name], ERROR)
        return [json.loads(message.raw) for message in unsent]

    def forget(self, name: str, id: Any) -> None:
        """It does not wait any more."""
        self.sharing.forget(self.members[name], json.dumps(id).encode())

    def heard(self) -> list[tuple[str, Any]]:
        """What the clients were told, in order; failures as `("name", id)` in `errors`."""
        names = {member: name for name, member in self.members.items()}
        told = []
        while (event := self.sharing.next_event()) is not None:
            match event:
                case Deliver(member=member, message=message):
                    _agree(message)
                    told.append((names[member], json.loads(message.raw)))
                case Fail(member=member, id=id, error=error):
                    self.errors.append((names[member], json.loads(id), error))
        return told

    # ------------------------------------------------------------ the process

    def take(self) -> list[Any]:
        """All that the process gets to read now."""
        taken = []
        while (outgoing := self.sharing.next_message()) is not None:
            taken.append(json.loads(outgoing.body))
        return taken

    def tell(self, **message: Any) -> None:
        """The process says something."""
        self.sharing.receive(parse(json.dumps({"jsonrpc": "2.0", **message}).encode()))

    def shake_hands(self, founder: str, *later: str, **capabilities: Any) -> None:
        """All initialize, the first one first; `capabilities` are those of the later ones."""
        for name in (founder, *later):
            declared = capabilities if name in later else {}
            self.send(name, "initialize", 0, capabilities=declared)
            for asked in self.take():
                self.tell(id=asked["id"], result=RESULT)
            self.send(name, "notifications/initialized")
            self.take()
        self.heard()


def _agree(message: Message | Batch) -> None:
    """What was read of a message is what stands in it."""
    again = parse(message.raw)
    if isinstance(message, Batch):
        assert isinstance(again, Batch)
        assert [part.raw for part in again.messages] == [part.raw for part in message.messages]
    else:
        assert isinstance(again, Message)
        assert (again.id, again.method, again.kind) == (message.id, message.method, message.kind)
        assert (again.params, again.result) == (message.params, message.result)


def ids(messages: list[Any]) -> list[int]:
    return [message["id"] for message in messages]


# ---------------------------------------------------------------- requests and answers


def test_equal_ids_do_not_meet_and_answers_find_their_clients():
    table = Table("a", "b")
    table.send("a", "tools/call", 1, name="x")
    table.send("b", "tools/call", 1, name="y")
    table.send("b", "tools/call", "1", name="z")
    asked = table.take()
    assert ids(asked) == [1000, 1001, 1002]
    assert [message["params"]["name"] for message in asked] == ["x", "y", "z"]
    for number in (1002, 1000, 1001):
        table.tell(id=number, result={"for": number})
    assert table.heard() == [
        ("b", {"jsonrpc": "2.0", "id": "1", "result": {"for": 1002}}),
        ("a", {"jsonrpc": "2.0", "id": 1, "result": {"for": 1000}}),
        ("b", {"jsonrpc": "2.0", "id": 1, "result": {"for": 1001}}),
    ]


def test_all_but_the_id_keeps_its_bytes():
    table = Table("a")
    raw = b'{ "params":{"x":[1e2,1.50,"\\ud800"]} ,"id" : "odd","method":"m","jsonrpc":"2.0"}'
    table.sharing.send(table.members["a"], parse(raw))
    outgoing = table.sharing.next_message()
    assert outgoing is not None
    assert outgoing.body == raw.replace(b'"odd"', b"1000")
    assert outgoing.ids == (b"1000",)
    table.sharing.receive(parse(b'{"result":{"x":1.50},  "id":1000}'))
    event = table.sharing.next_event()
    assert isinstance(event, Deliver)
    assert event.message.raw == b'{"result":{"x":1.50},  "id":"odd"}'


def test_an_answer_that_belongs_to_nobody_is_dropped():
    table = Table("a")
    table.send("a", "tools/list", 1)
    table.take()
    for number in (1, 999, 1001, "1000"):
        table.tell(id=number, result={})
    table.tell(id=None, error={"code": -32700, "message": "what?"})
    table.tell(id=1000, error={"code": -1, "message": "no"})
    table.tell(id=1000, result={})
    assert table.heard() == [
        ("a", {"jsonrpc": "2.0", "id": 1, "error": {"code": -1, "message": "no"}})
    ]


def test_progress_goes_to_whose_call_it_is_under_its_own_token():
    table = Table("a", "b")
    for name in "ab":
        table.send(name, "tools/call", 1, name="x", _meta={"progressToken": 1, "other": [name]})
    asked = table.take()
    assert [message["params"]["_meta"]["progressToken"] for message in asked] == ids(asked)
    assert asked[1]["params"]["_meta"]["other"] == ["b"]
    table.tell(method="notifications/progress", params={"progressToken": 1001, "progress": 0.5})
    table.tell(method="notifications/progress", params={"progressToken": 1, "progress": 0.5})
    table.tell(method="notifications/progress", params={})
    progress = {"progressToken": 1, "progress": 0.5}
    heard = {"jsonrpc": "2.0", "method": "notifications/progress", "params": progress}
    assert table.heard() == [("b", heard)]


def test_a_cancellation_names_the_request_as_the_process_knows_it():
    table = Table("a", "b")
    for name in "ab":
        table.send(name, "tools/call", 5)
    table.send("b", "notifications/cancelled", requestId=5, reason="enough")
    table.send("b", "notifications/cancelled", requestId=6)
    cancelled = table.take()[2:]
    assert [message["params"] for message in cancelled] == [{"requestId": 1001, "reason": "enough"}]
    table.tell(id=1001, result={})
    assert table.heard() == [("b", {"jsonrpc": "2.0", "id": 5, "result": {}})]


def test_a_request_given_up_is_cancelled_and_one_that_waits_is_not_sent():
    table = Table("a", "b")
    table.send("a", "tools/call", 5)
    table.take()
    table.send("a", "tools/call", 6)
    table.send("b", "tools/call", 6)
    table.forget("a", 5)
    table.forget("a", 6)
    table.forget("a", 7)
    sent = table.take()
    assert [message["method"] for message in sent] == ["notifications/cancelled", "tools/call"]
    assert sent[0]["params"] == {"requestId": 1000}
    assert table.sharing.queued == 0


def test_a_batch_goes_as_one_and_comes_back_as_one():
    table = Table("a", "b")
    table.say("a", [{"id": 1, "method": "ping"}, {"id": 2, "method": "ping"}, {"method": "n"}])
    table.send("b", "ping", 1)
    batch, single = table.take()
    assert ids(batch[:2]) == [1000, 1001]
    assert batch[2] == {"method": "n"}
    parts = [{"id": number, "result": {"of": number}} for number in (1002, 1001, 1000)]
    table.sharing.receive(parse(json.dumps(parts).encode()))
    assert single["id"] == 1002
    assert table.heard() == [
        ("b", [{"id": 1, "result": {"of": 1002}}]),
        ("a", [{"id": 2, "result": {"of": 1001}}, {"id": 1, "result": {"of": 1000}}]),
    ]


def test_a_batch_of_which_nothing_is_for_the_process_is_not_sent():
    table = Table("a", "b")
    table.say("a", [{"id": 1, "result": {}}])
    assert table.take() == []


def test_what_waits_is_counted_until_it_is_fetched():
    table = Table("a")
    table.send("a", "ping", 1, padding="x" * 100)
    assert 130 < table.sharing.queued < 200
    assert not table.sharing.in_flight
    table.take()
    assert table.sharing.queued == 0
    assert table.sharing.in_flight


# ---------------------------------------------------------------- the handshake


def test_the_first_makes_the_session_and_the_others_are_answered_from_it():
    table = Table("a", "b")
    table.send("a", "initialize", "x", protocolVersion="2025-11-25")
    (asked,) = table.take()
    table.tell(id=asked["id"], result=RESULT)
    table.send("a", "notifications/initialized")
    assert [message["method"] for message in table.take()] == ["notifications/initialized"]
    table.send("b", "initialize", 7, protocolVersion="2025-06-18")
    table.send("b", "notifications/initialized")
    table.send("b", "tools/list", 8)
    assert [message["method"] for message in table.take()] == ["tools/list"]
    assert table.heard() == [
        ("a", {"jsonrpc": "2.0", "id": "x", "result": RESULT}),
        ("b", {"jsonrpc": "2.0", "id": 7, "result": RESULT}),
    ]


def test_during_the_handshake_the_others_wait_and_lose_nothing():
    table = Table("a", "b")
    table.send("a", "initialize", 0)
    table.send("b", "initialize", 0)
    table.send("b", "notifications/initialized")
    table.send("b", "tools/list", 1)
    table.send("a", "notifications/initialized")
    assert [message["method"] for message in table.take()] == [
        *("initialize", "notifications/initialized")
    ]
    table.tell(id=1000, result=RESULT)
    assert [message["method"] for message in table.take()] == ["tools/list"]
    assert [name for name, _ in table.heard()] == ["a", "b"]


def test_the_first_to_say_initialized_says_it_for_all():
    table = Table("a", "b")
    table.send("a", "initialize", 0)
    table.take()
    table.tell(id=1000, result=RESULT)
    table.send("b", "initialize", 0)
    table.send("b", "notifications/initialized")
    table.send("a", "notifications/initialized")
    assert len(table.take()) == 1


def test_a_refused_handshake_is_the_next_ones_to_make():
    table = Table("a", "b")
    for name in "ab":
        table.send(name, "initialize", 0)
    table.take()
    table.tell(id=1000, error={"code": -32022, "message": "modern only"})
    assert [name for name, _ in table.heard()] == ["a"]
    assert ids(table.take()) == [1001]


def test_the_session_goes_on_when_its_founder_leaves():
    table = Table("a", "b")
    table.send("a", "initialize", 0)
    table.send("b", "initialize", 0)
    table.take()
    assert table.leave("a") == []
    table.tell(id=1000, result=RESULT)
    assert table.take() == []
    assert table.heard() == [("b", {"jsonrpc": "2.0", "id": 0, "result": RESULT})]
    assert table.errors == [("a", 0, ERROR)]


@pytest.mark.parametrize("who", ["a", "b"])
def test_a_handshake_without_an_answer_does_not_hold_others_up_for_ever(who: str):
    table = Table("a", "b", "c")
    for name in "abc":
        table.send(name, "initialize", 0)
    assert len(table.take()) == 1
    table.forget(who, 0)
    assert [message["method"] for message in table.take()] == ["initialize"]
    table.tell(id=1000, result=RESULT)
    assert table.heard() == ([("a", {"jsonrpc": "2.0", "id": 0, "result": RESULT})] * (who == "b"))


def test_initialize_is_never_cancelled():
    table = Table("a")
    table.send("a", "initialize", 0)
    table.send("a", "notifications/cancelled", requestId=0)
    assert len(table.take()) == 1


def test_a_client_hears_nothing_before_its_own_handshake_is_over():
    table = Table("a", "b")
    table.shake_hands("a")
    table.tell(method="notifications/tools/list_changed")
    assert [name for name, _ in table.heard()] == ["a"]


def test_a_process_without_handshake_serves_clients_of_the_modern_era():
    table = Table("a", "b")
    for name in "ab":
        table.send(name, "tools/list", 1, _meta={f"{P}protocolVersion": "2026-07-28"})
    table.send("a", "notifications/initialized")
    assert len(table.take()) == 3
    table.sharing.broke(ERROR)
    table.sharing.renew()
    assert table.take() == []


# ---------------------------------------------------------------- what clients want to be told


def log(level: str) -> dict[str, Any]:
    return {"method": "notifications/message", "params": {"level": level, "data": 1}}


def test_the_process_logs_for_the_most_curious_and_each_hears_its_own_level():
    table = Table("a", "b", "c")
    table.shake_hands("a", "b", "c")
    table.send("a", "logging/setLevel", 1, level="error")
    table.send("b", "logging/setLevel", 1, level="debug")
    table.send("a", "logging/setLevel", 2, level="warning")
    assert [message["params"]["level"] for message in table.take()] == ["error", "debug", "debug"]
    for level in ("debug", "info", "warning"):
        table.tell(**log(level))
    heard = [(name, seen["params"]["level"]) for name, seen in table.heard()]
    assert heard == [
        *(("b", "debug"), ("b", "info"), ("c", "info")),
        *(("a", "warning"), ("b", "warning"), ("c", "warning")),
    ]


def test_a_level_that_mcp_does_not_have_is_for_the_process_to_refuse():
    table = Table("a")
    table.send("a", "logging/setLevel", 1, level="loud")
    assert table.take()[0]["params"] == {"level": "loud"}


def test_modern_logs_go_to_those_whose_requests_ask_for_them():
    table = Table("a", "b")
    for name in "ab":
        table.send(name, "tools/list", 0)
    for asked in table.take():
        table.tell(id=asked["id"], result={})
    table.send("b", "tools/call", 1, _meta={f"{P}logLevel": "debug"})
    table.take()
    table.heard()
    table.tell(**log("debug"))
    assert [name for name, _ in table.heard()] == ["b"]


def test_a_resource_is_unsubscribed_when_the_last_has_had_enough():
    table = Table("a", "b")
    table.shake_hands("a", "b")
    for name in "ab":
        table.send(name, "resources/subscribe", 1, uri="x:1")
    assert len(table.take()) == 2
    updated = {"method": "notifications/resources/updated", "params": {"uri": "x:1"}}
    table.tell(**updated)
    assert [name for name, _ in table.heard()] == ["a", "b"]
    table.send("a", "resources/unsubscribe", 2, uri="x:1")
    assert table.take() == []
    assert table.heard() == [("a", {"jsonrpc": "2.0", "id": 2, "result": {}})]
    table.tell(**updated)
    assert [name for name, _ in table.heard()] == ["b"]
    table.send("b", "resources/unsubscribe", 2, uri="x:1")
    assert [message["method"] for message in table.take()] == ["resources/unsubscribe"]
    table.tell(**updated)
    assert table.heard() == []


def test_a_refused_subscription_is_none():
    table = Table("a", "b")
    table.shake_hands("a", "b")
    table.send("a", "resources/subscribe", 1, uri="x:1")
    (asked,) = table.take()
    table.tell(id=asked["id"], error={"code": -32002, "message": "no such resource"})
    table.heard()
    table.tell(method="notifications/resources/updated", params={"uri": "x:1"})
    assert table.heard() == []


def test_a_client_that_is_alone_hears_everything():
    table = Table("a")
    table.tell(method="notifications/resources/updated", params={"uri": "x:1"})
    table.tell(**log("debug"))
    table.tell(method="notifications/anything")
    assert len(table.heard()) == 3


def test_what_a_subscription_brings_goes_to_its_client_under_its_own_id():
    table = Table("a", "b")
    for name in "ab":
        table.send(name, "subscriptions/listen", "mine", notifications={"toolsListChanged": True})
    table.take()
    meta = {f"{P}subscriptionId": 1001}
    table.tell(method="notifications/tools/list_changed", params={"_meta": meta})
    table.tell(id=1001, result={"resultType": "complete", "_meta": meta})
    own = {f"{P}subscriptionId": "mine"}
    assert [(name, seen.get("params", seen.get("result"))["_meta"]) for name, seen in table.heard()] == [
        ("b", own),
        ("b", own),
    ]  # fmt: skip
    table.tell(method="notifications/tools/list_changed", params={"_meta": meta})
    assert table.heard() == [
        ("b", {"jsonrpc": "2.0", "method": "notifications/tools/list_changed", "params": {"_meta": meta}})
    ]  # fmt: skip


def test_the_process_may_end_a_subscription():
    table = Table("a", "b")
    table.send("b", "subscriptions/listen", "mine")
    table.take()
    for number in (1000, 1000, 77):
        table.tell(method="notifications/cancelled", params={"requestId": number})
    assert [(name, seen["params"]) for name, seen in table.heard()] == [
        ("b", {"requestId": "mine"})
    ]


# ---------------------------------------------------------------- questions of the process


def test_a_ping_is_answered_here():
    table = Table("a", "b")
    table.tell(id="p", method="ping")
    assert table.take() == [{"jsonrpc": "2.0", "id": "p", "result": {}}]
    assert table.heard() == []


def test_a_question_goes_to_the_client_with_the_call_and_only_its_answer_counts():
    table = Table("a", "b")
    table.shake_hands("a", "b", elicitation={})
    table.send("b", "tools/call", 1)
    table.take()
    table.tell(id=0, method="elicitation/create", params={"message": "who?"})
    assert [(name, seen["id"]) for name, seen in table.heard()] == [("b", 0)]
    table.say("a", {"jsonrpc": "2.0", "id": 0, "result": {"action": "decline"}})
    table.say("b", {"jsonrpc": "2.0", "id": 0, "result": {"action": "accept"}})
    table.say("b", {"jsonrpc": "2.0", "id": 0, "result": {"action": "accept"}})
    assert [message["result"]["action"] for message in table.take()] == ["accept"]


def test_a_question_that_its_client_cannot_answer_is_refused_for_it():
    table = Table("a", "b")
    table.shake_hands("a", "b", roots={})
    table.send("b", "tools/call", 1)
    table.take()
    table.tell(id=9, method="sampling/createMessage")
    (refused,) = table.take()
    assert (refused["id"], refused["error"]["code"]) == (9, -32601)
    assert table.heard() == []


def test_a_question_without_a_call_is_refused():
    table = Table("a", "b")
    table.shake_hands("a", "b")
    table.tell(id=9, method="elicitation/create")
    assert table.take()[0]["error"]["code"] == -32601


def test_the_roots_are_asked_of_whoever_speaks_of_them():
    table = Table("a", "b")
    table.shake_hands("a", "b", roots={})
    table.tell(id=1, method="roots/list")
    table.send("b", "notifications/roots/list_changed")
    table.take()
    table.tell(id=2, method="roots/list")
    assert [(name, seen["id"]) for name, seen in table.heard()] == [("a", 1), ("b", 2)]


def test_the_process_may_give_a_question_up():
    table = Table("a", "b")
    table.send("a", "tools/call", 1)
    table.take()
    table.tell(id="q", method="elicitation/create")
    table.tell(method="notifications/cancelled", params={"requestId": "q"})
    assert [seen["method"] for _, seen in table.heard()] == [
        *("elicitation/create", "notifications/cancelled")
    ]
    table.say("a", {"jsonrpc": "2.0", "id": "q", "result": {}})
    assert table.take() == []


def test_a_process_that_asks_and_does_not_read_fills_no_memory():
    table = Table("a", "b")
    for number in range(2 * MAX_OWN):
        table.tell(id=number, method="ping")
    assert len(table.take()) == MAX_OWN


# ---------------------------------------------------------------- who goes


def test_who_goes_takes_its_requests_along_and_leaves_the_others_alone():
    table = Table("a", "b")
    table.shake_hands("a", "b")
    for name in "ab":
        table.send(name, "tools/call", 1)
    table.take()
    table.tell(id="q", method="elicitation/create")
    table.heard()
    table.send("a", "tools/call", 2)
    table.send("b", "tools/call", 2)
    assert [message["id"] for message in table.leave("a")] == [2]
    assert table.heard() == []
    assert table.errors == [("a", 1, ERROR)]
    cancelled, refused, asked = table.take()
    assert cancelled["params"] == {"requestId": 1001}
    assert (refused["id"], refused["error"]["code"]) == ("q", -32601)
    assert (asked["method"], asked["id"]) == ("tools/call", 1003)
    table.tell(id=1001, result={})
    assert [event for event in table.heard() if event[0] == "b"] == []


def test_what_only_one_wanted_is_not_wanted_any_more():
    table = Table("a", "b")
    table.shake_hands("a", "b")
    table.send("a", "logging/setLevel", 1, level="debug")
    table.send("b", "logging/setLevel", 1, level="error")
    table.send("a", "resources/subscribe", 2, uri="x:1")
    table.take()
    table.leave("a")
    said = [(message["method"], message["params"]) for message in table.take()][2:]
    assert said == [
        ("resources/unsubscribe", {"uri": "x:1"}),
        ("logging/setLevel", {"level": "error"}),
    ]


def test_when_the_last_goes_nothing_more_is_said():
    table = Table("a")
    table.send("a", "tools/call", 1)
    table.take()
    table.leave("a")
    assert table.take() == []
    assert table.sharing.members == {}


# ---------------------------------------------------------------- the connection


def test_a_break_fails_what_the_process_has_and_keeps_what_it_has_not():
    table = Table("a", "b")
    table.shake_hands("a")
    table.send("b", "tools/call", 1)
    table.take()
    table.send("b", "tools/call", 2)
    table.sharing.broke(ERROR)
    assert table.heard() == []
    assert table.errors == [("b", 1, ERROR)]
    table.tell(id=1001, result={})
    assert table.heard() == []
    assert [message["method"] for message in table.take()] == ["tools/call"]


def test_a_handshake_under_way_when_it_breaks_is_made_by_the_next():
    table = Table("a", "b")
    for name in "ab":
        table.send(name, "initialize", 0)
    table.take()
    table.sharing.broke(ERROR)
    table.sharing.renew()
    assert ids(table.take()) == [1001]


def test_questions_are_called_back_when_it_breaks():
    table = Table("a", "b")
    table.send("a", "tools/call", 1)
    table.take()
    table.tell(id="q", method="elicitation/create")
    table.sharing.broke(ERROR)
    assert table.heard()[1][1]["params"]["requestId"] == "q"
    table.say("a", {"jsonrpc": "2.0", "id": "q", "result": {}})
    assert table.take() == []


def test_who_waits_for_a_process_out_of_reach_has_failed():
    table = Table("a", "b")
    table.send("a", "tools/call", 1)
    table.send("b", "notifications/x")
    table.say("b", [{"id": 2, "method": "ping"}, {"id": 3, "method": "ping"}])
    table.sharing.fail_queued(ERROR)
    assert table.heard() == []
    assert table.errors == [("a", 1, ERROR), ("b", 2, ERROR), ("b", 3, ERROR)]
    assert table.take() == []
    assert table.sharing.queued == 0


def settle_in(table: Table) -> None:
    """Two clients, a level and a subscription; then the connection breaks, and stands again."""
    table.shake_hands("a", "b")
    table.send("a", "logging/setLevel", 1, level="info")
    table.send("b", "resources/subscribe", 1, uri="x:1")
    for asked in table.take():
        table.tell(id=asked["id"], result={})
    table.sharing.broke(ERROR)
    table.sharing.renew()
    table.heard()
    table.send("b", "tools/list", 9)


RENEWED = ["notifications/initialized", "logging/setLevel", "resources/subscribe", "tools/list"]


@pytest.mark.parametrize(
    "answer", [{"result": RESULT}, {"error": {"code": -32600, "message": "initialized already"}}]
)
def test_a_process_that_may_be_fresh_hears_the_beginning_again(answer: dict[str, Any]):
    table = Table("a", "b")
    settle_in(table)
    (again,) = table.take()
    assert again["method"] == "initialize"
    assert again["id"] not in (0, 1000)
    table.tell(id=again["id"], **answer)
    assert [message["method"] for message in table.take()] == RENEWED
    assert table.heard() == []


def test_a_process_that_does_not_answer_it_is_not_waited_for_for_ever():
    table = Table("a", "b")
    settle_in(table)
    (again,) = table.take()
    table.sharing.stop_waiting()
    assert [message["method"] for message in table.take()] == RENEWED
    table.tell(id=again["id"], result={"capabilities": {}})
    table.sharing.stop_waiting()
    assert table.take() == []
    assert table.heard() == []


def test_another_server_in_its_place_is_told_as_changed_lists():
    table = Table("a", "b")
    settle_in(table)
    (again,) = table.take()
    other = RESULT | {"serverInfo": {"version": "2"}}
    table.tell(id=again["id"], result=other)
    assert [(name, seen["method"]) for name, seen in table.heard()] == [
        (name, f"notifications/{kind}/list_changed")
        for kind in ("tools", "prompts")
        for name in "ab"
    ]
    table.members["c"] = table.sharing.join()
    table.send("c", "initialize", 0)
    table.take()
    assert table.heard() == [("c", {"jsonrpc": "2.0", "id": 0, "result": other})]


def test_it_may_break_while_the_beginning_is_said_again():
    table = Table("a", "b")
    settle_in(table)
    table.take()
    table.sharing.broke(ERROR)
    table.sharing.renew()
    assert [message["method"] for message in table.take()] == ["initialize"]
    assert table.heard() == []
    assert table.errors == []


def test_the_end_of_the_handshake_is_said_even_if_its_founder_never_did():
    table = Table("a")
    table.send("a", "initialize", 0)
    table.take()
    table.tell(id=1000, result=RESULT)
    table.sharing.broke(ERROR)
    table.sharing.renew()
    (again,) = table.take()
    table.tell(id=again["id"], result=RESULT)
    assert [message["method"] for message in table.take()] == ["notifications/initialized"]


# ---------------------------------------------------------------- what could not be delivered


def fetch(table: Table) -> Outgoing:
    outgoing = table.sharing.next_message()
    assert outgoing is not None
    return outgoing


def test_a_request_that_will_not_be_answered_has_failed():
    table = Table("a")
    table.send("a", "tools/call", 5)
    (id,) = fetch(table).ids
    table.sharing.fail(id, ERROR)
    table.sharing.fail(id, ERROR)
    assert table.heard() == []
    assert table.errors == [("a", 5, ERROR)]


def test_a_failed_handshake_is_the_next_ones_to_make():
    table = Table("a", "b")
    for name in "ab":
        table.send(name, "initialize", 0)
    table.sharing.fail(fetch(table).ids[0], ERROR)
    assert ids(table.take()) == [1001]


def test_a_beginning_that_could_not_be_said_again_holds_nobody_up():
    table = Table("a", "b")
    settle_in(table)
    table.sharing.fail(fetch(table).ids[0], ERROR)
    assert [message["method"] for message in table.take()] == RENEWED
    assert table.errors == []


def test_what_was_not_delivered_can_be_taken_back():
    table = Table("a")
    table.send("a", "initialize", 5)
    table.send("a", "tools/list", 6)
    before = table.sharing.queued
    table.sharing.take_back(fetch(table))
    assert table.sharing.queued == before
    assert [message["id"] for message in table.leave("a")] == [5, 6]
    assert table.heard() == []
    assert table.errors == []


def test_our_own_words_need_not_be_taken_back():
    table = Table("a")
    table.tell(id=1, method="ping")
    table.sharing.take_back(fetch(table))
    assert table.take() == []


# ---------------------------------------------------------------- any order


class Crowd:
    """Clients that all count their ids and tokens from 1, and a process that answers with whom it was asked by."""

    def __init__(self, count: int) -> None:
        self.sharing = Sharing(5)
        self.members = [self.sharing.join() for _ in range(count)]
        self.last = [0] * count
        self.open: list[set[int]] = [set() for _ in range(count)]
        """What each waits for."""
        self.held: list[dict[str, Any]] = []
        """What the process has to answer."""

    def step(self, action: str, who: int, which: int) -> None:
        """One thing happens; `which` chooses among those that it could happen to."""
        who %= len(self.members)
        match action:
            case "ask":
                self._ask(who)
            case "cancel" if self.open[who]:
                id = sorted(self.open[who])[which % len(self.open[who])]
                self.open[who].remove(id)
                self._send(who, {"method": "notifications/cancelled", "params": {"requestId": id}})
            case "fetch":
                outgoing = self.sharing.next_message()
                if outgoing is not None and "id" in (message := json.loads(outgoing.body)):
                    self.held.append(message)
            case "progress" if self.held:
                self._tell_progress(self.held[which % len(self.held)])
            case "answer" if self.held:
                message = self.held.pop(which % len(self.held))
                self._receive({"id": message["id"], "result": message["params"]})
            case "break":
                self.sharing.broke(ERROR)
                self.sharing.renew()
        self._check()

    def _ask(self, who: int) -> None:
        self.last[who] = id = self.last[who] + 1
        self.open[who].add(id)
        params = {"who": who, "as": id, "_meta": {"progressToken": id}}
        self._send(who, {"id": id, "method": "tools/call", "params": params})

    def _send(self, who: int, message: dict[str, Any]) -> None:
        self.sharing.send(self.members[who], parse(json.dumps(message).encode()))

    def _receive(self, message: dict[str, Any]) -> None:
        self.sharing.receive(parse(json.dumps(message).encode()))

    def _tell_progress(self, request: dict[str, Any]) -> None:
        params = request["params"] | {"progressToken": request["params"]["_meta"]["progressToken"]}
        self._receive({"method": "notifications/progress", "params": params})

    def _check(self) -> None:
        """Whoever hears something hears what is its own, under the id or token that it gave."""
        while (event := self.sharing.next_event()) is not None:
            who = self.members.index(event.member)
            if isinstance(event, Fail):
                self.open[who].discard(json.loads(event.id))
                continue
            message = json.loads(event.message.raw)
            content = message.get("result") or message["params"]
            name = message["id"] if "result" in message else content["progressToken"]
            assert (content["who"], content["as"]) == (who, name)
            if "result" in message:  # of what was cancelled, a late one
                self.open[who].discard(name)


actions = st.sampled_from(["ask", "ask", "fetch", "fetch", "answer", "progress", "cancel", "break"])
steps = st.tuples(actions, st.integers(0, 3), st.integers(0, 9))


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 4), st.lists(steps, max_size=60))
def test_in_any_order_nobody_gets_what_is_anothers(count: int, order: list[tuple[str, int, int]]):
    crowd = Crowd(count)
    for step in order:
        crowd.step(*step)
    for _ in order:
        crowd.step("fetch", 0, 0)
    for _ in tuple(crowd.held):
        crowd.step("answer", 0, 0)
    assert crowd.open == [set()] * count
