"""A user of `fly mcp` with nine clients moves them all behind the agent, works on, and takes it all back."""

# ruff: noqa: E501 -- a table of whole files

import json
import os
import tomllib
from pathlib import Path

import pytest

from e2e import rawclient
from fixtures.scripted import Upstream
from harness import Home, program
from mcpctl.clients import Machine, client_named, read_entry
from mcpctl.editing import document

TOKENS = {
    name: f"tok-{name}-5d41402abc4b2a76" for name in ("fly", "basic", "header", "codex", "env")
}
LIVE = {  # the file that each client reads, and the entry that it must have in the end
    "claude-desktop": "notes",
    "cursor": "notes",
    "windsurf": "notes",
    "neovim": "notes",
    "vscode": "notes",
    "zed": "notes",
    "codex": "web",
    "claude-code": "remote",
    "goose": "clock",
    "copilot-cli": "basic",
}


def files(url: str) -> dict[str, str]:
    """What `fly mcp add` and its user have left below the home."""
    proxy = ["mcp", "proxy", "--url", url, "--bearer-token", TOKENS["fly"]]
    fly = {"command": "/home/ann/.fly/bin/flyctl", "args": proxy}
    basic = {
        "type": "local",
        "command": "fly",
        "args": [*proxy[:4], "--user", "ann", "--password", TOKENS["basic"]],
    }
    remote = {
        "command": "npx",
        "args": ["-y", "mcp-remote@latest", url, "--header", "Authorization: Bearer ${T}"],
    }
    remote["env"] = {"T": TOKENS["header"]}
    time = program("mcp-server-time")
    return {
        ".config/Claude/claude_desktop_config.json": json.dumps({"mcpServers": {"notes": fly}}, indent=2),
        ".config/Cursor/config.json": json.dumps({"mcpServers": {"notes": fly}}, indent=2),
        ".codeium/windsurf/config.json": json.dumps({"mcpServers": {"notes": fly}}, indent=2),
        ".config/nvim/init.json": json.dumps({"mcpServers": {"notes": fly}}, indent=2),
        ".config/Code/User/settings.json": '{\n\t// mine\n\t"mcp": ' + json.dumps({"notes": fly}) + ",\n}\n",
        ".config/zed/settings.json": "// Zed\n" + json.dumps({"context_servers": {"notes": fly}}, indent=2) + "\n",
        ".codex/config.toml": f'model = "o3"\n\n[mcp_servers.web] # mine\nurl = "{url}"\nhttp_headers = {{ "X-Key" = "{TOKENS["codex"]}" }}\n\n# the end\n',
        ".claude.json": json.dumps({"numStartups": 9007199254740993, "mcpServers": {"remote": remote}}, indent=2),
        ".config/goose/config.yaml": f"extensions:\n  clock:\n    type: stdio\n    cmd: {time}   # local\n    args: []\n    envs:\n      API_TOKEN: {TOKENS['env']}\n    enabled: true\n",
        ".copilot/mcp-config.json": json.dumps({"mcpServers": {"basic": {**basic, "tools": ["*"]}}}),
        "project/.mcp.json": json.dumps({"mcpServers": {"notes": fly}}),
    }  # fmt: skip


@pytest.fixture
def lived_in(home: Home, upstream: Upstream) -> dict[str, str]:
    """A home with all of these files, and what is in them."""
    made = files(upstream.url)
    for path, text in made.items():
        file = home.path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return made


def words_of(home: Home, client: str) -> list[str]:
    """The command that a client finds in the file that it reads."""
    place = client_named(client).target(Machine("linux", str(home.path), {}))
    value = document.meaning(Path(place.path).read_bytes(), place.kind)
    return list(read_entry(document.entries(value, place.section)[LIVE[client]]).words)


def holding(home: Home, *tokens: str) -> set[str]:
    """The files below the home in which a token stands, but for the store of secrets and the project."""
    found = set()
    for folder, _, names in os.walk(home.path):
        for name in names:
            path = Path(folder, name)
            if path.is_file() and any(token.encode() in path.read_bytes() for token in tokens):
                found.add(str(path.relative_to(home.path)))
    return found - {"s/secrets.json", "project/.mcp.json"}


@pytest.mark.slow
async def test_everything_is_adopted_works_and_goes_back_as_it_was(
    home: Home, upstream: Upstream, lived_in: dict[str, str]
) -> None:
    listed = await home.ask("adopt")
    assert listed.code == 0
    assert {path: (home.path / path).read_text() for path in lived_in} == lived_in
    done = await home.ask("adopt", "--all")
    assert done.code == 0, done
    assert not any(token in done.out + done.err for token in TOKENS.values())
    assert holding(home, *TOKENS.values()) == set()
    for client in LIVE:
        async with rawclient.run(words_of(home, client), home.env) as session:
            await session.initialize()
            answer = await session.ask(2, "tools/list")
            assert answer["result"]["tools"], client
    sent = {seen.headers.get("authorization") for seen in upstream.seen}
    assert f"Bearer {TOKENS['fly']}" in sent
    assert f"Bearer {TOKENS['header']}" in sent
    assert any(str(one).startswith("Basic ") for one in sent)
    assert TOKENS["codex"] in {seen.headers.get("x-key") for seen in upstream.seen}
    assert "model" in tomllib.loads((home.path / ".codex/config.toml").read_text())
    assert (await home.ask("adopt", "--all")).out.startswith("nothing to adopt")
    listed = (await home.ask("list", "--json")).json()["servers"]
    shared = next(server for server in listed if server["name"] == "notes")
    assert set(shared["clients"]) >= {"cursor", "windsurf", "neovim", "vscode", "zed"}
    released = await home.ask("release", "--all")
    assert released.code == 0, released
    assert {path: (home.path / path).read_text() for path in lived_in} == lived_in
    assert not (home.path / ".cursor/mcp.json").exists()
    assert (await home.ask("list", "--json")).json() == {"servers": []}
    assert holding(home, *TOKENS.values()) <= set(lived_in)
    assert TOKENS["fly"] not in (home.state_dir / "secrets.json").read_text()


@pytest.mark.slow
async def test_one_of_two_is_released_though_its_file_has_changed_since(
    home: Home, upstream: Upstream
) -> None:
    file = home.path / ".cursor/mcp.json"
    file.parent.mkdir()
    first = f'{{ "url": "{upstream.url}", "timeout": 60 /* mine */ }}'
    second = f'{{ "url": "{upstream.url}?x=1", "disabled": true }}'
    file.write_text(f'{{\n  "mcpServers": {{\n    "a": {first},\n    "b": {second}\n  }}\n}}\n')
    assert (await home.ask("adopt", "a", "b")).code == 0
    assert '"timeout": 60 /* mine */' in file.read_text()
    assert '"disabled": true' in file.read_text()
    file.write_text(file.read_text().replace("{\n", "{\n  // new\n", 1))
    assert (await home.ask("release", "a")).code == 0
    assert first in file.read_text()
    assert "// new" in file.read_text()
    assert second not in file.read_text()
    assert [s["name"] for s in (await home.ask("list", "--json")).json()["servers"]] == ["b"]
    removed = await home.ask("remove", "b")
    assert removed.code == 0
    assert '"b"' not in file.read_text()
    assert (await home.ask("clients", "undo")).code == 0
    assert '"b"' in file.read_text()
    gone = await home.ask("release", "b")
    assert (gone.code, "nothing was adopted under that name" in gone.err) == (4, True)


async def test_an_entry_of_a_project_is_adopted_by_name_only(
    home: Home, upstream: Upstream, lived_in: dict[str, str]
) -> None:
    refused = await home.ask("adopt", "--all", "--project")
    assert (refused.code, "leaves projects out" in refused.err) == (2, True)
    assert (home.path / "project/.mcp.json").read_text() == lived_in["project/.mcp.json"]
