"""`legacy_to_modern.initialize`: what each side says of itself, as the other knows it."""

import json
from typing import Any

import pytest

from mcpctld.protocols.mcp.legacy_to_modern.initialize import (
    Ask,
    Client,
    is_invited,
    read_client,
    read_discovery,
)
from protocols.mcp.legacy_to_modern.talk import DISCOVERY, P


def client(version: object = "2025-11-25", info: object = None, **capabilities: Any) -> Client:
    params = {"protocolVersion": version, "capabilities": capabilities, "clientInfo": info}
    return read_client(json.dumps(params).encode())


def offered(**capabilities: Any) -> Any:
    return json.loads(client(**capabilities).capabilities)


# ---------------------------------------------------------------- the client


@pytest.mark.parametrize(
    ("wanted", "version"),
    [
        ("2024-11-05", "2024-11-05"),
        ("2025-06-18", "2025-06-18"),
        ("2026-07-28", "2025-11-25"),
        ("2099-01-01", "2025-11-25"),
        (5, "2025-11-25"),
    ],
)
def test_the_version_is_the_one_that_is_wanted_if_it_is_a_legacy_one(wanted: object, version: str):
    assert client(wanted).version == version


def test_a_client_that_says_nothing_of_use_offers_nothing():
    nothing = Client("2025-11-25", b"{}", b"", frozenset())
    for params in (b"", b"[]", b"{}", b'{"capabilities":5,"clientInfo":[]}'):
        assert read_client(params) == nothing


def test_capabilities_are_kept_but_for_what_has_changed():
    said = {
        "sampling": {"tools": {}},
        "experimental": {"x": {}},
        "extensions": {P + "tasks": {}, "io.x/ui": {}},
        "roots": {"listChanged": True},
        "tasks": {"list": {}},
        "broken": True,
    }
    assert offered(**said) == {
        "sampling": {"tools": {}},
        "experimental": {"x": {}},
        "extensions": {"io.x/ui": {}},
        "roots": {},
    }


def test_extensions_without_any_left_are_not_named():
    assert offered(extensions={P + "tasks": {}}) == {}
    assert offered(extensions={"io.x/ui": {}}) == {"extensions": {"io.x/ui": {}}}


@pytest.mark.parametrize(
    ("version", "said", "meant"),
    [
        ("2025-11-25", {}, {"form": {}}),
        ("2025-11-25", {"form": {}}, {"form": {}}),
        ("2025-11-25", {"url": {}}, {"url": {}}),
        ("2025-11-25", {"form": {}, "url": {}}, {"form": {}, "url": {}}),
        ("2025-06-18", {}, {"form": {}}),
        ("2025-06-18", {"url": {}}, {"form": {}}),
    ],
)
def test_elicitation_says_its_modes(version: str, said: Any, meant: Any):
    found = client(version, elicitation=said)
    assert json.loads(found.capabilities) == {"elicitation": meant}
    assert (Ask.FORM in found.offers, Ask.URL in found.offers) == ("form" in meant, "url" in meant)


def test_a_client_can_be_asked_for_what_it_offers():
    assert client().offers == frozenset()
    assert client(sampling={}).offers == {Ask.SAMPLING}
    assert client(sampling={"tools": {}}).offers == {Ask.SAMPLING, Ask.SAMPLING_WITH_TOOLS}
    assert client(roots={"listChanged": True}).offers == {Ask.ROOTS}
    assert client(roots=True, sampling=None).offers == frozenset()


@pytest.mark.parametrize("info", [{}, {"name": "x"}, {"name": "x", "version": 1}, 5])
def test_an_identity_that_is_not_whole_is_left_out(info: object):
    assert client(info=info).info == b""


def test_a_whole_identity_keeps_its_text():
    info = {"version": "1", "name": "x", "title": "X"}
    assert client(info=info).info == json.dumps(info).encode()


# ---------------------------------------------------------------- the server


def discovered(**changes: Any) -> Any:
    found = read_discovery(json.dumps({**DISCOVERY, **changes}).encode(), Client("2025-06-18"))
    assert found is not None
    return json.loads(found.result)


def test_a_discovery_reads_as_the_answer_to_initialize():
    found = read_discovery(json.dumps(DISCOVERY).encode(), Client("2025-06-18"))
    assert found is not None
    assert found.changes == ("tools", "resources")
    assert json.loads(found.result) == {
        "protocolVersion": "2025-06-18",
        "capabilities": DISCOVERY["capabilities"],
        "serverInfo": {"name": "server", "version": "2"},
        "instructions": "be kind",
    }


@pytest.mark.parametrize(
    "result",
    [
        b"5",
        b"[]",
        b"{}",
        b'{"supportedVersions":"2026-07-28"}',
        b'{"supportedVersions":["2025-11-25"]}',
        b'{"supportedVersions":[["2026-07-28"]]}',
    ],
)
def test_anything_else_is_no_discovery(result: bytes):
    assert read_discovery(result, Client()) is None


@pytest.mark.parametrize(
    ("code", "data", "invited"),
    [
        (-32022, {"supported": ["2026-07-28"], "requested": "2026-07-28"}, True),
        (-32022, {"supported": ["2025-11-25", "2026-07-28"]}, True),
        (-32022, {"supported": ["2025-11-25"]}, False),
        (-32022, {"supported": "2026-07-28"}, False),
        (-32022, None, False),
        (-32601, {"supported": ["2026-07-28"]}, False),
    ],
)
def test_an_error_that_names_the_revision_as_supported_invites(
    code: int, data: object, invited: bool
):
    error = {"code": code, "message": "no", "data": data}
    assert is_invited(json.dumps(error).encode()) is invited


@pytest.mark.parametrize("error", [b"", b"5", b"[]", b"{}"])
def test_an_error_of_no_shape_invites_to_nothing(error: bytes):
    assert not is_invited(error)


def test_tasks_are_not_promised():
    capabilities = {"tools": {}, "tasks": {}, "extensions": {P + "tasks": {}}, "prompts": 5}
    assert discovered(capabilities=capabilities)["capabilities"] == {"tools": {}}


@pytest.mark.parametrize("info", [None, 5, {}, {"name": 5}])
def test_a_server_without_an_identity_gets_one(info: Any):
    found = discovered(_meta={P + "serverInfo": info})
    assert found["serverInfo"] == {"name": "unknown", "version": "unknown"}


def test_an_identity_keeps_what_it_has():
    found = discovered(_meta={P + "serverInfo": {"name": "x", "title": "X"}})
    assert found["serverInfo"] == {"name": "x", "version": "unknown", "title": "X"}


def test_what_is_no_text_is_no_instruction_and_meta_of_its_own_is_kept():
    found = discovered(instructions=5, _meta={"own": 1})
    assert "instructions" not in found
    assert found["_meta"] == {"own": 1}
