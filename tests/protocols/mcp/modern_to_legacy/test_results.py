"""Results and errors of a legacy server, made into those of 2026-07-28."""

import json

import pytest

from mcpctld.protocols.mcp.modern_to_legacy.results import (
    complete,
    input_required,
    translate_error,
)
from protocols.mcp.modern_to_legacy.stage import INFO, P, text

SERVER = text(INFO)


def completed(method: str, result: object, info: bytes = SERVER) -> object:
    found = complete(method, text(result), info)
    assert found is not None
    return json.loads(found)


def test_a_result_is_complete_and_names_its_server():
    assert completed("tools/call", {"content": [], "_meta": {"a": 1}}) == {
        "content": [],
        "resultType": "complete",
        "_meta": {"a": 1, f"{P}serverInfo": INFO},
    }


def test_a_server_without_a_name_is_not_named():
    assert completed("tools/call", {}, b"") == {"resultType": "complete"}


def test_what_the_server_says_itself_of_these_members_is_not_believed():
    found = completed("tools/list", {"resultType": "x", "ttlMs": 9, "cacheScope": "public"}, b"")
    assert found == {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"}


@pytest.mark.parametrize(
    "method",
    ["tools/list", "prompts/list", "resources/list", "resources/templates/list", "resources/read"],
)
def test_results_that_could_be_kept_must_not_be(method: str):
    assert completed(method, {}, b"") == {
        "resultType": "complete",
        "ttlMs": 0,
        "cacheScope": "private",
    }


@pytest.mark.parametrize("result", [b"null", b"7", b"[]", b'"x"'])
def test_what_is_no_object_is_no_result(result: bytes):
    assert complete("tools/call", result, SERVER) is None


def test_numbers_keep_their_text():
    found = complete("tools/call", b'{"a":1.0,"b":1e400}', b"")
    assert found is not None
    assert found.startswith(b'{"a":1.0,"b":1e400,')


def test_tools_that_can_only_be_called_as_tasks_are_hidden():
    tools = [
        {"name": "a"},
        {"name": "b", "execution": {"taskSupport": "required"}},
        {"name": "c", "execution": {"taskSupport": "optional"}},
    ]
    found = completed("tools/list", {"tools": tools, "nextCursor": "n"}, b"")
    assert isinstance(found, dict)
    assert found["tools"] == [tools[0], tools[2]]
    assert found["nextCursor"] == "n"


def test_a_list_of_tools_that_is_none_becomes_empty_only_when_it_is_looked_at():
    assert completed("tools/list", {"taskSupport": 1}, b"")["tools"] == []  # type: ignore[index]
    assert "tools" not in completed("tools/list", {}, b"")  # type: ignore[operator]


def test_questions_are_a_result_with_a_handle():
    found = json.loads(input_required({"q": b'{"method":"roots/list"}'}, b'"h"', SERVER))
    assert found == {
        "resultType": "input_required",
        "inputRequests": {"q": {"method": "roots/list"}},
        "requestState": "h",
        "_meta": {f"{P}serverInfo": INFO},
    }
    assert "_meta" not in json.loads(input_required({}, b'"h"', b""))


@pytest.mark.parametrize(("code", "modern"), [(-32002, -32602), (-32042, -32603), (-32601, -32601)])
def test_codes_that_are_gone_are_replaced(code: int, modern: int):
    error = text({"code": code, "message": "m", "data": {"x": 1}})
    assert json.loads(translate_error(error, code)) == {
        "code": modern,
        "message": "m",
        "data": {"x": 1},
    }
