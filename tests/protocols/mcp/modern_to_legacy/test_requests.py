"""What a request of 2026-07-28 says beside its business."""

import json

import pytest

from mcpctld.protocols.mcp.modern_to_legacy.requests import (
    LEVELS,
    Refusal,
    Request,
    has,
    level_of,
    read_request,
)
from protocols.mcp.modern_to_legacy.stage import P, one, request

ENVELOPE = {f"{P}protocolVersion": "2026-07-28", f"{P}clientCapabilities": {}}


def read(
    method: str = "tools/call", meta: dict[str, object] | None = None, **params: object
) -> Request:
    found = read_request(
        one(id=1, method=method, params={"_meta": {**ENVELOPE, **(meta or {})}, **params})
    )
    assert isinstance(found, Request)
    return found


def refused(method: str = "tools/call", **members: object) -> Refusal:
    found = read_request(one(id=1, method=method, **members))
    assert isinstance(found, Refusal)
    return found


def test_the_reserved_keys_are_read_and_the_rest_is_left():
    found = read_request(request(1, "tools/call", {"roots": {}}, {"traceparent": "t"}, name="x"))
    assert isinstance(found, Request)
    assert found.params == {"name": b'"x"'}
    assert found.meta == {"traceparent": b'"t"'}
    assert found.capabilities == {"roots": b"{}"}
    assert json.loads(found.info) == {"name": "a client", "version": "2"}
    assert (found.level, found.state, found.responses, found.token) == (None, None, {}, b"")
    assert found.target == "x"


def test_what_belongs_to_round_trips_is_no_parameter():
    found = read(requestState="s", inputResponses={"a": {"b": 1}}, name="x")
    assert found.params == {"name": b'"x"'}
    assert found.state == "s"
    assert json.loads(found.responses["a"]) == {"b": 1}


@pytest.mark.parametrize("token", [7, "seven", 1.5, -1])
def test_the_progress_token_is_replaced(token: object):
    found = read(meta={"progressToken": token, "a": 1})
    assert json.loads(found.token) == token
    sent = json.loads(found.params_for_server(b'"mine"'))
    assert sent == {"_meta": {"progressToken": "mine", "a": 1}}


@pytest.mark.parametrize("token", [None, True, {}, [1]])
def test_what_cannot_be_a_progress_token_is_dropped(token: object):
    assert read(meta={"progressToken": token}).params_for_server(b'"mine"') == b""


def test_without_a_progress_token_none_is_sent():
    assert json.loads(read(name="x").params_for_server(b'"mine"')) == {"name": "x"}


def test_lone_surrogates_stay_as_they_are():
    found = read(name="\ud800", arguments={"\udfff": 1})
    assert found.target == "\ud800"
    assert json.loads(found.params_for_server(b"1")) == {
        "name": "\ud800",
        "arguments": {"\udfff": 1},
    }


def test_the_target_is_what_the_method_is_about():
    assert read("resources/read", uri="x:", name="n").target == "x:"
    assert read("tools/list", name="n").target is None
    assert read("tools/call", name=7).target is None


@pytest.mark.parametrize(("level", "index"), [("debug", 0), ("emergency", 7), (None, None)])
def test_a_log_level_is_read(level: object, index: int | None):
    assert read(meta={f"{P}logLevel": level}).level == index


def test_a_level_that_is_none_is_refused():
    found = refused(params={"_meta": {**ENVELOPE, f"{P}logLevel": "loud"}})
    assert found.code == -32602
    assert all(level in found.text for level in LEVELS)


@pytest.mark.parametrize(
    "members",
    [
        pytest.param({}, id="no params"),
        pytest.param({"params": None}, id="null"),
        pytest.param({"params": [1]}, id="an array"),
        pytest.param({"params": {}}, id="no _meta"),
        pytest.param({"params": {"_meta": 7}}, id="_meta is no object"),
        pytest.param(
            {"params": {"_meta": {f"{P}protocolVersion": "2026-07-28"}}}, id="no capabilities"
        ),
        pytest.param({"params": {"_meta": {f"{P}clientCapabilities": {}}}}, id="no revision"),
        pytest.param(
            {"params": {"_meta": {**ENVELOPE, f"{P}protocolVersion": 7}}},
            id="revision is no string",
        ),
        pytest.param(
            {"params": {"_meta": {**ENVELOPE, f"{P}clientCapabilities": []}}},
            id="capabilities are no object",
        ),
    ],
)
def test_a_request_without_its_envelope_is_refused(members: dict[str, object]):
    assert refused(**members).code == -32602


def test_another_revision_is_refused_with_the_one_there_is():
    found = refused(params={"_meta": {**ENVELOPE, f"{P}protocolVersion": "2099-01-01"}})
    assert found.code == -32022
    assert found.data == {"supported": ["2026-07-28"], "requested": "2099-01-01"}


def test_initialize_is_the_wrong_revision():
    found = refused("initialize", params={"protocolVersion": "2025-11-25"})
    assert found.code == -32022
    assert found.data == {"supported": ["2026-07-28"], "requested": "2025-11-25"}
    assert refused("initialize").data["requested"] == ""


@pytest.mark.parametrize(
    "method",
    ["ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe", "tasks/get"],
)
def test_methods_of_the_older_revisions_do_not_exist(method: str):
    assert refused(method, params={"_meta": ENVELOPE}).code == -32601


def test_levels_are_numbered_from_the_most_verbose():
    assert level_of(b'"debug"') == 0
    assert level_of(b'"info"') == 1
    assert level_of(b'"loud"') is None
    assert level_of(b"3") is None
    assert level_of(b"") is None


def test_a_capability_is_an_object():
    assert has({"roots": b"{}"}, "roots")
    assert not has({"roots": b"false"}, "roots")
    assert not has({}, "roots")
