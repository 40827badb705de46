"""`mcpctld.protocols.parts`: what is read of params, results and errors, and what is ignored."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from mcpctld.protocols.parts import (
    InitializeResult,
    Params,
    error_of,
    initialize_result_of,
    params_of,
)

META = "io.modelcontextprotocol/"


def raw(value: object) -> Raw:
    return Raw(json.dumps(value).encode())


@pytest.mark.parametrize(
    ("params", "read"),
    [
        ({"name": "echo", "arguments": {"name": "x"}}, Params(name="echo")),
        ({"uri": "file:///a"}, Params(uri="file:///a")),
        ({"taskId": "t1"}, Params(task_id="t1")),
        ({"requestId": 5, "reason": "slow"}, Params(request_id=b"5")),
        ({"requestId": "a"}, Params(request_id=b'"a"')),
        ({"_meta": {"progressToken": -1}}, Params(progress_token=b"-1")),
        ({"_meta": {"progressToken": "p"}}, Params(progress_token=b'"p"')),
        (
            {"protocolVersion": "2025-06-18", "clientInfo": {"name": "c", "version": "1"}},
            Params(requested_version="2025-06-18", client_name="c", client_version="1"),
        ),
        (
            {
                "_meta": {
                    META + "protocolVersion": "2026-07-28",
                    META + "clientInfo": {"name": "c", "version": "2"},
                }
            },
            Params(protocol_version="2026-07-28", client_name="c", client_version="2"),
        ),
    ],
)
def test_known_members_are_read(params, read):
    assert params_of(raw(params)) == read


@pytest.mark.parametrize(
    "params",
    [
        [],
        5,
        None,
        {},
        {"name": 1, "uri": None, "taskId": [], "requestId": {}, "clientInfo": "c"},
        {"protocolVersion": 1, "requestId": True, "_meta": "m"},
        {"clientInfo": {"name": 1, "version": {}}, "_meta": {"progressToken": [1]}},
        {"_meta": {META + "protocolVersion": 5, META + "clientInfo": 5, "progressToken": None}},
    ],
)
def test_members_of_other_types_read_as_absent(params):
    assert params_of(raw(params)) == Params()


def test_absent_parts_read_as_empty():
    assert params_of(Raw()) == Params()
    assert initialize_result_of(Raw()) == InitializeResult()
    assert error_of(Raw()) == (0, "")


@pytest.mark.parametrize(
    ("result", "read"),
    [
        (
            {"protocolVersion": "2025-11-25", "serverInfo": {"name": "s", "version": "3"}},
            InitializeResult("2025-11-25", "s", "3"),
        ),
        ({"serverInfo": {"name": "s"}}, InitializeResult(server_name="s")),
        ({"protocolVersion": 3, "serverInfo": [1]}, InitializeResult()),
        ("no", InitializeResult()),
    ],
)
def test_an_initialize_result_is_read_tolerantly(result, read):
    assert initialize_result_of(raw(result)) == read


@pytest.mark.parametrize(
    ("error", "read"),
    [
        ({"code": -32601, "message": "no such method", "data": {}}, (-32601, "no such method")),
        ({"code": 5}, (5, "")),
        ({"message": "m"}, (0, "m")),
        ({"code": "5", "message": 5}, (0, "")),
        ({"code": 1.5, "message": "m"}, (0, "m")),
        ("failed", (0, "")),
    ],
)
def test_an_error_is_read_tolerantly(error, read):
    assert error_of(raw(error)) == read


def test_nesting_beyond_the_stack_reads_as_absent():
    deep = Raw(b'{"name":"x","a":' + b"[" * 100_000 + b"]" * 100_000 + b"}")
    assert params_of(deep) == Params()


def test_the_parts_show_no_uri_or_token():
    params = params_of(raw({"uri": "secret://", "_meta": {"progressToken": "hush"}}))
    assert "secret" not in repr(params)
    assert "hush" not in repr(params)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
names = ["_meta", "name", "uri", "taskId", "requestId", "clientInfo", "protocolVersion", "code"]
names += ["message", "serverInfo", "progressToken", META + "clientInfo", META + "protocolVersion"]


@given(
    st.dictionaries(
        st.sampled_from(names), values | st.dictionaries(st.sampled_from(names), values)
    )
)
@settings(deadline=None)
def test_reading_never_fails(value):
    params = params_of(raw(value))
    assert params.name is None or params.name == value["name"]
    initialize_result_of(raw(value))
    error_of(raw(value))
