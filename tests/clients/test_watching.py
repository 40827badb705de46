"""`mcpctld.clients.watching`: real files in a home of the test's own, the watch in the test's event loop."""

import json
from pathlib import Path

import pytest
import trio

from mcpctld.clients import watching
from mcpctld.clients.looking import look_at
from mcpctld.clients.seen import Seen

BOUND_S = 30.0
TWO = '[mcp_servers.a]\ncommand = "x"\n\n[mcp_servers.b]\ncommand = "mcpctl"\nargs = ["attach", "notes"]\n'


class Told:
    """The events, and the servers that were named."""

    def __init__(self):
        self.events, self.named = [], []
        self.projects = []
        self.seen = Seen()
        self.seen.on_named(self.named.append)

    def publish(self, type_, data):
        self.events.append((type_, data.get("name")))

    async def until(self, condition):
        with trio.fail_after(BOUND_S):
            while not condition():  # noqa: ASYNC110 -- what is told has no event of trio's
                await trio.sleep(0.01)

    async def until_told(self, *event):
        await self.until(lambda: event in self.events)


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_CONFIG_HOME", "CODEX_HOME"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
async def told(home, nursery):
    """A watch over a home in which Codex has two servers."""
    write(home, ".codex/config.toml", TWO)
    told = Told()
    nursery.start_soon(watching.watch_clients, told.seen, told.publish, lambda: told.projects)
    await told.until(lambda: told.named)
    return told


def write(home, path, text):
    file = Path(home, path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


async def test_what_is_there_at_first_is_named_and_no_news(home, told):
    assert told.named == [{"notes"}]
    assert told.events == []
    assert [file["file"] for file in told.seen.files()] == [str(home / ".codex/config.toml")]


async def test_a_file_whose_beginning_reads_like_a_whole_one_is_looked_at_twice(
    home, told, monkeypatch
):
    file = home / ".codex/config.toml"
    torn = "# begun anew\n" + TWO[: TWO.index("[mcp_servers.b]")]

    def while_it_is_written(watched):
        found = look_at(watched)
        if file.read_text() == torn:
            file.write_text(torn + TWO[TWO.index("[mcp_servers.b]") :])
        return found

    monkeypatch.setattr(watching, "look_at", while_it_is_written)
    file.write_text(torn)
    await told.until_told("client.file_changed", None)
    assert told.events == [("client.file_changed", None)]
    assert told.named == [{"notes"}]


@pytest.mark.slow
async def test_a_server_that_no_file_names_any_more_is_not_named(home, told):
    write(
        home,
        ".cursor/mcp.json",
        json.dumps({"mcpServers": {"n": {"command": "mcpctl", "args": ["attach", "n2"]}}}),
    )
    await told.until(lambda: told.named[-1] == {"notes", "n2"})
    write(home, ".codex/config.toml", TWO[: TWO.index("[mcp_servers.b]")])
    await told.until(lambda: told.named[-1] == {"n2"})
    (home / ".cursor/mcp.json").unlink()
    await told.until(lambda: told.named[-1] == set())


async def test_files_of_projects_are_shown_and_name_nothing(home, told):
    write(
        home,
        "p/.mcp.json",
        '{"mcpServers": {"n": {"command": "mcpctl", "args": ["attach", "n2"]}}}',
    )
    told.projects.append(str(home / "p"))
    write(home, ".zed", "wake up")  # something happens in the home
    await told.until(lambda: len(told.seen.files()) == 2)
    assert told.seen.files()[-1]["servers"] == [{"name": "n", "server": "n2"}]
    assert told.named == [{"notes"}]
    told.projects.clear()
    write(home, ".zed", "again")
    await told.until(lambda: len(told.seen.files()) == 1)


async def test_a_home_that_is_a_project_too_is_the_users(home, told):
    write(
        home,
        ".cursor/mcp.json",
        '{"mcpServers": {"n": {"command": "mcpctl", "args": ["attach", "n2"]}}}',
    )
    told.projects.append(str(home))
    await told.until(lambda: told.named[-1] == {"notes", "n2"})
    scopes = {file["scope"] for file in told.seen.files()}
    assert scopes == {"user"}


async def test_what_cannot_be_read_from_the_beginning_is_reported(home, nursery):
    (home / ".cursor" / "mcp.json").mkdir(parents=True)
    write(home, ".config/zed/settings.json", "{")
    told = Told()
    nursery.start_soon(watching.watch_clients, told.seen, told.publish, lambda: told.projects)
    await told.until(lambda: told.named == [frozenset()])
    assert [file["state"] for file in told.seen.files()] == ["unreadable"] * 2
    assert told.events == [("client.broken", None)] * 2
    write(home, ".config/zed/settings.json", '{"context_servers": {"z": {"command": "c"}}}')
    await told.until(lambda: told.seen.files()[0]["state"] == "read")


async def test_one_file_that_surprises_us_does_not_end_the_watch(home, told, monkeypatch, caplog):
    def surprised(watched):
        if watched.path.endswith("config.toml"):
            raise ZeroDivisionError
        return look_at(watched)

    monkeypatch.setattr(watching, "look_at", surprised)
    write(home, ".codex/config.toml", "")
    write(home, ".cursor/mcp.json", '{"mcpServers": {"n": {"command": "x"}}}')
    await told.until_told("client.server_added", "n")
    await told.until(lambda: "client.look_failed" in caplog.text)
