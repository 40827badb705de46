"""`legacy_to_modern.errors`: errors for a client that does not know their codes."""

import json

import pytest

from mcpctld.protocols.jsonrpc import Message, parse
from mcpctld.protocols.mcp.legacy_to_modern.errors import foreign_error


def said(error: object) -> str | None:
    answer = parse(json.dumps({"id": 1, "error": error}).encode())
    assert isinstance(answer, Message)
    found = foreign_error(answer, "tools/call")
    return None if found is None else str(found)


@pytest.mark.parametrize("code", [-32602, -32601, -32002, -32042, 7])
def test_errors_of_all_revisions_go_on(code: int):
    assert said({"code": code, "message": "m"}) is None


@pytest.mark.parametrize("code", [-32020, -32022])
def test_what_is_between_the_bridge_and_the_server_is_said_in_words(code: int):
    text = "the server refused the form of tools/call: " + "m" * 200
    assert said({"code": code, "message": "m" * 300}) == text


def test_a_missing_capability_is_named():
    error = {"code": -32021, "message": "m", "data": {"requiredCapabilities": {"sampling": {}}}}
    assert said(error) == "tools/call needs what this client does not offer: sampling"
    for data in (None, 5, {}, {"requiredCapabilities": []}):
        assert (
            said({**error, "data": data}) == "tools/call needs what this client does not offer: m"
        )


@pytest.mark.parametrize("error", ["oops", 5, []])
def test_an_error_that_is_no_object_is_not_handed_on(error: object):
    assert said(error) == "the server answered tools/call with an error that is not an object"
