"""What must be said again in a new session."""

import json
from typing import Any

import pytest

from mcpctld.protocols.jsonrpc import Message, parse
from mcpctld.protocols.mcp.script import MAX_SUBSCRIPTIONS, Script, promised_lists


def message(**members: Any) -> Message:
    parsed = parse(json.dumps({"jsonrpc": "2.0", **members}).encode())
    assert isinstance(parsed, Message)
    return parsed


def ask(script: Script, method: str, *, works: bool = True, **params: Any) -> Message:
    """A request that the server answers."""
    request = message(id=1, method=method, params=params)
    answer = message(id=1, result={}) if works else message(id=1, error={"code": 1, "message": ""})
    script.succeeded(request, answer)
    return request


def test_the_session_is_what_the_server_has_accepted_in_order():
    script = Script()
    script.begin(message(id=0, method="initialize"))
    initialized = message(method="notifications/initialized")
    script.initialized(initialized)
    ask(script, "logging/setLevel", level="info")
    level = ask(script, "logging/setLevel", level="debug")
    ask(script, "logging/setLevel", works=False, level="error")
    first = ask(script, "resources/subscribe", uri="a:/")
    ask(script, "resources/subscribe", uri="b:/")
    ask(script, "resources/unsubscribe", uri="b:/")
    ask(script, "resources/unsubscribe", uri="c:/")
    ask(script, "tools/list")
    assert script.rest == [initialized, level, first]


def test_a_new_beginning_forgets_the_old_one():
    script = Script()
    ask(script, "initialize")
    assert script.answer is not None
    script.initialized(message(method="notifications/initialized"))
    ask(script, "resources/subscribe", uri="a:/")
    script.begin(message(id=9, method="initialize"))
    assert (script.rest, script.answer) == ([], None)
    assert script.initialize is not None
    assert script.promised_lists == []


def test_subscriptions_are_bounded():
    script = Script()
    for number in range(MAX_SUBSCRIPTIONS + 5):
        ask(script, "resources/subscribe", uri=f"a:/{number}")
    assert len(script.rest) == MAX_SUBSCRIPTIONS


@pytest.mark.parametrize(
    ("capabilities", "promised"),
    [
        ({}, []),
        ({"tools": {"listChanged": True}, "prompts": {}, "resources": {"listChanged": False}}, ["tools"]),
        ({"resources": {"listChanged": True}, "prompts": {"listChanged": True}}, ["prompts", "resources"]),
        ({"tools": {"listChanged": "yes"}}, []),
    ],
)  # fmt: skip
def test_promises_are_read_from_the_answer(capabilities, promised):
    script = Script()
    request = message(id=0, method="initialize")
    script.begin(request)
    script.succeeded(request, message(id=0, result={"capabilities": capabilities}))
    assert script.promised_lists == promised


def test_an_answer_that_makes_no_sense_promises_nothing():
    assert promised_lists(b"[]") == []
