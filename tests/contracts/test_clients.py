"""What every client's module must hold, whatever stands in `clients/`."""

import re
from pathlib import Path

import pytest

from mcpctl.clients import Machine, attached_to, clients, our_words, read_entry
from mcpctl.editing import document

CLIENTS = clients()
MACHINES = [Machine(system, "/home/ann", {}) for system in ("linux", "darwin")]
DOCS = Path(__file__).parents[2] / "docs" / "clients.md"
FLAGS = {"claude", "cursor", "neovim", "vscode", "windsurf", "zed"}

each = pytest.mark.parametrize("client", CLIENTS.values(), ids=CLIENTS)
on_each = pytest.mark.parametrize("machine", MACHINES, ids=[machine.system for machine in MACHINES])


def test_the_flags_of_flyctl_are_all_there():
    assert {client.flag for client in CLIENTS.values() if client.flag} == FLAGS


@each
def test_a_client_says_what_it_is(client):
    assert re.fullmatch(r"[a-z][a-z-]*", client.name)
    assert client.title
    assert client.reload
    assert not client.reload.endswith(".")
    assert client.wipes <= bool(client.processes)
    assert re.fullmatch(client.name_pattern, "notes")


@each
@on_each
def test_its_files_are_absolute_and_one_takes_new_entries(client, machine):
    places = client.places(machine)
    assert all(place.path.startswith("/") and place.section for place in places)
    assert len(set(places)) == len(places)
    target = client.target(machine)
    assert target.scope == "user"
    assert target.path.startswith("/home/ann/")
    assert all(mark.startswith("/") for mark in client.marks(machine))
    assert client.marks(machine)


@each
def test_its_project_files_stand_in_the_project(client):
    for place in client.project:
        assert place.scope == "project"
        assert not place.path.startswith(("/", ".."))
    if client.project:
        assert client.project_target("/p").path.startswith("/p/")


@each
@pytest.mark.parametrize("for_project", [False, True])
def test_its_entries_are_ours_and_hold_the_words_and_nothing_else(client, for_project):
    words = our_words("notes", for_project=for_project)
    fields = client.write("notes", words)
    launch = read_entry({**fields, **(client.extras or {})})
    assert list(launch.words) == words
    assert attached_to(launch) == "notes"
    assert (launch.env, launch.headers, launch.url, launch.unread) == ({}, {}, None, ())


@each
@on_each
def test_an_entry_is_put_into_a_fresh_file_and_read_back(client, machine):
    place = client.target(machine)
    path = (*place.section, "notes")
    fields = {**client.write("notes", our_words("x", for_project=False)), **(client.extras or {})}
    data = document.merge(b"", place.kind, path, fields)
    found = document.entries(document.meaning(data, place.kind), place.section)
    assert attached_to(read_entry(found["notes"])) == "x"


@each
def test_it_is_documented_with_its_files(client):
    text = DOCS.read_text()
    assert f"| `{client.name}` " in text
    for place in client.places(MACHINES[0]):
        path = place.path.removeprefix("/home/ann")
        assert path.replace("/.config", "") in text or path in text, path


@pytest.mark.parametrize(
    ("name", "environ", "path"),
    [
        ("claude-code", {"CLAUDE_CONFIG_DIR": "/c"}, "/c/.claude.json"),
        ("claude-desktop", {"XDG_CONFIG_HOME": "/x"}, "/x/Claude/claude_desktop_config.json"),
        ("vscode", {"VSCODE_PORTABLE": "/v"}, "/v/user-data/User/mcp.json"),
        ("vscode", {"XDG_CONFIG_HOME": "/x"}, "/x/Code/User/mcp.json"),
        ("zed", {"FLATPAK_XDG_CONFIG_HOME": "/f"}, "/f/zed/settings.json"),
        ("codex", {"CODEX_HOME": "/c"}, "/c/config.toml"),
        ("gemini", {"GEMINI_CLI_HOME": "/g"}, "/g/.gemini/settings.json"),
        ("goose", {"GOOSE_PATH_ROOT": "/g"}, "/g/config/config.yaml"),
        ("continue", {"CONTINUE_GLOBAL_DIR": "/c"}, "/c/mcpServers/mcpctl.json"),
        ("cline", {"CLINE_MCP_SETTINGS_PATH": "/s.json"}, "/s.json"),
        ("cline", {"CLINE_DATA_DIR": "/d"}, "/d/settings/cline_mcp_settings.json"),
        ("cline", {"CLINE_DIR": "/d"}, "/d/data/settings/cline_mcp_settings.json"),
        ("opencode", {"OPENCODE_CONFIG": "/o.json"}, "/o.json"),
        ("copilot-cli", {"COPILOT_HOME": "/c"}, "/c/mcp-config.json"),
        ("neovim", {"XDG_CONFIG_HOME": "/x"}, "/home/ann/.config/mcphub/servers.json"),
        ("cursor", {"XDG_CONFIG_HOME": "relative"}, "/home/ann/.cursor/mcp.json"),
    ],
)
def test_variables_move_the_files_that_the_client_lets_them_move(name, environ, path):
    assert CLIENTS[name].target(Machine("linux", "/home/ann", environ)).path == path


def test_macos_keeps_what_is_of_applications_elsewhere():
    mac = MACHINES[1]
    support = "/home/ann/Library/Application Support"
    assert CLIENTS["claude-desktop"].target(mac).path.startswith(support)
    assert CLIENTS["vscode"].target(mac).path == f"{support}/Code/User/mcp.json"
    assert CLIENTS["zed"].target(mac).path == "/home/ann/.config/zed/settings.json"


@pytest.mark.parametrize(
    ("entry", "launch"),
    [
        ({"command": "x", "args": ["y"], "env": {"A": 1}}, (("x", "y"), {"A": "1"}, None)),
        ({"cmd": "x", "envs": {"A": "1"}}, (("x",), {"A": "1"}, None)),
        ({"command": ["x", "y"], "environment": {"A": "1"}}, (("x", "y"), {"A": "1"}, None)),
        ({"command": {"path": "x", "args": ["y"], "env": {"A": "1"}}}, (("x", "y"), {"A": "1"}, None)),
        ({"transport": {"type": "stdio", "command": "x"}}, (("x",), {}, None)),
        ({"url": "https://h/"}, ((), {}, "https://h/")),
        ({"serverUrl": "https://h/"}, ((), {}, "https://h/")),
        ({"httpUrl": "https://h/", "url": "https://old/"}, ((), {}, "https://h/")),
        ({"uri": "https://h/"}, ((), {}, "https://h/")),
    ],
)  # fmt: skip
def test_entries_of_every_shape_are_read(entry, launch):
    found = read_entry(entry)
    assert (found.words, found.env, found.url) == launch


@pytest.mark.parametrize("entry", [None, 1, "x", [], {}, {"settings": {}}, {"command": ""}])
def test_what_is_no_entry_is_none(entry):
    assert read_entry(entry) is None


@pytest.mark.parametrize(
    ("entry", "transport"),
    [
        ({"type": "sse"}, "http-sse"),
        ({"type": "streamableHttp"}, "streamable-http"),
        ({"type": "streamable_http"}, "streamable-http"),
        ({"transport": "http"}, "streamable-http"),
        ({"httpUrl": "https://h/"}, "streamable-http"),
        ({}, None),
    ],
)
def test_the_transport_of_an_entry_is_read(entry, transport):
    assert read_entry({"url": "https://h/", **entry}).transport == transport


def test_secrets_of_entries_are_not_shown():
    launch = read_entry(
        {"url": "https://h/?k=hush", "headers": {"A": "hush"}, "env": {"B": "hush"}}
    )
    assert "hush" not in repr(launch)
