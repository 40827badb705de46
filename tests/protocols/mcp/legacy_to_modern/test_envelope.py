"""`legacy_to_modern.envelope`: what is put on requests, and taken off the rest."""

import json
from typing import Any

import pytest

from mcpctld.protocols.mcp.legacy_to_modern.envelope import (
    Envelope,
    is_marked,
    result_type,
    strip_meta,
    strip_result,
    subscription_of,
)
from mcpctld.protocols.mcp.objects import open_object
from protocols.mcp.legacy_to_modern.talk import P

SAID = {P + "protocolVersion": "2026-07-28", P + "clientCapabilities": {"roots": {}}}


def members(value: dict[str, Any]) -> dict[str, bytes]:
    return open_object(json.dumps(value).encode())


def sealed(envelope: Envelope, **params: Any) -> Any:
    return json.loads(envelope.seal(members(params)))


def test_each_request_says_revision_capabilities_and_identity():
    assert sealed(Envelope(b'{"roots":{}}', b"")) == {"_meta": SAID}
    info = {"name": "x", "version": "1"}
    named = Envelope(b'{"roots":{}}', json.dumps(info).encode())
    assert sealed(named, a=1) == {"a": 1, "_meta": {**SAID, P + "clientInfo": info}}


def test_a_level_once_set_is_said_with_each():
    envelope = Envelope(b'{"roots":{}}', b"")
    for level in ("debug", "error"):
        envelope.set_level(level)
        assert sealed(envelope) == {"_meta": {**SAID, P + "logLevel": level}}


def test_what_the_client_put_into_meta_is_kept_but_for_reserved_keys():
    envelope = Envelope(b'{"roots":{}}', b"")
    meta = {"progressToken": 1, "traceparent": "t", P + "protocolVersion": "x"}
    kept = {"progressToken": 1, "traceparent": "t"}
    assert sealed(envelope, _meta=meta) == {"_meta": {**SAID, **kept}}
    assert sealed(envelope, _meta={P + "x": 1}) == {"_meta": SAID}
    assert sealed(envelope, _meta=5) == {"_meta": SAID}


@pytest.mark.parametrize(
    ("result", "left"),
    [
        ({"resultType": "complete", "ttlMs": 1, "cacheScope": "private", "x": 1}, {"x": 1}),
        ({"_meta": {P + "serverInfo": {}, "a": 1}}, {"_meta": {"a": 1}}),
        ({"_meta": {P + "serverInfo": {}}}, {}),
        ({"_meta": {"a": 1}}, {"_meta": {"a": 1}}),
        ({"_meta": {}}, {"_meta": {}}),
    ],
)
def test_results_lose_what_older_revisions_do_not_know(result: Any, left: Any):
    opened = members(result)
    strip_result(opened)
    assert {name: json.loads(value) for name, value in opened.items()} == left


def test_notifications_lose_reserved_keys_only():
    opened = members({"ttlMs": 1, "_meta": {P + "subscriptionId": 1}})
    strip_meta(opened)
    assert opened == {"ttlMs": b"1"}


def test_the_subscription_of_a_notification_is_read():
    assert subscription_of(members({"_meta": {P + "subscriptionId": "a"}})) == b'"a"'
    assert subscription_of(members({"_meta": {P + "x": 1}})) is None
    assert subscription_of(members({"_meta": {"x": 1}})) is None
    assert subscription_of({}) is None
    assert is_marked(b'{"io.modelcontextprotocol/x":1}')
    assert not is_marked(b"{}")


@pytest.mark.parametrize(
    ("result", "found"),
    [
        ({}, "complete"),
        ({"resultType": "complete"}, "complete"),
        ({"resultType": "task"}, "task"),
        ({"resultType": 5}, None),
    ],
)
def test_a_result_without_a_type_is_complete(result: Any, found: str | None):
    assert result_type(members(result)) == found
