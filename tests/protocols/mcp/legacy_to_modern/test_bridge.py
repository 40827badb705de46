"""A legacy client talks to a modern server, from the first message to the last."""

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpctld.errors import TimedOut, Unreachable
from mcpctld.protocols.mcp.bridge import ToClient
from protocols.mcp.legacy_to_modern.ledger import Ledger
from protocols.mcp.legacy_to_modern.talk import CLIENT_INFO, DISCOVERY, QUIET, P, Talk

ENVELOPE = {
    P + "protocolVersion": "2026-07-28",
    P + "clientCapabilities": {},
    P + "clientInfo": CLIENT_INFO,
}


def ready(**options: Any) -> Talk:
    talk = Talk()
    talk.initialize(**options)
    return talk


# ---------------------------------------------------------------- the handshake


def test_initialize_becomes_a_discovery_in_the_name_of_the_client():
    talk = Talk()
    params = {
        "protocolVersion": "2025-06-18",
        "capabilities": {"roots": {"listChanged": True}},
        "clientInfo": CLIENT_INFO,
    }
    talk.client(id="i", method="initialize", params=params)
    asked = talk.to_server()
    meta = {**ENVELOPE, P + "clientCapabilities": {"roots": {}}}
    assert asked == {
        "jsonrpc": "2.0",
        "id": "mcpctl:1",
        "method": "server/discover",
        "params": {"_meta": meta},
    }
    talk.server(id="mcpctl:1", result=DISCOVERY)
    assert talk.to_client() == {
        "jsonrpc": "2.0",
        "id": "i",
        "result": {
            "protocolVersion": "2025-06-18",
            "capabilities": DISCOVERY["capabilities"],
            "serverInfo": {"name": "server", "version": "2"},
            "instructions": "be kind",
        },
    }


@pytest.mark.parametrize(
    "answer",
    [
        {"result": {"supportedVersions": ["2099-01-01"]}},
        {"result": {}},
        {"result": 5},
        {"error": {"code": -32601, "message": "no"}},
        {"error": {"code": -32022, "message": "no", "data": {"supported": ["2025-11-25"]}}},
    ],
)
def test_a_server_of_another_era_makes_the_bridge_useless(answer: dict[str, Any]):
    talk = Talk()
    talk.client(id=1, method="initialize")
    asked = talk.to_server()
    talk.client(id=2, method="ping")
    assert talk.take() == []  # nothing reaches the client before that is clear
    talk.server(method="notifications/message", params={})
    talk.server(id=asked["id"], **answer)
    [(kind, reason)] = talk.take()
    assert kind == "wrong era"
    assert "2026-07-28" in reason
    talk.client(id=3, method="initialize")
    talk.server(id=asked["id"], result=DISCOVERY)
    talk.server(method="notifications/message", params={})
    talk.forget(1)
    assert talk.take() == []


INVITATION = {"code": -32022, "message": "no", "data": {"supported": ["2026-07-28"]}}


@pytest.mark.parametrize("at_last", [True, False])
def test_a_server_that_refuses_and_names_the_revision_is_asked_once_more(at_last: bool):
    talk = Talk()
    talk.client(id=1, method="initialize")
    first = talk.to_server()
    talk.server(id=first["id"], error=INVITATION)
    second = talk.to_server()
    assert second == {**first, "id": "mcpctl:2"}
    if at_last:
        talk.server(id=second["id"], result=DISCOVERY)
        assert talk.to_client()["id"] == 1
    else:
        talk.server(id=second["id"], error=INVITATION)
        assert [kind for kind, _ in talk.take()] == ["wrong era"]


def test_what_comes_before_initialize_is_answered_waits_for_it():
    talk = Talk()
    talk.client(id=0, method="initialize")
    asked = talk.to_server()
    talk.client(id=1, method="tools/list")
    talk.client(id=2, method="prompts/list")
    talk.client(id=3, method="ping")
    talk.client(method="notifications/cancelled", params={"requestId": 2})
    talk.client(method="notifications/roots/list_changed")
    talk.client(method="notifications/initialized")
    assert talk.take() == []
    talk.server(id=asked["id"], result=DISCOVERY)
    heard = [(who, value.get("method") or value["id"]) for who, value in talk.take()]
    assert heard == [
        ("client", 0),
        ("server", "subscriptions/listen"),
        ("server", "tools/list"),
        ("client", 3),
    ]


def test_when_the_server_cannot_be_reached_the_client_hears_it_and_may_try_again():
    talk = Talk()
    talk.client(id=0, method="initialize")
    asked = talk.to_server()
    talk.client(id=1, method="tools/list")
    talk.failure("unknown", Unreachable("somebody else"))
    talk.failure(asked["id"], Unreachable("the machine is gone"))
    assert talk.take() == [
        ("fail", (0, "the machine is gone")),
        ("fail", (1, "the machine is gone")),
    ]
    talk.server(id=asked["id"], result=DISCOVERY)  # too late
    assert talk.take() == []
    talk.initialize()


def test_a_handshake_that_was_answered_elsewhere_is_given_up():
    talk = Talk()
    talk.client(id=0, method="initialize")
    asked = talk.to_server()
    talk.client(id=1, method="tools/list")
    talk.client(method="notifications/cancelled", params={"requestId": 0})
    assert talk.take() == []  # initialize cannot be cancelled
    talk.forget(0)
    text = "`initialize` was not answered in time"
    assert talk.take() == [("give up", asked["id"]), ("fail", (1, text))]
    talk.initialize()


def test_without_initialize_there_is_only_ping():
    talk = Talk()
    talk.client(id=1, method="ping")
    assert talk.to_client()["result"] == {}
    talk.client(id=2, method="tools/list")
    assert talk.take() == [("fail", (2, "tools/list came before `initialize`"))]
    talk.client(method="notifications/x")
    talk.client(id=3, result={})
    talk.client([{"id": 4, "method": "initialize"}])
    assert talk.take() == [("fail", (4, "only MCP 2025-03-26 has batches"))]


def test_a_second_initialize_is_refused():
    talk = ready()
    talk.client(id=1, method="initialize")
    assert talk.to_client()["error"]["code"] == -32600


# ---------------------------------------------------------------- requests


@pytest.mark.parametrize("id", [1, "a", 1.5, "\ud800"])
@pytest.mark.parametrize("method", ["tools/list", "resources/read", "x/y"])
def test_requests_carry_the_envelope_and_keep_their_id(id: object, method: str):
    talk = ready()
    asked = talk.ask(id, method, cursor="c", _meta={"progressToken": 7, P + "related-task": {}})
    assert asked == {
        "jsonrpc": "2.0",
        "id": id,
        "method": method,
        "params": {"cursor": "c", "_meta": {**ENVELOPE, "progressToken": 7}},
    }
    result = {"resultType": "complete", "ttlMs": 5, "cacheScope": "public", "x": 1}
    talk.server(id=id, result={**result, "_meta": {P + "serverInfo": {}, "own": 1}})
    assert talk.to_client() == {"jsonrpc": "2.0", "id": id, "result": {"x": 1, "_meta": {"own": 1}}}


def test_ids_that_look_like_ours_do_not_meet_ours():
    talk = ready()
    first = talk.ask("mcpctl:1", "tools/list")
    talk.client(b'{"id":"\\u006dcpctl:2","method":"tools/list"}')
    second = talk.to_server()
    assert len({"mcpctl:1", first["id"], second["id"]}) == 3
    talk.server(id=second["id"], result={"tools": []})
    assert talk.to_client()["id"] == "mcpctl:2"
    talk.server(id=first["id"], result={"tools": []})
    assert talk.to_client()["id"] == "mcpctl:1"


@pytest.mark.parametrize("method", ["tasks/get", "tasks/list", "server/discover", "subscriptions/listen"])  # fmt: skip
def test_methods_of_another_revision_are_not_found(method: str):
    talk = ready()
    talk.client(id=1, method=method)
    assert talk.to_client()["error"]["code"] == -32601


def test_the_level_of_logs_goes_with_each_later_request():
    talk = ready()
    assert P + "logLevel" not in talk.call(1)["params"]["_meta"]
    talk.client(id=2, method="logging/setLevel", params={"level": "debug"})
    assert talk.to_client() == {"jsonrpc": "2.0", "id": 2, "result": {}}
    assert talk.call(3)["params"]["_meta"][P + "logLevel"] == "debug"
    for params in ({"level": "loud"}, {"level": 5}, {}, []):
        talk.client(id=4, method="logging/setLevel", params=params)
        assert talk.to_client()["error"]["code"] == -32602
    assert talk.call(5)["params"]["_meta"][P + "logLevel"] == "debug"


def test_a_request_that_cannot_be_answered_fails():
    talk = ready()
    talk.call(1)
    talk.failure(1, Unreachable("cut"))
    assert talk.take() == [("fail", (1, "cut"))]
    talk.server(id=1, result={})
    assert talk.take() == []


def test_a_cancelled_request_is_given_up_and_its_answer_dropped():
    talk = ready()
    talk.call(1)
    talk.client(method="notifications/cancelled", params={"requestId": 1})
    assert talk.take() == [("give up", 1)]
    talk.server(id=1, result={})
    talk.client(method="notifications/cancelled", params={"requestId": 1})
    talk.client(method="notifications/cancelled", params={"requestId": []})
    talk.client(method="notifications/cancelled")
    assert talk.take() == []


def test_a_request_answered_elsewhere_is_given_up():
    talk = ready()
    talk.call(1)
    talk.forget(1)
    assert talk.take() == [("give up", 1)]


# ---------------------------------------------------------------- notifications


@pytest.mark.parametrize(
    "method", ["notifications/roots/list_changed", "notifications/progress", "notifications/tasks/status"]
)  # fmt: skip
def test_notifications_that_the_server_does_not_know_end_here(method: str):
    talk = ready()
    talk.client(method=method, params={"progressToken": "mcpctl:1"})
    assert talk.take() == []


def test_notifications_of_extensions_go_on():
    talk = ready()
    talk.client(method="notifications/x", params={"a": 1})
    assert talk.to_server() == {
        "jsonrpc": "2.0",
        "method": "notifications/x",
        "params": {"a": 1, "_meta": ENVELOPE},
    }


@pytest.mark.parametrize("method", ["notifications/message", "notifications/x"])
def test_what_the_server_tells_goes_on_unchanged(method: str):
    talk = ready()
    text = b'{ "method":"%b" , "params":{"data":1.0}}' % method.encode()
    talk.server(text)
    [event] = talk.heard
    assert isinstance(event, ToClient)
    assert event.message.raw == text


def test_progress_goes_on_unchanged():
    talk = ready()
    talk.call(1, _meta={"progressToken": "t"})
    for progress in (1, 1, 0.5):  # it should grow, but that is between the two of them
        talk.server(
            method="notifications/progress", params={"progressToken": "t", "progress": progress}
        )
        assert talk.to_client()["params"]["progress"] == progress


def test_in_later_rounds_progress_that_does_not_grow_is_dropped():
    talk = ready()
    asked = talk.call(1, _meta={"progressToken": "t"})
    talk.server(method="notifications/progress", params={"progressToken": "t", "progress": 5})
    talk.take()
    talk.input_required(asked, requestState="s")
    talk.wait(1)
    assert talk.to_server()["params"]["_meta"]["progressToken"] == "t"
    for progress in (1, 5, 6, 6, 7):
        talk.server(
            method="notifications/progress", params={"progressToken": "t", "progress": progress}
        )
    assert [value["params"]["progress"] for _, value in talk.take()] == [6, 7]


def test_reserved_keys_are_taken_off_notifications():
    talk = ready()
    meta = {P + "x": 1, "own": 2}
    talk.server(method="notifications/message", params={"data": 1, "_meta": meta})
    assert talk.to_client()["params"] == {"data": 1, "_meta": {"own": 2}}


def test_a_server_has_no_questions_outside_requests():
    talk = ready()
    talk.server(id=1, method="roots/list")
    talk.server(id=1, method="ping")
    talk.server(id=77, result={})
    talk.server(error={"code": -32600, "message": "?"})
    talk.server(method="notifications/cancelled", params={"requestId": 1})
    talk.server(method="notifications/cancelled")
    talk.server(method="notifications/subscriptions/acknowledged")
    assert talk.take() == []


def test_answers_in_an_array_are_taken_one_by_one():
    talk = ready()
    talk.call(1)
    talk.call(2)
    talk.server([{"id": 1, "result": {}}, {"id": 2, "result": {}}])
    assert [value["id"] for _, value in talk.take()] == [1, 2]


# ---------------------------------------------------------------- rounds


def test_the_client_is_asked_and_the_server_asked_again():
    talk = ready(capabilities={"roots": {}})
    asked = talk.call(1, arguments={"x": 1})
    [question] = talk.input_required(asked, {"r": {"method": "roots/list"}}, requestState="s")
    assert question["method"] == "roots/list"
    progress = {"progressToken": question["id"], "progress": 1}
    talk.client(method="notifications/progress", params=progress)
    talk.client(id=question["id"], result={"roots": []})
    again = talk.to_server()
    assert again["id"] != asked["id"]
    expected = {"inputResponses": {"r": {"roots": []}}, "requestState": "s"}
    assert again["params"] == {**asked["params"], **expected}
    talk.server(id=again["id"], result={"content": []})
    assert talk.to_client() == {"jsonrpc": "2.0", "id": 1, "result": {"content": []}}
    assert talk.bridge.deadline == math.inf


def test_a_cancelled_request_takes_its_questions_along():
    talk = ready(capabilities={"roots": {}})
    [question] = talk.input_required(talk.call(1), {"r": {"method": "roots/list"}})
    talk.client(method="notifications/cancelled", params={"requestId": 1})
    cancelled = {"jsonrpc": "2.0", "method": "notifications/cancelled"}
    assert talk.to_client() == {**cancelled, "params": {"requestId": question["id"]}}
    talk.client(id=question["id"], result={"roots": []})
    assert talk.take() == []


# ---------------------------------------------------------------- subscriptions


def acknowledge(talk: Talk, listen: Any, **notifications: Any) -> None:
    params = {"notifications": notifications, "_meta": {P + "subscriptionId": listen["id"]}}
    talk.server(method="notifications/subscriptions/acknowledged", params=params)


def listening(talk: Talk) -> Any:
    talk.client(method="notifications/initialized")
    listen = talk.to_server()
    acknowledge(talk, listen)
    assert talk.take() == []
    return listen


def test_list_changes_are_listened_for_once_the_client_is_initialized():
    talk = ready(discovery=DISCOVERY)
    listen = listening(talk)
    assert listen["method"] == "subscriptions/listen"
    wanted = {"toolsListChanged": True, "resourcesListChanged": True}
    assert listen["params"] == {"notifications": wanted, "_meta": ENVELOPE}
    talk.client(method="notifications/initialized")
    assert talk.take() == []
    changed = {"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}
    talk.server({**changed, "params": {"_meta": {P + "subscriptionId": listen["id"]}}})
    assert talk.to_client() == {**changed, "params": {}}
    talk.server({**changed, "params": {"_meta": {P + "subscriptionId": "of another"}}})
    assert talk.take() == []


def test_nothing_is_listened_for_when_nothing_is_promised():
    talk = ready(discovery=QUIET)
    talk.client(method="notifications/initialized")
    assert talk.take() == []


def test_resources_are_subscribed_to_and_unsubscribed_from():
    talk = ready()
    listen = talk.ask(1, "resources/subscribe", uri="a:b")
    assert listen["params"]["notifications"] == {"resourceSubscriptions": ["a:b"]}
    acknowledge(talk, listen, resourceSubscriptions=["a:b"])
    assert talk.to_client() == {"jsonrpc": "2.0", "id": 1, "result": {}}
    talk.client(id=2, method="resources/unsubscribe", params={"uri": "a:b"})
    assert [kind for kind, _ in talk.take()] == ["client", "give up"]
    for method in ("resources/subscribe", "resources/unsubscribe"):
        talk.client(id=3, method=method, params={"uri": 5})
        assert talk.to_client()["error"]["code"] == -32602


def test_a_subscription_that_nobody_waits_for_is_not_answered():
    talk = ready()
    listen = talk.ask(1, "resources/subscribe", uri="a:b")
    talk.forget(1)
    acknowledge(talk, listen, resourceSubscriptions=["a:b"])
    assert talk.take() == []


@pytest.mark.parametrize("end", ["result", "error", "failure", "cancelled"])
def test_where_the_listening_breaks_off_it_is_taken_up_again(end: str):
    talk = ready(discovery=DISCOVERY)
    listen = listening(talk)
    if end == "failure":
        talk.failure(listen["id"], Unreachable("cut"))
    elif end == "cancelled":
        talk.server(method="notifications/cancelled", params={"requestId": listen["id"]})
    elif end == "result":
        talk.server(id=listen["id"], result={"_meta": {P + "subscriptionId": listen["id"]}})
    else:
        talk.server(id=listen["id"], error={"code": -32603, "message": "oops"})
    assert talk.take() == []
    talk.wait(1)
    again = talk.to_server()
    assert again["params"] == listen["params"]
    acknowledge(talk, again)
    told = [value["method"] for _, value in talk.take()]
    assert told == ["notifications/tools/list_changed", "notifications/resources/list_changed"]


# ---------------------------------------------------------------- batches


def test_a_batch_is_split_and_answered_in_one_array():
    talk = ready(version="2025-03-26")
    talk.client([
        {"id": 1, "method": "tools/call", "params": {"name": "t"}},
        {"id": 2, "method": "ping"},
        {"method": "notifications/roots/list_changed"},
        {"id": 3, "method": "tools/list"},
        {"id": 4, "method": "prompts/list"},
        {"id": 5, "method": "prompts/get"},
    ])  # fmt: skip
    assert [value["id"] for _, value in talk.take()] == [1, 3, 4, 5]
    talk.failure(3, TimedOut("slow"))
    talk.forget(4)
    talk.server(id=1, result={"content": []})
    talk.client(method="notifications/cancelled", params={"requestId": 5})
    kinds = dict(talk.take())
    answers = {answer["id"]: answer for answer in kinds["client"]}
    assert answers.keys() == {1, 2, 3}
    assert answers[3]["error"]["message"] == "mcpctl: slow"
    assert answers[3]["error"]["data"] == {"source": "mcpctl", "kind": "timeout"}


def test_other_revisions_have_no_batches():
    talk = ready(version="2025-06-18", capabilities={"roots": {}})
    [question] = talk.input_required(talk.call(1), {"r": {"method": "roots/list"}})
    talk.client([{"id": 7, "method": "ping"}, {"id": question["id"], "result": {"roots": []}}])
    heard = talk.take()
    assert heard[0] == ("fail", (7, "only MCP 2025-03-26 has batches"))
    assert heard[1][0] == "server"


# ---------------------------------------------------------------- anything at all


IDS = st.sampled_from([0, 1, 2, "a", "mcpctl:1", "mcpctl:2", "mcpctl:3", "mcpctl:4", "mcpctl:5"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "\ud800", "2026-07-28", "a:b"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["", "_meta", "uri", "mode", P + "subscriptionId", "tools"]), inner),
    max_leaves=6,
)  # fmt: skip
METHODS = st.sampled_from([
    "initialize", "ping", "tools/call", "tools/list", "resources/read", "resources/subscribe", "resources/unsubscribe",
    "logging/setLevel", "tasks/get", "notifications/initialized", "notifications/cancelled", "notifications/progress",
    "notifications/subscriptions/acknowledged", "notifications/tools/list_changed", "\ud800",
])  # fmt: skip
PARAMS = JSON | st.fixed_dictionaries(
    {},
    optional={
        "uri": st.sampled_from(["a:b", "c:d"]),
        "name": st.just("t"),
        "level": st.just("info"),
        "requestId": IDS,
        "progressToken": IDS,
        "progress": JSON,
        "protocolVersion": st.sampled_from(["2025-03-26", "2025-11-25"]),
        "capabilities": st.just({"roots": {}, "elicitation": {"url": {}, "form": {}}}),
        "notifications": st.just({"resourceSubscriptions": ["a:b"]}) | JSON,
        "_meta": st.fixed_dictionaries(
            {}, optional={"progressToken": IDS, P + "subscriptionId": IDS}
        ),
    },
)
FAIR_WISHES = [
    {"method": "roots/list"},
    {"method": "elicitation/create", "params": {"mode": "url", "url": "u:v"}},
    {"method": "elicitation/create", "params": {"mode": "form"}},
]
WISHES = st.sampled_from([*FAIR_WISHES, {"method": "sampling/createMessage"}, {}, 5])
ROUNDS = st.fixed_dictionaries(
    {"resultType": st.just("input_required")},
    optional={
        "inputRequests": st.dictionaries(st.sampled_from("abc"), WISHES, max_size=3) | JSON,
        "requestState": st.sampled_from(["s", 5]),
    },
)
FAIR_ROUNDS = st.dictionaries(st.sampled_from("abc"), st.sampled_from(FAIR_WISHES)).map(
    lambda wishes: {
        "resultType": "input_required",
        "inputRequests": wishes,
        "requestState": "s",
    }
)
RESULTS = st.one_of(
    st.just(DISCOVERY), ROUNDS, st.just({"action": "accept"}), JSON,
    st.fixed_dictionaries({"resultType": st.sampled_from(["complete", "task", 5]), "structuredContent": JSON}),
    st.just({"tools": [{"name": "t", "outputSchema": {"type": "string"}}, 5]}),
)  # fmt: skip
REQUESTS = st.fixed_dictionaries({"id": IDS, "method": METHODS}, optional={"params": PARAMS})
NOTIFICATIONS = st.fixed_dictionaries({"method": METHODS}, optional={"params": PARAMS})
ANSWERS = st.fixed_dictionaries({"id": IDS, "result": RESULTS}) | st.fixed_dictionaries({
    "id": IDS,
    "error": JSON | st.fixed_dictionaries({"code": st.sampled_from([-32020, -32021, -32601, 1]), "message": JSON}),
})  # fmt: skip
MESSAGES = st.one_of(REQUESTS, NOTIFICATIONS, ANSWERS)
ANYTHING = MESSAGES | st.lists(MESSAGES, min_size=1, max_size=3)
NTH = st.integers(0, 3)
REPLIES = RESULTS.map(lambda result: {"result": result}) | st.just({"error": {"code": -1}})
TOOL = {"method": "tools/call", "params": {"name": "t", "_meta": {"progressToken": 1}}}
CALLS = st.one_of(
    st.just(TOOL),
    st.just({"method": "resources/read", "params": {"uri": "a:b"}}),
    st.just({"method": "tools/list"}),
    st.sampled_from(["resources/subscribe", "resources/unsubscribe"]).flatmap(
        lambda method: st.sampled_from(["a:b", "c:d"]).map(
            lambda uri: {"method": method, "params": {"uri": uri}}
        )
    ),
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["call", "call_like_us"]), CALLS),
        st.tuples(st.just("batch"), st.lists(CALLS, max_size=3)),
        st.tuples(st.just("answer"), st.tuples(NTH, REPLIES)),
        st.tuples(st.just("answer"), st.tuples(NTH, FAIR_ROUNDS.map(lambda r: {"result": r}))),
        st.tuples(st.just("reply"), st.tuples(NTH, REPLIES)),
        st.tuples(st.just("acknowledge"), st.tuples(NTH, st.sampled_from([["a:b"], [], 5]))),
        st.tuples(st.sampled_from(["cancel", "fail", "forget"]), NTH),
        st.tuples(st.sampled_from(["client", "server"]), ANYTHING),
        st.tuples(st.just("wait"), st.sampled_from([0.1, 5, 700])),
    ),
    max_size=30,
)
VERSIONS = st.sampled_from(["2025-03-26", "2025-11-25"])
OFFERS = {"roots": {}, "elicitation": {"url": {}, "form": {}}}


@settings(max_examples=300, deadline=None)
@given(VERSIONS, st.booleans(), STEPS)
def test_whatever_is_said_each_request_is_answered_once(
    version: str, prompt: bool, steps: list[tuple[str, Any]]
):
    ledger = Ledger()
    params = {"protocolVersion": version, "capabilities": OFFERS}
    ledger.take("call", {"method": "initialize", "params": params})
    if prompt:
        ledger.take("answer", (0, {"result": DISCOVERY}))
        ledger.take("call", TOOL)
    for step, value in steps:
        ledger.take(step, value)
    if not ledger.useless:
        ledger.finish()
        assert all(ledger.open.values()), ledger.open
