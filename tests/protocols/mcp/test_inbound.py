"""What a server of 2026-07-28 checks of a POST before it acts on it (MCP 2026-07-28, Transports)."""

import base64
import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpctld.protocols.jsonrpc import Message, parse
from mcpctld.protocols.mcp.headers import (
    NAMED_BY,
    encode_value,
    modern_params,
    parameter_headers,
    standard_headers,
)
from mcpctld.protocols.mcp.inbound import (
    BAD_REQUEST,
    HEADER_MISMATCH,
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    REMOVED,
    UNSUPPORTED_VERSION,
    Refused,
    check,
    decode_value,
    is_modern,
    status_of,
)
from mcpctld.protocols.mcp.methods import LEGACY, MODERN, PREFIX
from mcpctld.protocols.mcp.tools import ToolFacts

META: dict[str, Any] = {f"{PREFIX}protocolVersion": MODERN, f"{PREFIX}clientCapabilities": {}}
TOOLS = {
    "paint": ToolFacts({"Colour": ["colour"], "Deep": ["where", "room"]}),
    "plain": ToolFacts(),
}


def message(method: str, ident: Any = 1, meta: Any = META, **params: Any) -> Message:
    fields = {"jsonrpc": "2.0", "id": ident, "method": method, "params": {**params, "_meta": meta}}
    parsed = parse(json.dumps({k: v for k, v in fields.items() if v is not None}).encode())
    assert isinstance(parsed, Message)
    return parsed


def headers_of(sent: Message, tools: Mapping[str, ToolFacts] = TOOLS) -> dict[str, str]:
    """What a client of ours sends with it."""
    found = dict(standard_headers(sent, modern_params(sent)))
    named = json.loads(sent.params).get("name") if sent.method == "tools/call" else None
    if isinstance(named, str) and named in tools:
        found |= dict(parameter_headers(tools[named].headers, sent.params))
    return found


def verdict(sent: Message, headers: Mapping[str, str | None]) -> Refused | None:
    return check(sent, headers.get, TOOLS)


def refused(sent: Message, **changes: str | None) -> Refused:
    """The refusal of a request whose headers are right but for some; `_` stands for `-` in their names."""
    spelled = {name.replace("_", "-"): value for name, value in changes.items()}
    found = verdict(sent, {**headers_of(sent), **spelled})
    assert found is not None
    return found


# ---------------------------------------------------------------- which era


@pytest.mark.parametrize(
    ("sent", "header", "modern"),
    [
        pytest.param(message("tools/list"), MODERN, True, id="both say so"),
        pytest.param(message("tools/list"), None, True, id="the body alone"),
        pytest.param(message("tools/list"), "2025-11-25", True, id="they disagree"),
        pytest.param(message("tools/list", meta={}), MODERN, True, id="the header alone"),
        pytest.param(message("tools/list", meta={}), "2099-01-01", True, id="a later one"),
        pytest.param(message("tools/list", meta={}), "nonsense", True, id="no revision at all"),
        pytest.param(message("initialize", meta={}), MODERN, True, id="a modern initialize"),
        pytest.param(message("tools/list", meta={}), None, False, id="neither"),
        pytest.param(message("initialize"), None, False, id="initialize with an envelope"),
        pytest.param(
            message("tools/list", meta={}, x=f"{PREFIX}protocolVersion"),
            None,
            False,
            id="elsewhere",
        ),
        pytest.param(
            message("tools/list", meta={f"{PREFIX}protocolVersion": 7}), None, False, id="a number"
        ),
        *(
            pytest.param(message("tools/list", meta={}), version, False, id=version)
            for version in LEGACY
        ),
    ],
)
def test_the_header_or_the_body_tells_the_era(sent: Message, header: str | None, modern: bool):
    assert is_modern(sent, header) is modern


# ---------------------------------------------------------------- what passes


@pytest.mark.parametrize(
    "sent",
    [
        message("server/discover"),
        message("tools/list"),
        message("tools/call", name="plain"),
        message("tools/call", name="unknown", arguments={"colour": "red"}),
        message("tools/call", name="paint", arguments={"colour": "r\u00f6t", "where": {"room": 7}}),
        message("tools/call", name="paint", arguments={"colour": None}),
        message("tools/call", name="paint"),
        message("tools/call"),
        message("tools/call", name="na\u00efve \u2603"),
        message("prompts/get", name=" padded "),
        message("resources/read", uri="file:///x"),
        message("tasks/get", taskId="=?base64?eA==?="),
        message("notifications/cancelled", ident=None, requestId=1),
        message("vendor/method", meta={**META, f"{PREFIX}logLevel": "info"}),
    ],
    ids=lambda sent: sent.method,
)
def test_what_a_client_of_ours_sends_passes(sent: Message):
    assert verdict(sent, headers_of(sent)) is None


def test_a_notification_needs_neither_envelope_nor_method():
    sent = message("notifications/x", ident=None, meta={})
    assert verdict(sent, {"MCP-Protocol-Version": MODERN}) is None


# ---------------------------------------------------------------- the revision


def test_a_missing_revision_is_a_mismatch():
    found = refused(message("tools/list"), MCP_Protocol_Version=None)
    assert found[:2] == (400, HEADER_MISMATCH)
    assert "missing" in found.reason


@pytest.mark.parametrize("header", ["2025-11-25", "2026-07-29", "", " 2026-07-28"])
def test_a_revision_that_is_not_the_bodys_is_a_mismatch(header: str):
    assert refused(message("tools/list"), MCP_Protocol_Version=header).code == HEADER_MISMATCH


@pytest.mark.parametrize("version", ["2099-01-01", "2025-11-25", "DRAFT"])
@pytest.mark.parametrize("told", [True, False], ids=["in both", "in the header"])
def test_a_revision_that_is_not_spoken_is_named_with_those_that_are(version: str, told: bool):
    meta = {**META, f"{PREFIX}protocolVersion": version} if told else {}
    sent = message("tools/list", meta=meta)
    found = verdict(sent, {"MCP-Protocol-Version": version, "Mcp-Method": "tools/list"})
    assert found is not None
    assert found[:2] == (400, UNSUPPORTED_VERSION)
    assert found.data == {"supported": [MODERN], "requested": version}


# ---------------------------------------------------------------- the envelope


@pytest.mark.parametrize("method", sorted(REMOVED))
def test_a_method_of_older_revisions_is_not_found(method: str):
    found = refused(message(method), MCP_Protocol_Version=MODERN)
    assert found[:2] == (404, METHOD_NOT_FOUND)
    assert method in found.reason


def test_a_removed_name_is_no_matter_in_a_notification():
    assert verdict(message("ping", ident=None), {"MCP-Protocol-Version": MODERN}) is None


@pytest.mark.parametrize(
    ("meta", "missing"),
    [
        ({}, "protocolVersion"),
        ({f"{PREFIX}clientCapabilities": {}}, "protocolVersion"),
        ({**META, f"{PREFIX}protocolVersion": 20260728}, "protocolVersion"),
        ({f"{PREFIX}protocolVersion": MODERN}, "clientCapabilities"),
        ({**META, f"{PREFIX}clientCapabilities": None}, "clientCapabilities"),
        ({**META, f"{PREFIX}clientCapabilities": []}, "clientCapabilities"),
        ("text", "protocolVersion"),
    ],
)
def test_an_envelope_that_lacks_something_is_invalid(meta: Any, missing: str):
    sent = message("tools/list", meta=meta)
    found = verdict(sent, {"MCP-Protocol-Version": MODERN, "Mcp-Method": "tools/list"})
    assert found == Refused(400, INVALID_PARAMS, f"params._meta lacks {PREFIX}{missing}", {})


# ---------------------------------------------------------------- what the headers repeat


@pytest.mark.parametrize("header", ["tools/list", "TOOLS/CALL", "", "=?base64?!?="])
def test_a_method_that_is_not_the_bodys_is_a_mismatch(header: str):
    sent = message("tools/call", name="plain")
    assert refused(sent, Mcp_Method=header)[:2] == (400, HEADER_MISMATCH)


def test_a_request_without_a_method_header_is_a_mismatch():
    assert "missing" in refused(message("tools/list"), Mcp_Method=None).reason


def test_a_notification_that_names_another_method_is_a_mismatch():
    assert refused(message("notifications/x", ident=None), Mcp_Method="x").code == HEADER_MISMATCH


@pytest.mark.parametrize("method", sorted(NAMED_BY))
@pytest.mark.parametrize("header", [None, "other", "X", "=?base64?!?=", ""])
def test_a_name_that_is_not_the_bodys_is_a_mismatch(method: str, header: str | None):
    sent = message(method, name="x", uri="x", taskId="x")
    assert refused(sent, Mcp_Name=header)[:2] == (400, HEADER_MISMATCH)


@pytest.mark.parametrize("header", ["x", "=?base64?!?="])
def test_a_name_that_the_body_lacks_is_a_mismatch(header: str):
    assert refused(message("prompts/get"), Mcp_Name=header).code == HEADER_MISMATCH


def test_a_name_is_no_matter_where_none_belongs():
    sent = message("tools/list")
    assert verdict(sent, {**headers_of(sent), "Mcp-Name": "x"}) is None


@pytest.mark.parametrize(
    ("argument", "header", "agrees"),
    [
        ("red", "red", True),
        ("red", "=?base64?cmVk?=", True),
        ("red", "Red", False),
        ("red", None, False),
        ("red", "=?base64?cmV?=", False),
        ("r\u00f6t", "=?base64?csO2dA==?=", True),
        ("r\u00f6t", "r\u00f6t", True),
        (None, None, True),
        (None, "", False),
        (None, "null", False),
        (7, "7", True),
        (7, "007", True),
        (7, "8", False),
        (7, "7.5", False),
        (7.0, "7", True),
        (-3, "-3", True),
        (True, "true", True),
        (True, "True", False),
        (7, "9" * 41, False),
        ([1], None, True),
    ],
)
def test_an_argument_and_its_header_say_the_same(argument: Any, header: str | None, agrees: bool):
    sent = message("tools/call", name="paint", arguments={"colour": argument})
    standard = dict(standard_headers(sent, modern_params(sent)))
    found = verdict(sent, {**standard, "Mcp-Param-Colour": header})
    assert (found is None) is agrees
    if found is not None:
        assert found[:2] == (400, HEADER_MISMATCH)
        assert "Mcp-Param-Colour" in found.reason


def test_what_an_argument_or_a_name_says_is_not_repeated_in_the_refusal():
    sent = message("tools/call", name="paint", arguments={"colour": "secret"})
    assert "secret" not in refused(sent, **{"Mcp-Param-Colour": "hidden"}).reason
    assert "hidden" not in refused(sent, **{"Mcp-Param-Colour": "hidden"}).reason
    assert "hidden" not in refused(sent, Mcp_Name="hidden").reason


_TEXT = st.text(st.characters(exclude_categories=()), max_size=20)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(_TEXT)
def test_every_string_survives_a_header(text: str):
    assert decode_value(encode_value(text)) == text


@settings(deadline=None, derandomize=True, max_examples=60)
@given(st.one_of(_TEXT, st.integers(-(2**53) + 1, 2**53 - 1), st.booleans(), st.none()), _TEXT)
def test_the_two_sides_of_the_rules_agree(argument: Any, name: str):
    tools = {name: ToolFacts({"A": ["a"]})}
    sent = message("tools/call", name=name, arguments={"a": argument})
    assert check(sent, headers_of(sent, tools).get, tools) is None


@settings(deadline=None, derandomize=True, max_examples=60)
@given(st.text(max_size=12))
def test_a_value_between_the_marks_is_base64_or_nothing(text: str):
    found = decode_value(f"=?base64?{text}?=")
    assert (
        found is None or base64.b64encode(found.encode("utf-8", "surrogatepass")) == text.encode()
    )


# ---------------------------------------------------------------- the status of an answer


@pytest.mark.parametrize(
    ("code", "status"),
    [
        *((code, 400) for code in sorted(BAD_REQUEST)),
        (METHOD_NOT_FOUND, 404),
        (-32603, 200),
        (-32000, 200),
        (42, 200),
    ],
)
def test_an_error_has_the_status_that_its_code_wants(code: int, status: int):
    error = {"jsonrpc": "2.0", "id": 1, "error": {"code": code, "message": "x"}}
    answer = parse(json.dumps(error).encode())
    assert isinstance(answer, Message)
    assert status_of(answer) == status


def test_a_result_is_a_success():
    answer = parse(b'{"jsonrpc":"2.0","id":1,"result":{"code":-32601}}')
    assert isinstance(answer, Message)
    assert status_of(answer) == 200
