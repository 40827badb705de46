"""The standard request headers (MCP 2026-07-28, Transports, "Standard Request Headers")."""

import base64
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpctld.protocols.jsonrpc import Message, parse
from mcpctld.protocols.mcp.headers import (
    NAMED_BY,
    VERSION_KEY,
    encode_value,
    modern_params,
    parameter_headers,
    standard_headers,
)

VERSION = VERSION_KEY.decode()


def message(method: str | None, ident: object = 1, **params: object) -> Message:
    fields = {"id": ident, "method": method, "params": params}
    parsed = parse(json.dumps({k: v for k, v in fields.items() if v is not None}).encode())
    assert isinstance(parsed, Message)
    return parsed


def headers_of(sent: Message) -> dict[str, str]:
    headers = standard_headers(sent, modern_params(sent))
    assert len(dict(headers)) == len(headers)
    return dict(headers)


def modern(method: str, ident: object = 1, **params: object) -> Message:
    return message(method, ident, _meta={VERSION: "2026-07-28"}, **params)


# ---------------------------------------------------------------- the era of a message


def test_a_message_that_names_its_revision_is_modern():
    params = modern_params(modern("tools/list"))
    assert params is not None
    assert params.protocol_version == "2026-07-28"


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(message("tools/list"), id="without a revision"),
        pytest.param(message("tools/list", x=VERSION), id="the key elsewhere"),
        pytest.param(message("tools/list", _meta={VERSION: 7}), id="not a string"),
        pytest.param(modern("initialize"), id="initialize is of the older revisions"),
        pytest.param(parse(b'{"id":1,"result":{"%s":"x"}}' % VERSION_KEY), id="a response"),
    ],
)
def test_every_other_message_is_not(sent: Message):
    assert modern_params(sent) is None


# ---------------------------------------------------------------- which headers


@pytest.mark.parametrize("method", sorted(NAMED_BY))
def test_what_a_request_is_about_is_named(method: str):
    params = {"name": "the name", "uri": "the:uri", "taskId": "the task"}
    named = {"name": "the name", "uri": "the:uri", "task_id": "the task"}[NAMED_BY[method]]
    assert headers_of(modern(method, **params)) == {
        "Mcp-Method": method,
        "MCP-Protocol-Version": "2026-07-28",
        "Mcp-Name": named,
    }


def test_a_request_about_nothing_has_no_name():
    assert "Mcp-Name" not in headers_of(modern("tools/call"))
    assert "Mcp-Name" not in headers_of(modern("tools/list", name="x", uri="y:"))


def test_requests_of_older_revisions_have_their_method_only():
    assert headers_of(message("tools/call", name="x")) == {"Mcp-Method": "tools/call"}


def test_a_modern_notification_has_its_revision():
    assert headers_of(modern("notifications/x", None)) == {
        "Mcp-Method": "notifications/x",
        "MCP-Protocol-Version": "2026-07-28",
    }


def test_older_notifications_and_responses_have_none():
    assert headers_of(message("notifications/x", None)) == {}
    response = parse(b'{"id":1,"result":{}}')
    assert isinstance(response, Message)
    assert headers_of(response) == {}


# ---------------------------------------------------------------- parameters


def parameter(value: object) -> str | None:
    """The header of one argument."""
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    headers = parameter_headers({"A": ["a"]}, b'{"arguments":{"a":%b}}' % text)
    return dict(headers).get("Mcp-Param-A")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("us-west1", "us-west1"),
        ("", ""),
        (" padded ", "=?base64?IHBhZGRlZCA=?="),
        ("true", "true"),
        (True, "true"),
        (False, "false"),
        (0, "0"),
        (-42, "-42"),
        (2**53, "9007199254740992"),
        (b"-0", "0"),
        (b"42.0", "42"),
        (b"4.2e1", "42"),
        (b"1E2", "100"),
        (b'"\\ud800"', "=?base64?7aCA?="),
    ],
)
def test_an_argument_is_repeated_in_its_header(value: object, said: str):
    assert parameter(value) == said


@pytest.mark.parametrize(
    "value",
    [None, 1.5, {}, [], ["x"], b"1e400", b"1e-9", b"1e99999999", b"9" * 41, b"1e40", b"0.1e0"],
)
def test_a_value_that_no_header_has_is_left_out(value: object):
    assert parameter(value) is None


def test_arguments_are_found_by_their_path():
    paths = {"Zone": ["where", "zone"], "Gone": ["where", "gone", "x"], "Region": ["region"]}
    arguments = {"region": "r", "where": {"zone": 1, "gone": 7}, "zone": "wrong"}
    params = json.dumps({"name": "t", "arguments": arguments}).encode()
    assert parameter_headers(paths, params) == (("Mcp-Param-Zone", "1"), ("Mcp-Param-Region", "r"))


@pytest.mark.parametrize("params", [b"", b"[]", b'{"arguments":7}', b'{"arguments":{}}', b"{"])
def test_without_arguments_there_are_no_headers(params: bytes):
    assert parameter_headers({"A": ["a"]}, params) == ()


# ---------------------------------------------------------------- values


@pytest.mark.parametrize("value", ["", "x", "a b", "~!", "=?base64?", "x=?base64?eA==?="])
def test_plain_values_stay_as_they_are(value: str):
    assert encode_value(value) == value


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        ("é", "=?base64?w6k=?="),
        (" x", "=?base64?IHg=?="),
        ("x ", "=?base64?eCA=?="),
        ("\tx", "=?base64?CXg=?="),
        ("a\r\nb", "=?base64?YQ0KYg==?="),
        ("\x7f", "=?base64?fw==?="),
        ("=?base64?eA==?=", "=?base64?PT9iYXNlNjQ/ZUE9PT89?="),
        ("=?base64??=", "=?base64?PT9iYXNlNjQ/Pz0=?="),
    ],
)
def test_what_a_header_cannot_hold_or_would_be_mistaken_is_wrapped(value: str, encoded: str):
    assert encode_value(value) == encoded


@given(st.text())
def test_any_text_makes_a_header_that_says_it_again(value: str):
    encoded = encode_value(value)
    assert re.fullmatch(r"([!-~]([ -~]*[!-~])?)?", encoded)
    wrapped = re.fullmatch(r"=\?base64\?(.*)\?=", encoded)
    assert (base64.b64decode(wrapped[1]).decode() if wrapped else encoded) == value


def test_a_lone_surrogate_is_wrapped_too():
    assert encode_value("\ud800").startswith("=?base64?")
