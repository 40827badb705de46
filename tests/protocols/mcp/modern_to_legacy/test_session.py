"""The session with the legacy server."""

import json

import pytest

from mcpctld.errors import PeerError, Unreachable
from mcpctld.protocols.mcp.bridge import WrongEra
from mcpctld.protocols.mcp.modern_to_legacy.session import (
    LegacyServer,
    capabilities_for_server,
    discover_result,
    read_server,
)
from mcpctld.protocols.mcp.objects import open_object
from protocols.mcp.modern_to_legacy.stage import (
    EVERYTHING,
    INFO,
    SERVER,
    P,
    Stage,
    initialize_result,
    one,
    request,
    text,
)


def opened(value: object) -> dict[str, bytes]:
    return open_object(text(value))


# ---------------------------------------------------------------- opening


def test_the_first_request_opens_the_session_with_what_its_client_says():
    stage = Stage(opened=False)
    stage.send(request(1, "tools/list", {"sampling": {"tools": {}}}))
    assert stage.asked("initialize")["params"] == {
        "protocolVersion": "2025-11-25",
        "capabilities": {"sampling": {"tools": {}}},
        "clientInfo": {"name": "a client", "version": "2"},
    }
    assert not stage.events


def test_what_came_meanwhile_goes_on_in_order():
    stage = Stage(opened=False)
    stage.send(request(1, "tools/list"))
    initialize = stage.asked("initialize")
    stage.send(request(2, "prompts/list"))
    stage.send(request(3, "server/discover"))
    stage.answer(initialize, initialize_result({}))
    assert stage.take_server()["method"] == "notifications/initialized"
    stage.asked("tools/list")
    stage.asked("prompts/list")
    stage.result(3)
    stage.send(request(4, "tools/list"))
    stage.asked("tools/list")
    assert not stage.events


@pytest.mark.parametrize("info", [None, 7, {}, {"name": "x"}, {"name": 1, "version": "2"}])
def test_a_client_that_says_no_name_gets_one(info: object):
    stage = Stage(opened=False)
    stage.send(request(1, "tools/list", meta={f"{P}clientInfo": info}))
    said = stage.asked("initialize")["params"]["clientInfo"]
    assert said == {"name": "unknown", "version": "0"}


def test_an_error_means_that_the_server_is_of_another_era():
    stage = Stage(opened=False)
    stage.send(request(1, "tools/list"))
    stage.refuse(stage.asked("initialize"), -32022)
    assert stage.take(WrongEra).reason == "the server answered initialize with error -32022: no"
    assert not stage.events


def test_a_failure_fails_what_waits_and_the_next_request_tries_again():
    stage = Stage(opened=False)
    stage.send(request(1, "tools/list"))
    stage.send(request(2, "tools/list"))
    stage.send(request(3, "tools/list"))
    stage.cancel(2)
    error = Unreachable("gone")
    stage.fail(stage.asked("initialize"), error)
    assert stage.take_failure(1) is error
    assert stage.take_failure(3) is error
    assert not stage.events
    stage.send(request(4, "tools/list"))
    stage.answer(stage.asked("initialize"), initialize_result({}))


@pytest.mark.parametrize("result", [{}, {"protocolVersion": 7}, [], "x"])
def test_an_answer_that_is_none_is_the_servers_fault(result: object):
    stage = Stage(opened=False)
    stage.send(request(1, "tools/list"))
    stage.answer(stage.asked("initialize"), result)
    assert isinstance(stage.take_failure(1), PeerError)


def test_a_refusal_waits_for_the_session_that_is_being_opened():
    stage = Stage(opened=False)
    stage.send(request(1, "tools/list"))
    initialize = stage.asked("initialize")
    stage.send(one(id=2, method="ping"))
    assert not stage.events
    stage.answer(initialize, initialize_result({}))
    stage.take_server()
    stage.asked("tools/list")
    assert stage.error(2)["code"] == -32601


# ---------------------------------------------------------------- what is mapped


def test_capabilities_of_the_client_are_those_that_both_eras_have():
    found = capabilities_for_server(
        opened(
            {
                **EVERYTHING,
                "roots": {"listChanged": True},
                "experimental": {"x": {}},
                "extensions": {f"{P}tasks": {}, "com.example/ui": {"a": 1}},
                "tasks": {},
                "sampling": False,
            }
        )
    )
    assert {name: json.loads(value) for name, value in found.items()} == {
        "elicitation": {"form": {}, "url": {}},
        "roots": {},
        "experimental": {"x": {}},
        "extensions": {"com.example/ui": {"a": 1}},
    }


def test_nothing_declared_is_nothing():
    assert capabilities_for_server({}) == {}
    assert capabilities_for_server(opened({"extensions": {f"{P}tasks": {}}})) == {}


def test_a_server_is_discovered_by_what_it_answered_to_initialize():
    server = read_server(
        text(
            initialize_result(
                {
                    **SERVER,
                    "tasks": {},
                    "prompts": 7,
                    "extensions": {f"{P}tasks": {}, "com.example/ui": {}},
                },
                instructions="do",
            )
        )
    )
    assert server is not None
    assert json.loads(discover_result(server)) == {
        "supportedVersions": ["2026-07-28"],
        "capabilities": {
            "logging": {},
            "resources": SERVER["resources"],
            "tools": SERVER["tools"],
            "extensions": {"com.example/ui": {}},
        },
        "instructions": "do",
        "resultType": "complete",
        "ttlMs": 0,
        "cacheScope": "private",
        "_meta": {f"{P}serverInfo": INFO},
    }


def test_a_server_that_says_little_is_discovered_too():
    server = read_server(b'{"protocolVersion":"2024-11-05","serverInfo":{},"instructions":7}')
    assert server == LegacyServer()
    assert json.loads(discover_result(server)) == {
        "supportedVersions": ["2026-07-28"],
        "capabilities": {},
        "resultType": "complete",
        "ttlMs": 0,
        "cacheScope": "private",
    }


def test_options_of_a_capability_are_true_or_not_offered():
    server = LegacyServer(opened({"tools": {"listChanged": True}, "prompts": {"listChanged": 1}}))
    assert server.offers("tools")
    assert server.offers("tools", "listChanged")
    assert server.offers("prompts")
    assert not server.offers("prompts", "listChanged")
    assert not server.offers("resources", "subscribe")
    assert not server.offers("resources")


def test_before_it_is_open_the_server_has_no_name():
    stage = Stage(opened=False)
    assert stage.bridge._session.server_info == b""
