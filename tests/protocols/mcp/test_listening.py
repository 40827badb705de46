"""What clients listen for, and how one stream is told to several (MCP 2026-07-28, Subscriptions)."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpctld.protocols.jsonrpc import Message, parse
from mcpctld.protocols.mcp.listening import (
    UPDATED,
    Filter,
    acknowledge,
    address,
    address_result,
    concerned,
    read_filter,
    read_honoured,
    say_changed,
    topic_of,
    union,
    write_filter,
)

ID = "io.modelcontextprotocol/subscriptionId"
names = st.frozensets(st.sampled_from(["tools", "prompts", "resources"]))
filters = st.builds(Filter, names, st.frozensets(st.text(max_size=4), max_size=4))


def wanted(*lists: str, uris: tuple[str, ...] = ()) -> Filter:
    return Filter(frozenset(lists), frozenset(uris))


def message(**members: Any) -> Message:
    parsed = parse(json.dumps({"jsonrpc": "2.0", **members}).encode())
    assert isinstance(parsed, Message)
    return parsed


def updated(uri: object) -> Message:
    return message(method=UPDATED, params={"uri": uri})


def params(notifications: object, **more: object) -> bytes:
    return json.dumps({"_meta": {"x": 1}, "notifications": notifications, **more}).encode()


# ---------------------------------------------------------------- filters


def test_a_filter_is_read():
    asked = {
        "toolsListChanged": True,
        "promptsListChanged": False,
        "resourcesListChanged": None,
        "resourceSubscriptions": ["a:b", "c:d"],
    }
    assert read_filter(params(asked)) == wanted("tools", uris=("a:b", "c:d"))
    assert read_filter(params({})) == Filter()
    assert read_filter(params({"resourceSubscriptions": None})) == Filter()


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b"", id="no params"),
        pytest.param(b'{"_meta":{}}', id="no filter"),
        pytest.param(params(7), id="no object"),
        pytest.param(params({"taskIds": ["1"]}), id="an extension's filter"),
        pytest.param(params({}, more=1), id="another member"),
        pytest.param(params({"toolsListChanged": "yes"}), id="no boolean"),
        pytest.param(params({"resourceSubscriptions": "a:b"}), id="no list"),
        pytest.param(params({"resourceSubscriptions": [7]}), id="no URI"),
    ],
)
def test_what_is_not_understood_is_left_to_the_server(text: bytes):
    assert read_filter(text) is None


@given(filters)
def test_what_is_written_reads_the_same(one: Filter):
    assert read_filter(b'{"notifications":%b}' % write_filter(one)) == one


@given(st.lists(filters))
def test_a_union_covers_all_and_nothing_else(several: list[Filter]):
    all_ = union(several)
    assert all(all_.covers(one) for one in several)
    assert all_.lists == {name for one in several for name in one.lists}
    assert all_.uris == {uri for one in several for uri in one.uris}


@given(filters, filters)
def test_what_both_have_is_covered_by_either(one: Filter, other: Filter):
    assert one.covers(one & other)
    assert other.covers(one & other)
    assert one.covers(other) == (one & other == other)


def test_what_is_honoured_is_read_whatever_else_it_says():
    honoured = {"toolsListChanged": True, "taskIds": [1], "resourceSubscriptions": ["a:b"]}
    told = message(method="x", params={"notifications": honoured})
    assert read_honoured(told) == wanted("tools", uris=("a:b",))
    odd = message(method="x", params={"notifications": {"toolsListChanged": 7}})
    assert read_honoured(odd) == Filter()
    assert read_honoured(message(method="x")) == Filter()


# ---------------------------------------------------------------- who is told


def test_a_changed_list_concerns_those_who_asked_for_it():
    listens = {1: wanted("tools"), 2: wanted("prompts", "tools"), 3: wanted(uris=("a:",))}
    told = message(method="notifications/tools/list_changed")
    assert concerned(told, listens) == [1, 2]
    assert topic_of(told) == "tools"


def test_an_updated_resource_concerns_those_who_asked_for_it_or_for_what_it_is_in():
    listens = {
        1: wanted("resources"),
        2: wanted(uris=("file:///a/b",)),
        3: wanted(uris=("file:///a",)),
        4: wanted(uris=("x:",)),
    }
    assert concerned(updated("file:///a/b"), listens) == [2, 3]
    assert concerned(updated("file:///a/c"), listens) == [3]


@pytest.mark.parametrize("uri", ["part://of-something", "", None, 7])
def test_one_that_nobody_named_concerns_all_who_named_any(uri: object):
    listens = {1: wanted("resources"), 2: wanted(uris=("a:b",)), 3: wanted(uris=("c:d",))}
    assert concerned(updated(uri), listens) == [2, 3]


@pytest.mark.parametrize("method", ["notifications/message", "notifications/progress", "x"])
def test_what_else_comes_concerns_nobody(method: str):
    told = message(method=method, params={})
    assert concerned(told, {1: wanted("tools", uris=("a:",))}) == []
    assert topic_of(told) is None


def test_the_topic_of_an_update_is_its_resource():
    assert topic_of(updated("a:b")) == "a:b"
    assert topic_of(updated(7)) == ""


# ---------------------------------------------------------------- what they are told


def test_a_listen_is_acknowledged_with_what_is_honoured():
    assert json.loads(acknowledge(b'"x"', wanted("tools", uris=("b:", "a:"))).raw) == {
        "jsonrpc": "2.0",
        "method": "notifications/subscriptions/acknowledged",
        "params": {
            "_meta": {ID: "x"},
            "notifications": {"toolsListChanged": True, "resourceSubscriptions": ["a:", "b:"]},
        },
    }


def test_a_notification_is_addressed_to_a_listen():
    told = message(method=UPDATED, params={"uri": "a:b", "_meta": {ID: "theirs", "y": 1.0}})
    addressed = json.loads(address(told, b"7").raw)
    assert addressed["params"] == {"uri": "a:b", "_meta": {ID: 7, "y": 1.0}}
    bare = address(message(method="notifications/tools/list_changed"), b'"s"')
    assert json.loads(bare.raw)["params"] == {"_meta": {ID: "s"}}


def test_the_end_of_the_stream_becomes_the_end_of_a_listen():
    end = message(id="theirs", result={"resultType": "complete", "_meta": {ID: "theirs"}})
    addressed = address_result(end, b"7")
    assert addressed.id == b"7"
    assert json.loads(addressed.raw)["result"] == {"resultType": "complete", "_meta": {ID: 7}}
    assert json.loads(address_result(message(id=1, result=[]), b"7").raw)["result"] == {
        "_meta": {ID: 7}
    }


def test_all_that_is_listened_for_may_have_changed():
    told = [json.loads(one.raw) for one in say_changed(b"7", wanted("tools", uris=("b:", "a:")))]
    assert [one["method"] for one in told] == [
        "notifications/tools/list_changed",
        UPDATED,
        UPDATED,
    ]
    assert [one["params"].get("uri") for one in told] == [None, "a:", "b:"]
    assert all(one["params"]["_meta"] == {ID: 7} for one in told)
    assert say_changed(b"7", Filter()) == []
