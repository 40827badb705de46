"""Eras by evidence, as servers in use give it."""

import json
from typing import Any

import pytest

from mcpctld.protocols.jsonrpc import Message, parse
from mcpctld.protocols.mcp.eras import Era, Verdict, era_of, is_silent, judge

META = {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}
SPEAKS, REFUSES, UNSURE, SILENT = Verdict.SPEAKS, Verdict.REFUSES, Verdict.UNSURE, Verdict.SILENT


def message(**members: Any) -> Message:
    parsed = parse(json.dumps({"jsonrpc": "2.0", **members}).encode())
    assert isinstance(parsed, Message)
    return parsed


INITIALIZE = message(id=1, method="initialize", params={})
DISCOVER = message(id=1, method="server/discover", params={"_meta": META})
CALL = message(id=1, method="tools/call", params={"_meta": META})


@pytest.mark.parametrize(
    ("given", "era"),
    [
        (INITIALIZE, Era.LEGACY),
        (message(id=1, method="initialize", params={"_meta": META}), Era.LEGACY),
        (message(id=1, method="server/discover"), Era.MODERN),
        (CALL, Era.MODERN),
        (message(id=1, method="tools/list"), None),
        (message(id=1, method="ping"), None),
        (message(method="notifications/initialized"), None),
        (message(id=1, result=META), None),
        (parse(b'[{"jsonrpc":"2.0","id":1,"method":"ping"}]'), Era.LEGACY),
    ],
)
def test_a_client_shows_its_era(given, era):
    assert era_of(given) is era


def test_each_era_has_another():
    assert Era.LEGACY.other is Era.MODERN
    assert Era.MODERN.other is Era.LEGACY


def error(code: int, **data: Any) -> Message:
    return message(id=1, error={"code": code, "message": "m", **({"data": data} if data else {})})


def result(**members: Any) -> Message:
    return message(id=1, result=members)


@pytest.mark.parametrize(
    ("request_", "answer", "status", "verdict"),
    [
        # `initialize`
        (INITIALIZE, result(protocolVersion="2025-11-25"), None, SPEAKS),
        (
            INITIALIZE,
            error(-32022, supported=["2026-07-28"]),
            400,
            UNSURE,
        ),  # TypeScript 2.4, strict
        (INITIALIZE, error(-32601), 404, UNSURE),
        (INITIALIZE, error(-32602), None, UNSURE),  # a process says it without a status
        (INITIALIZE, result(protocolVersion="2026-07-28"), None, UNSURE),
        (INITIALIZE, result(protocolVersion=7), None, SPEAKS),  # wrong, and not for this reason
        (INITIALIZE, None, 404, SILENT),  # of transports, not of eras
        (INITIALIZE, error(-32000), 401, SILENT),
        (INITIALIZE, None, 503, SILENT),
        # `server/discover`
        (DISCOVER, result(supportedVersions=["2026-07-28"]), None, SPEAKS),
        (DISCOVER, result(supportedVersions=["2025-11-25"]), None, REFUSES),
        (DISCOVER, result(supportedVersions="2026-07-28"), None, REFUSES),
        (DISCOVER, result(), None, REFUSES),
        (DISCOVER, error(-32000), 400, REFUSES),  # TypeScript 1: Server not initialized
        (DISCOVER, error(-32600), 400, REFUSES),  # Python 1.30: Missing session ID
        (DISCOVER, error(-32601), 404, REFUSES),  # supergateway in front of a legacy process
        (DISCOVER, None, 405, REFUSES),
        (DISCOVER, None, 400, REFUSES),
        (DISCOVER, error(-32020), 400, SPEAKS),
        (DISCOVER, error(-32022, supported=["2026-07-28"]), 400, SPEAKS),
        (DISCOVER, error(-32022, supported=["2099-01-01"]), 400, REFUSES),
        (DISCOVER, error(-32022), 400, REFUSES),
        (DISCOVER, error(-32601), 403, SILENT),
        (DISCOVER, None, 429, SILENT),
        # any other request of a modern client
        (CALL, result(resultType="complete"), None, SPEAKS),
        (CALL, result(content=[]), None, REFUSES),
        (CALL, error(-32602), 400, UNSURE),
        (CALL, error(-32021), 400, SPEAKS),
        (CALL, None, 500, SILENT),
    ],
)
def test_an_answer_is_judged(request_, answer, status, verdict):
    assert judge(request_, answer, status) is verdict


def test_credentials_and_failures_are_silent():
    assert [status for status in range(200, 600, 1) if is_silent(status)] == [
        401, 403, 407, 408, 409, 429, *range(500, 600),
    ]  # fmt: skip
