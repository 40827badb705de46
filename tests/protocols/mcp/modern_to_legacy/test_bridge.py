"""The bridge as a whole: which message goes where, and whatever both sides say."""

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpctld.errors import Unreachable, UserError
from mcpctld.protocols.jsonrpc import Batch, Kind, Malformed, Message, parse
from mcpctld.protocols.mcp.bridge import Event, Fail, GiveUp, ToClient, ToServer, WrongEra
from mcpctld.protocols.mcp.modern_to_legacy.bridge import ModernToLegacy
from protocols.mcp.modern_to_legacy.stage import (
    EVERYTHING,
    SERVER,
    P,
    Stage,
    initialize_result,
    message,
    one,
    request,
    text,
)

# ---------------------------------------------------------------- the client


def test_discovery_after_the_session_is_open_asks_nobody():
    stage = Stage()
    stage.send(request(1, "server/discover"))
    assert stage.result(1)["capabilities"] == SERVER
    assert not stage.events


@pytest.mark.parametrize(
    "method", ["ping", "logging/setLevel", "resources/subscribe", "tasks/list"]
)
def test_methods_that_are_gone_do_not_reach_the_server(method: str):
    stage = Stage()
    stage.send(request(1, method))
    assert stage.error(1)["code"] == -32601
    assert not stage.events


def test_initialize_is_refused_with_the_revision_there_is():
    stage = Stage()
    stage.send(one(id=1, method="initialize", params={"protocolVersion": "2025-11-25"}))
    error = stage.error(1)
    assert error["code"] == -32022
    assert error["data"]["supported"] == ["2026-07-28"]


def test_before_the_session_nothing_but_failures_is_given_to_the_client():
    stage = Stage(opened=False)
    stage.send(one(id=1, method="server/discover"))
    assert isinstance(stage.take_failure(1), UserError)
    stage.receive(method="notifications/com.example/x")
    stage.receive(method="notifications/tools/list_changed")
    assert not stage.events


def test_a_refusal_while_the_session_is_being_opened_waits_for_it():
    stage = Stage(opened=False)
    stage.send(request(1, "server/discover"))
    initialize = stage.asked("initialize")
    stage.send(request(2, "ping"))
    assert not stage.events
    stage.answer(initialize, initialize_result({}))
    stage.take_server()
    stage.result(1)
    assert stage.error(2)["code"] == -32601


def test_a_batch_is_refused_request_by_request():
    stage = Stage()
    upstream = stage.call(1)
    batch = [
        {"id": 2, "method": "tools/list"},
        {"method": "notifications/cancelled", "params": {"requestId": 1}},
        {"id": 3, "method": "ping"},
    ]
    stage.send(parse(text(batch)))
    assert stage.error(2)["code"] == -32600
    stage.take_cancellation(upstream)
    assert stage.error(3)["code"] == -32600


def test_a_second_request_under_an_id_in_use_is_left_to_the_caller():
    stage = Stage()
    upstream = stage.call(1)
    stage.send(request(1, "tools/list"))
    assert not stage.events
    stage.answer(upstream, {})
    stage.result(1)


def test_what_a_modern_client_does_not_send_is_dropped():
    stage = Stage()
    stage.send(message(method="notifications/roots/list_changed"))
    stage.send(message(id=1, result={}))
    stage.send(message(method="notifications/cancelled"))
    assert not stage.events


def test_a_request_that_waits_for_the_session_can_be_forgotten():
    stage = Stage(opened=False)
    stage.send(request(1, "tools/list"))
    initialize = stage.asked("initialize")
    stage.forget(1)
    stage.answer(initialize, initialize_result({}))
    stage.take_server()
    assert not stage.events


def test_after_the_wrong_era_nothing_is_done():
    stage = Stage(opened=False)
    stage.send(request(1, "tools/list"))
    initialize = stage.asked("initialize")
    stage.ask("roots/list")
    assert stage.bridge.deadline < math.inf
    batch = [{"id": initialize["id"], "error": {}}, {"method": "x"}, {"id": 1, "method": "ping"}]
    stage.bridge.receive_server(parse(text(batch)), stage.now)
    assert isinstance(stage.bridge.next_event(), WrongEra)
    stage.receive(id=1, method="ping")
    stage.send(request(2, "tools/list"))
    stage.fail(initialize, Unreachable("x"))
    stage.bridge.receive_time(math.inf)
    assert stage.bridge.deadline == math.inf
    assert not stage.events


# ---------------------------------------------------------------- the server


def test_ping_is_answered():
    stage = Stage()
    stage.receive(id="p", method="ping")
    assert stage.take_server() == {"jsonrpc": "2.0", "id": "p", "result": {}}


@pytest.mark.parametrize(
    "method",
    ["elicitation/complete", "tasks/status", "subscriptions/acknowledged", "roots/list_changed"],
)
def test_notifications_that_a_modern_client_does_not_know_are_dropped(method: str):
    stage = Stage()
    stage.receive(method=f"notifications/{method}")
    assert not stage.events


def test_notifications_that_mcp_does_not_define_go_through():
    stage = Stage()
    stage.receive(method="notifications/com.example/x", params={"a": 1})
    assert stage.take_client()["params"] == {"a": 1}


def test_a_subscription_is_served_from_the_session():
    stage = Stage()
    stage.send(request("s", "subscriptions/listen", notifications={"toolsListChanged": True}))
    assert stage.take_client()["method"] == "notifications/subscriptions/acknowledged"
    stage.receive(method="notifications/tools/list_changed")
    said = stage.take_client()
    assert said["params"] == {"_meta": {f"{P}subscriptionId": "s"}}
    stage.close()
    assert stage.result("s")["resultType"] == "complete"
    assert stage.take_client()["method"] == "notifications/cancelled"


def test_log_messages_are_those_that_a_request_wants():
    stage = Stage()
    stage.send(request(1, "tools/call", meta={f"{P}logLevel": "warning"}, name="x"))
    stage.answer(stage.asked("logging/setLevel"), {})
    stage.asked("tools/call")
    for level in ("info", "error"):
        stage.receive(method="notifications/message", params={"level": level, "data": "d"})
    assert stage.take_client()["params"] == {"level": "error", "data": "d"}
    assert not stage.events


def test_a_server_without_logging_is_not_told_a_level():
    stage = Stage(server={"tools": {}})
    stage.send(request(1, "tools/call", meta={f"{P}logLevel": "warning"}, name="x"))
    stage.asked("tools/call")


def test_what_the_server_will_not_answer_fails():
    stage = Stage()
    error = Unreachable("gone")
    stage.fail(stage.call(1), error)
    assert stage.take_failure(1) is error


def test_a_question_is_put_to_the_client_and_may_be_withdrawn():
    stage = Stage()
    upstream = stage.call(1)
    asked = [stage.ask("roots/list"), stage.ask()]
    stage.receive(method="notifications/cancelled", params={"requestId": asked[0]})
    stage.pass_time(0.03)
    entries, _ = stage.questions(1)
    assert [entry["method"] for entry in entries.values()] == ["elicitation/create"]
    stage.pass_time(601.0)
    stage.take_cancellation(upstream)


def test_a_batch_of_the_server_is_taken_apart():
    stage = Stage()
    upstream = stage.call(1)
    batch = [{"id": 5, "method": "ping"}, {"id": upstream, "result": {}}]
    stage.bridge.receive_server(parse(text(batch)), stage.now)
    stage._drain()
    assert stage.take_server()["id"] == 5
    stage.result(1)


def test_the_bridge_in_front_of_a_silent_server_has_nothing_to_do():
    assert ModernToLegacy(str).deadline == math.inf


# ---------------------------------------------------------------- whatever both sides say

IDS = st.sampled_from([1, 2, 3, "a", "b", 1.5])
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 2)
    | st.sampled_from(["", "x", "x:", "url", "debug"]),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("abc"), inner, max_size=2)
    ),
    max_leaves=4,
)
METHODS = st.sampled_from([
    "server/discover", "tools/call", "tools/call", "tools/call", "prompts/get", "resources/read", "tools/list",
    "completion/complete", "subscriptions/listen", "ping", "initialize", "x",
])  # fmt: skip
CAPABILITIES = st.sampled_from([EVERYTHING, EVERYTHING, {}, {"elicitation": {}}, {"roots": {}}])
URLS = {"elicitations": [{"url": "u:", "message": "m"}]}
ERRORS = st.fixed_dictionaries(
    {"code": st.sampled_from([-32601, -32002, -32042, -32042, -32022, "x"])},
    optional={"message": JSON, "data": JSON | st.just(URLS)},
) | st.just({"code": -32042, "data": URLS})
RESULTS = (
    JSON
    | st.fixed_dictionaries(
        {"_meta": JSON, "tools": st.just([{"execution": {"taskSupport": "required"}}])}
    )
    | st.just(initialize_result(SERVER))
)
FILTER = st.fixed_dictionaries(
    {},
    optional={
        "toolsListChanged": st.booleans(),
        "resourceSubscriptions": st.just(["x:", "x:y"]) | JSON,
    },
)
LEVEL = st.sampled_from(["debug", "warning", "loud", None])
NOTICES = st.sampled_from([
    "progress", "message", "cancelled", "tools/list_changed", "resources/updated", "elicitation/complete", "x",
])  # fmt: skip
QUESTIONS = st.sampled_from(
    ["elicitation/create", "sampling/createMessage", "roots/list", "ping", "x"]
)


class Play:
    """Both sides say what they like; what the bridge may never do is checked all the time."""

    def __init__(self, data: st.DataObject) -> None:
        self.data = data
        self.bridge = ModernToLegacy(self._token)
        self.now = 0.0
        self.handles: list[str] = ["unknown"]
        self.keys: list[str] = ["unknown"]
        self.rounds: list[
            tuple[str, list[str]]
        ] = []  # handles with their keys, not yet gone on with
        self.open: dict[str, str] = {}  # requests of the client: methods by id
        self.outstanding: dict[bytes, Message] = {}  # requests to the server
        self.seen: set[bytes] = set()
        self.asked: set[str] = set()  # questions of the server
        self.pings: set[str] = set()
        self.greeted = self.over = False

    def _token(self) -> str:
        self.handles.append(f"handle {len(self.handles)}")
        return self.handles[-1]

    def draw(self, strategy: st.SearchStrategy[Any]) -> Any:
        return self.data.draw(strategy)

    # ------------------------------------------------------------ what is said

    def client_asks(self) -> None:
        id, method = self.draw(IDS), self.draw(METHODS)
        params: dict[str, object] = {"name": "x", "uri": "x:", "notifications": self.draw(FILTER)}
        if self.draw(st.booleans()):
            params["requestState"] = self.draw(st.sampled_from(self.handles) | JSON)
            keys = st.sampled_from(self.keys[-4:])
            answers = st.sampled_from([{"action": "accept"}, {"action": "decline"}, {}, 7])
            params["inputResponses"] = self.draw(st.dictionaries(keys, answers, max_size=4) | JSON)
        meta = {f"{P}logLevel": self.draw(LEVEL), "progressToken": self.draw(IDS | JSON)}
        if self.draw(st.integers(0, 9)):
            self.client(request(id, method, self.draw(CAPABILITIES), meta, **params))
        else:
            self.client(one(id=id, method=method, params=self.draw(JSON)))

    def client_goes_on(self) -> None:
        if self.rounds:
            handle, keys = self.rounds.pop(self.draw(st.integers(0, len(self.rounds) - 1)))
            answers = {key: {"action": "accept"} for key in keys if self.draw(st.integers(0, 4))}
            more = {"requestState": handle, "inputResponses": answers, "name": "x", "uri": "x:"}
            method = self.draw(st.sampled_from(["tools/call", "tools/call", "prompts/get"]))
            meta = {"progressToken": self.draw(IDS)}
            self.client(request(self.draw(IDS), method, meta=meta, **more))

    def client_cancels(self) -> None:
        self.client(message(method="notifications/cancelled", params={"requestId": self.draw(IDS)}))

    def client_babbles(self) -> None:
        self.client(self.draw(BABBLE))

    def client(self, said: Message | Batch) -> None:
        for part in said.messages if isinstance(said, Batch) else [said]:
            if part.kind is Kind.REQUEST:
                self.open.setdefault(_key(part.id), part.method)
            elif part.method == "notifications/cancelled" and b"requestId" in part.params:
                self.open.pop(_key(text(json.loads(part.params)["requestId"])), None)
        self.bridge.receive_client(said, self.now)

    def server_answers(self) -> None:
        if self.outstanding:
            id = self.draw(st.sampled_from(sorted(self.outstanding)))
            likely = {"initialize": {"result": initialize_result(SERVER)}}
            answer = (
                likely.get(self.outstanding[id].method) if self.draw(st.integers(0, 9)) else None
            )
            answer = answer or self.draw(
                st.fixed_dictionaries({"result": RESULTS})
                | st.fixed_dictionaries({"error": ERRORS})
            )
            del self.outstanding[id]
            self.server(message(id=json.loads(id), **answer))

    def server_asks(self) -> None:
        params = {"mode": self.draw(st.sampled_from(["url", "form", 7])), "a": self.draw(JSON)}
        self.server(one(id=self.draw(IDS), method=self.draw(QUESTIONS), params=params))

    def server_tells(self) -> None:
        tokens = [json.loads(id) for id in self.outstanding] or [1]
        params = {
            "level": self.draw(LEVEL),
            "uri": self.draw(st.sampled_from(["x:", "x:y/z", 7])),
            "progressToken": self.draw(st.sampled_from(tokens) | JSON),
            "requestId": self.draw(IDS),
        }
        method = f"notifications/{self.draw(NOTICES)}"
        said = message(method=method, params=self.draw(st.just(params) | JSON))
        if method.endswith("cancelled") and said.params == text(params):  # type: ignore[union-attr]
            self.asked.discard(_key(text(params["requestId"])))
        self.server(said)

    def server_babbles(self) -> None:
        self.server(self.draw(BABBLE))

    def server(self, said: Message | Batch) -> None:
        for part in said.messages if isinstance(said, Batch) else [said]:
            if part.kind is Kind.REQUEST and not self.over:
                (self.pings if part.method == "ping" else self.asked).add(_key(part.id))
        self.bridge.receive_server(said, self.now)

    def server_fails(self) -> None:
        if self.outstanding:
            id = self.draw(st.sampled_from(sorted(self.outstanding)))
            del self.outstanding[id]
            self.bridge.receive_failure(id, Unreachable("gone"), self.now)

    def caller_forgets(self) -> None:
        id = self.draw(IDS)
        self.open.pop(_key(text(id)), None)
        self.bridge.forget(text(id), self.now)

    def time_passes(self) -> None:
        self.wait(self.draw(st.sampled_from([0.01, 0.05, 3.0, 400.0])))

    def wait(self, seconds: float) -> None:
        end = self.now + seconds
        while self.bridge.deadline <= end:
            self.now = max(self.now, self.bridge.deadline)
            self.bridge.receive_time(self.now)
            self.check()
        self.now = end

    # ------------------------------------------------------------ what comes of it

    def check(self) -> None:
        while (event := self.bridge.next_event()) is not None:
            assert not self.over
            self.take(event)

    def take(self, event: Event) -> None:
        match event:
            case ToClient(message=said):
                assert isinstance(said, Message)
                assert self.greeted
                assert said.kind is not Kind.REQUEST
                if said.kind is not Kind.NOTIFICATION:
                    self.answered(said.id)
                    self.read_questions(said)
            case Fail(id=id):
                self.answered(id)
            case ToServer(message=said):
                assert isinstance(said, Message)
                self.take_for_server(said)
            case GiveUp(id=id):
                del self.outstanding[id]
            case WrongEra():
                assert not self.greeted
                self.over = True

    def answered(self, id: bytes) -> None:
        assert _key(id) in self.open, "answered twice, or unasked"
        del self.open[_key(id)]

    def read_questions(self, said: Message) -> None:
        if b'"input_required"' in said.result:
            result = json.loads(said.result)
            assert result["inputRequests"]
            self.keys.extend(result["inputRequests"])
            self.rounds.append((result["requestState"], list(result["inputRequests"])))

    def take_for_server(self, said: Message) -> None:
        if said.kind is Kind.REQUEST:
            assert said.id not in self.seen
            self.seen.add(said.id)
            self.outstanding[said.id] = said
        elif said.kind is Kind.NOTIFICATION:
            self.greeted = self.greeted or said.method == "notifications/initialized"
        elif _key(said.id) in self.pings:  # at once: so a question with the same id is not mistaken
            self.pings.remove(_key(said.id))
        else:
            assert _key(said.id) in self.asked, "a question answered twice"
            self.asked.remove(_key(said.id))

    def end(self) -> None:
        """The server answers all, and time passes: then nothing is left but open subscriptions."""
        for _ in range(20):
            self.answer_all()
            self.wait(700.0)
        if self.over:
            return
        assert set(self.open.values()) <= {"subscriptions/listen"}
        assert not self.outstanding
        assert not self.asked
        self.bridge.close()
        self.check()
        self.answer_all()
        assert not self.open
        self.assert_empty()

    def answer_all(self) -> None:
        for id, asked in tuple(self.outstanding.items()):
            del self.outstanding[id]
            answer = initialize_result(SERVER) if asked.method == "initialize" else {}
            self.bridge.receive_server(one(id=json.loads(id), result=answer), self.now)
            self.check()

    def assert_empty(self) -> None:
        bridge = self.bridge
        assert bridge.deadline == math.inf
        exchanges = bridge._exchanges
        kept = (
            exchanges._open,
            exchanges._at_server,
            exchanges._questions,
            exchanges._parking._parked,
            exchanges._unplaced._questions,
            bridge._client._open,
            bridge._session._waiting,
            bridge._levels._waiting,
            bridge._listens._open,
            bridge._server._asked,
        )
        assert not any(kept)


def _key(id: bytes) -> str:
    return repr(json.loads(id))


def _parsed(value: object) -> Message | Batch | None:
    """None for what is no message, and for what reuses ids within itself: that is refused before."""
    try:
        said = parse(text(value))
    except Malformed:
        return None
    parts = said.messages if isinstance(said, Batch) else []
    return said if len({part.id for part in parts}) == len(parts) else None


MEMBERS = st.fixed_dictionaries(
    {},
    optional={
        "id": IDS,
        "method": METHODS | QUESTIONS,
        "params": JSON,
        "result": JSON,
        "error": JSON,
    },
)
BABBLE = (
    (MEMBERS | st.lists(MEMBERS, max_size=3)).map(_parsed).filter(lambda said: said is not None)
)
STEPS = st.sampled_from([
    Play.client_asks, Play.client_asks, Play.client_goes_on, Play.client_goes_on, Play.client_cancels,
    Play.server_answers, Play.server_answers, Play.server_asks, Play.server_asks, Play.server_tells,
    Play.server_babbles, Play.server_fails, Play.caller_forgets, Play.client_babbles,
    Play.time_passes, Play.time_passes,
])  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.data(), st.booleans())
def test_whatever_is_said_each_request_is_answered_once(data: st.DataObject, greeted: bool):
    play = Play(data)
    if greeted:
        play.client(request("first", "server/discover"))
        play.check()
        (id,) = play.outstanding
        del play.outstanding[id]
        play.server(one(id=json.loads(id), result=initialize_result(SERVER)))
        play.check()
    for step in data.draw(st.lists(STEPS, min_size=5, max_size=40)):
        step(play)
        play.check()
    play.end()
