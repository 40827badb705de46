"""Requests of our own say what the client says of itself."""

import json

from mcpctld.protocols.mcp.asides import envelope_of, make_request

P = "io.modelcontextprotocol/"
META = {
    f"{P}protocolVersion": "2026-07-28",
    f"{P}clientInfo": {"name": "é"},
    f"{P}clientCapabilities": {"x": 1.0},
}


def params(**meta: object) -> bytes:
    return json.dumps({"name": "x", "_meta": {**META, **meta}}).encode()


def test_a_request_of_ours_carries_what_the_client_says_of_itself():
    envelope = envelope_of(params(progressToken=1, traceparent="x", **{f"{P}logLevel": "debug"}))
    request = make_request(b'"a"', "tools/list", envelope, {"cursor": b'"c"'})
    assert json.loads(request.raw) == {
        "jsonrpc": "2.0",
        "id": "a",
        "method": "tools/list",
        "params": {"_meta": META, "cursor": "c"},
    }


def test_who_says_nothing_of_itself_is_not_spoken_for():
    assert envelope_of(b"") == {}
    assert envelope_of(b'{"_meta":7}') == {}
    assert make_request(b"1", "ping", {}, {}).params == b'{"_meta":{}}'
