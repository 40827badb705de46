"""`subscriptions/listen` over a legacy session."""

from typing import Any

import pytest

from mcpctld.errors import Conflict, Unreachable
from mcpctld.protocols.mcp.modern_to_legacy.listens import MAX_LISTENS, MAX_URIS
from protocols.mcp.modern_to_legacy.stage import INFO, P, Stage, request

ID = f"{P}subscriptionId"
ACK = "notifications/subscriptions/acknowledged"
LISTS = {"toolsListChanged": True, "promptsListChanged": True, "resourcesListChanged": True}


def listen(stage: Stage, id: object = 1, **wanted: object) -> None:
    stage.send(request(id, "subscriptions/listen", notifications=wanted))


def take_ack(stage: Stage, id: object) -> dict[str, Any]:
    said = stage.take_client()
    assert said["method"] == ACK
    assert said["params"]["_meta"] == {ID: id}
    return said["params"]["notifications"]


def subscribed(stage: Stage, id: object, *uris: str) -> None:
    """It listens to these, which nobody has listened to."""
    listen(stage, id, resourceSubscriptions=list(uris))
    for asked in [stage.asked("resources/subscribe") for _ in uris]:
        stage.answer(asked, {})
    assert take_ack(stage, id) == {"resourceSubscriptions": list(uris)}


def update(stage: Stage, uri: object) -> list[object]:
    """Who is told."""
    params = {"uri": uri, "_meta": {"a": 1}}
    stage.receive(method="notifications/resources/updated", params=params)
    told = [stage.take_client() for _ in tuple(stage.events)]
    assert all(said["params"]["uri"] == uri for said in told)
    assert all(said["params"]["_meta"]["a"] == 1 for said in told)
    return [said["params"]["_meta"][ID] for said in told]


# ---------------------------------------------------------------- lists


def test_the_acknowledgement_comes_first_with_what_the_server_offers():
    stage = Stage(server={"tools": {"listChanged": True}, "prompts": {}, "resources": {}})
    listen(stage, "a", **LISTS, resourceSubscriptions=["x:"])
    assert take_ack(stage, "a") == {"toolsListChanged": True}
    assert not stage.events


def test_a_change_is_told_to_all_that_listen_to_it():
    stage = Stage()
    listen(stage, 1, toolsListChanged=True)
    listen(stage, "two", **LISTS)
    listen(stage, 3, toolsListChanged=False, promptsListChanged=True)
    for id in (1, "two", 3):
        take_ack(stage, id)
    stage.receive(method="notifications/tools/list_changed")
    assert [stage.take_client()["params"]["_meta"][ID] for _ in range(2)] == [1, "two"]
    stage.receive(method="notifications/prompts/list_changed", params={"_meta": {"a": 1, ID: 9}})
    assert stage.take_client()["params"] == {"_meta": {"a": 1, ID: "two"}}
    assert stage.take_client()["params"] == {"_meta": {"a": 1, ID: 3}}
    stage.receive(method="notifications/resources/list_changed")
    assert stage.take_client()["method"] == "notifications/resources/list_changed"
    assert not stage.events


def test_a_change_that_nobody_listened_to_is_told_to_the_next_one_once():
    stage = Stage()
    stage.receive(method="notifications/tools/list_changed")
    stage.receive(method="notifications/tools/list_changed")
    listen(stage, 1, promptsListChanged=True)
    take_ack(stage, 1)
    listen(stage, 2, toolsListChanged=True)
    take_ack(stage, 2)
    said = stage.take_client()
    assert said["method"] == "notifications/tools/list_changed"
    assert said["params"] == {"_meta": {ID: 2}}
    listen(stage, 3, toolsListChanged=True)
    take_ack(stage, 3)
    assert not stage.events


def test_a_listen_that_is_cancelled_hears_nothing_more():
    stage = Stage()
    listen(stage, 1, toolsListChanged=True)
    take_ack(stage, 1)
    stage.cancel(1)
    stage.cancel(1)
    stage.receive(method="notifications/tools/list_changed")
    assert not stage.events


@pytest.mark.parametrize(
    "wanted",
    [
        None,
        7,
        {"toolsListChanged": 1},
        {"resourceSubscriptions": "x"},
        {"resourceSubscriptions": [1]},
    ],
)
def test_a_filter_that_is_none_is_refused(wanted: object):
    stage = Stage()
    stage.send(request(1, "subscriptions/listen", notifications=wanted))
    assert stage.error(1)["code"] == -32602


def test_a_listen_without_a_filter_is_refused():
    stage = Stage()
    stage.send(request(1, "subscriptions/listen"))
    assert stage.error(1)["code"] == -32602


def test_not_more_than_some_are_open():
    stage = Stage()
    for id in range(MAX_LISTENS):
        listen(stage, id)
        take_ack(stage, id)
    listen(stage, "more")
    assert isinstance(stage.take_failure("more"), Conflict)
    stage.cancel(0)
    listen(stage, "more")
    take_ack(stage, "more")


def test_at_the_end_each_is_told_so():
    stage = Stage()
    listen(stage, 1, toolsListChanged=True)
    take_ack(stage, 1)
    stage.close()
    assert stage.result(1) == {
        "resultType": "complete",
        "_meta": {ID: 1, f"{P}serverInfo": INFO},
    }
    said = stage.take_client()
    assert (said["method"], said["params"]) == ("notifications/cancelled", {"requestId": 1})
    stage.close()
    assert not stage.events


# ---------------------------------------------------------------- resources


def test_each_resource_is_subscribed_to_before_the_acknowledgement():
    stage = Stage()
    listen(stage, 1, resourceSubscriptions=["x:", "y:", "x:"])
    first, second = stage.asked("resources/subscribe"), stage.asked("resources/subscribe")
    assert (first["params"], second["params"]) == ({"uri": "x:"}, {"uri": "y:"})
    stage.answer(second, {})
    assert update(stage, "y:") == []
    stage.answer(first, {})
    assert take_ack(stage, 1) == {"resourceSubscriptions": ["y:", "x:"]}
    assert update(stage, "x:") == [1]


def test_what_the_server_refuses_is_not_acknowledged():
    stage = Stage()
    listen(stage, 1, resourceSubscriptions=["x:", "y:", "z:"])
    asked = [stage.asked("resources/subscribe") for _ in range(3)]
    stage.refuse(asked[0], -32602)
    stage.fail(asked[1], Unreachable("gone"))
    stage.answer(asked[2], {})
    assert take_ack(stage, 1) == {"resourceSubscriptions": ["z:"]}
    assert update(stage, "x:") == []
    listen(stage, 2, resourceSubscriptions=["x:"])
    stage.asked("resources/subscribe")


def test_what_the_server_does_not_confirm_is_not_waited_for_long():
    stage = Stage()
    listen(stage, 1, toolsListChanged=True, resourceSubscriptions=["x:"])
    asked = stage.asked("resources/subscribe")
    stage.pass_time(9.0)
    assert not stage.events
    stage.pass_time(2.0)
    assert take_ack(stage, 1) == {"toolsListChanged": True}
    stage.answer(asked, {})
    assert stage.asked("resources/unsubscribe")["params"] == {"uri": "x:"}
    assert update(stage, "x:") == []


def test_a_resource_is_subscribed_to_once_for_all_and_left_by_the_last():
    stage = Stage()
    subscribed(stage, 1, "x:")
    listen(stage, 2, resourceSubscriptions=["x:"])
    take_ack(stage, 2)
    assert update(stage, "x:") == [1, 2]
    stage.cancel(1)
    assert update(stage, "x:") == [2]
    stage.cancel(2)
    stage.answer(stage.asked("resources/unsubscribe"), {})
    assert update(stage, "x:") == []
    subscribed(stage, 3, "x:")


def test_two_that_wait_for_the_same_resource_are_both_told():
    stage = Stage()
    listen(stage, 1, resourceSubscriptions=["x:"])
    asked = stage.asked("resources/subscribe")
    listen(stage, 2, resourceSubscriptions=["x:"])
    assert not stage.events
    stage.answer(asked, {})
    take_ack(stage, 1)
    take_ack(stage, 2)
    assert update(stage, "x:") == [1, 2]


def test_requests_about_one_resource_do_not_overtake_each_other():
    stage = Stage()
    subscribed(stage, 1, "x:")
    stage.cancel(1)
    leaving = stage.asked("resources/unsubscribe")
    listen(stage, 2, resourceSubscriptions=["x:"])
    assert not stage.events
    stage.refuse(leaving, -32603)
    stage.answer(stage.asked("resources/subscribe"), {})
    assert take_ack(stage, 2) == {"resourceSubscriptions": ["x:"]}


def test_a_listen_that_is_cancelled_before_the_server_confirms_leaves_nothing():
    stage = Stage()
    listen(stage, 1, resourceSubscriptions=["x:"])
    asked = stage.asked("resources/subscribe")
    stage.cancel(1)
    assert not stage.events
    stage.answer(asked, {})
    stage.answer(stage.asked("resources/unsubscribe"), {})
    stage.pass_time(60.0)
    assert not stage.events


def test_a_part_of_a_resource_is_told_to_those_who_listen_to_the_whole():
    stage = Stage()
    subscribed(stage, 1, "x:/a", "x:/")
    subscribed(stage, 2, "x:/a/b")
    assert update(stage, "x:/a/b") == [2]
    assert update(stage, "x:/a/c") == [1]
    assert update(stage, "y:") == []
    assert update(stage, 7) == []


def test_not_more_than_some_resources_are_subscribed_to():
    stage = Stage()
    uris = [f"x:{number}" for number in range(MAX_URIS)]
    subscribed(stage, 1, *uris)
    listen(stage, 2, resourceSubscriptions=["y:", "x:1"])
    assert take_ack(stage, 2) == {"resourceSubscriptions": ["x:1"]}
