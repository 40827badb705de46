"""The daemon watches the files of clients: what is done to them shows, and what a client wipes is put back."""

import contextlib
import json
import os
import queue
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness import FIXTURES, Home, program, wait_until
from mcpctl.client import Client
from mcpctl.errors import CtlError

CURSOR = ".cursor/mcp.json"
DESKTOP = ".config/Claude/claude_desktop_config.json"
OURS = {"command": "mcpctl", "args": ["attach", "notes"]}
BOUND_S = 30.0
STORM_EDITS = 8


class Heard:
    """The events of a daemon, as they come."""

    def __init__(self, home: Home) -> None:
        self._events: queue.Queue[dict[str, Any]] = queue.Queue()
        self._home = home
        self.all: list[tuple[str, str | None]] = []
        self._client = Client(str(home.runtime_dir / "control.sock"))
        threading.Thread(target=self._listen, daemon=True).start()
        wait_until(lambda: self._is_there(), "the stream of events")

    def _listen(self) -> None:
        with contextlib.suppress(CtlError):
            for event in self._client.events():
                self._events.put(dict(event))

    def _is_there(self) -> bool:
        """Whether it listens: what happens after that is heard."""
        self._home.add("probe", url="http://127.0.0.1:1/mcp")
        (self._home.config_dir / "servers/probe.toml").unlink()
        self._home.api("POST", "/v1/reload")
        with contextlib.suppress(queue.Empty):
            return bool(self._events.get(timeout=0.2))
        return False

    def until(self, type_: str, name: str | None = None) -> dict[str, Any]:
        """The next event of a kind; what came before it is in `all`."""
        while True:
            event = self._events.get(timeout=BOUND_S)
            if event["type"].startswith("client."):
                self.all.append((event["type"], event["data"].get("name")))
            if event["type"] == type_ and name in (None, event["data"].get("name")):
                return event["data"]


def write(home: Home, path: str, value: Any) -> Path:
    file = home.path / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(value if isinstance(value, str) else json.dumps({"mcpServers": value}))
    return file


def seen(home: Home, path: str) -> dict[str, Any] | None:
    """What the daemon says of a file."""
    answer = home.api("GET", "/v1/clients")[1]["clients"]
    return next((one for one in answer if one["file"] == str(home.path / path)), None)


def names(home: Home, path: str) -> list[str] | None:
    found = seen(home, path)
    return None if found is None else [one["name"] for one in found["servers"]]


@contextlib.contextmanager
def running(home: Home, name: str) -> Iterator[None]:
    """A process of that name: the client, as far as anybody can see."""
    own = home.path / name
    shutil.copy(str(shutil.which("sleep")), own)
    process = subprocess.Popen([own, "600"], env={})
    try:
        yield
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def daemon(home: Home) -> Home:
    """A daemon that has looked at the files; there is one of Cursor's."""
    write(home, CURSOR, {"old": {"command": "x"}})
    home.add("notes", url="http://127.0.0.1:1/mcp")
    home.start_daemon()
    # Of all files: what a file says at the first look at it is no news.
    wait_until(
        lambda: any(line["event"] == "clients.watched" for line in home.log()), "the first look"
    )
    assert names(home, CURSOR) == ["old"]
    return home


def truncating(file: Path, text: str) -> None:
    file.write_text(text)


def renaming(file: Path, text: str) -> None:
    fresh = file.with_name(".mcp.json.tmp")
    fresh.write_text(text)
    fresh.rename(file)


def like_vim(file: Path, text: str) -> None:
    """The old file becomes the backup, a new one is written in its place."""
    file.rename(file.with_name("mcp.json~"))
    file.write_text(text)
    file.with_name("mcp.json~").unlink()


def slowly(file: Path, text: str) -> None:
    with open(file, "w") as out:
        for part in (text[:9], text[9:]):
            out.write(part)
            out.flush()
            os.fsync(out.fileno())


def swapping_a_link(file: Path, text: str) -> None:
    """As dotfile managers do it: the file is a link, and another target takes its place."""
    folder = file.parent.parent / f"dots-{len(text)}"
    folder.mkdir(exist_ok=True)
    (folder / "mcp.json").write_text(text)
    link = file.with_name("link")
    link.symlink_to(folder / "mcp.json")
    link.rename(file)


def in_the_target(file: Path, text: str) -> None:
    """Nothing happens in the folder of the link."""
    if not file.is_symlink():
        swapping_a_link(file, text)
    renaming(file.resolve(), text)


@pytest.mark.slow
@pytest.mark.parametrize(
    "how", [truncating, renaming, like_vim, slowly, swapping_a_link, in_the_target]
)
def test_what_is_added_changed_and_removed_by_hand_is_seen(
    daemon: Home, how: Callable[[Path, str], None]
) -> None:
    heard, file = Heard(daemon), daemon.path / CURSOR
    how(file, json.dumps({"mcpServers": {"old": {"command": "x"}, "new": OURS}}))
    assert heard.until("client.server_added", "new")["server"] == "notes"
    how(file, json.dumps({"mcpServers": {"old": {"command": "another"}, "new": OURS}}))
    assert heard.until("client.server_changed", "old")["file"] == str(file)
    how(file, json.dumps({"mcpServers": {"new": OURS}}, indent=3))
    assert heard.until("client.server_removed", "old")["server"] is None
    wait_until(lambda: names(daemon, CURSOR) == ["new"], "the last state")
    assert [one for one in heard.all if one[0] == "client.server_removed"] == [
        ("client.server_removed", "old")
    ]


@pytest.mark.slow
def test_a_broken_file_is_reported_and_removes_nothing(daemon: Home) -> None:
    heard = Heard(daemon)
    for broken in ('{"mcpServers": {"old": {"comm', ""):
        write(daemon, CURSOR, broken)
        assert heard.until("client.broken")["problem"]
        found = seen(daemon, CURSOR)
        assert found is not None
        assert (found["state"], [one["name"] for one in found["servers"]]) == (
            "unreadable",
            ["old"],
        )
    shown = daemon.mcpctl("status")
    assert "unreadable" in shown.out
    assert "it is empty" in shown.out
    write(daemon, CURSOR, {"old": {"command": "x"}})
    heard.until("client.file_changed")
    assert seen(daemon, CURSOR)["state"] == "read"
    assert not [one for one in heard.all if "server" in one[0]]


@pytest.mark.slow
def test_files_and_folders_come_and_go(daemon: Home) -> None:
    heard = Heard(daemon)
    zed = write(
        daemon,
        ".config/zed/settings.json",
        '{\n// mine\n"context_servers": {"z": {"command": "c",},},\n}',
    )
    heard.until("client.server_added", "z")
    shutil.rmtree(zed.parent)
    heard.until("client.server_removed", "z")
    assert seen(daemon, ".config/zed/settings.json")["state"] == "gone"
    write(daemon, ".config/zed/settings.json", '{"context_servers": {"y": {"command": "c"}}}')
    heard.until("client.server_added", "y")
    write(daemon, ".codex/config.toml", '[mcp_servers.t]\ncommand = "c"\n')
    heard.until("client.server_added", "t")
    write(daemon, ".config/goose/config.yaml", "extensions:\n  g:\n    type: stdio\n    cmd: c\n")
    heard.until("client.server_added", "g")


@pytest.mark.slow
def test_what_cannot_be_opened_is_reported(daemon: Home) -> None:
    heard, file = Heard(daemon), daemon.path / CURSOR
    file.unlink()
    file.mkdir()
    assert heard.until("client.broken")["problem"] == "it is a folder"
    file.rmdir()
    file.symlink_to("mcp.json")
    assert "circle" in heard.until("client.broken")["problem"]
    file.unlink()
    file.symlink_to("nowhere")
    assert "nothing" in heard.until("client.broken")["problem"]
    file.unlink()
    with open(file, "wb") as out:
        out.truncate(200 * 1024 * 1024)
    assert "larger than" in heard.until("client.broken")["problem"]
    file.write_text(json.dumps({"mcpServers": {"new": OURS}}))
    heard.until("client.server_added", "new")
    removed = [one for one in heard.all if one[0] == "client.server_removed"]
    assert removed in ([], [("client.server_removed", "old")])


@pytest.mark.slow
def test_an_entry_that_its_client_wipes_is_put_back_three_times(daemon: Home) -> None:
    file = write(daemon, DESKTOP, '{\n  "mcpServers": {},\n  "theme": "dark"\n}\n')
    wait_until(lambda: names(daemon, DESKTOP) == [], "the file of Claude Desktop")
    memory, heard = file.read_bytes(), Heard(daemon)
    with running(daemon, "claude-desktop"):
        assert daemon.mcpctl("add", "--server", "notes", "--claude").code == 0
        ours = file.read_bytes()
        for number in range(3):
            heard.until("client.server_added", "notes")
            file.write_bytes(memory)
            assert heard.until("client.put_back", "notes")["file"] == str(file)
            assert file.read_bytes() == ours, number
        heard.until("client.server_added", "notes")
        file.write_bytes(memory)
        heard.until("client.server_removed", "notes")
        wait_until(lambda: seen(daemon, DESKTOP)["problem"], "that it is told")
        assert "again and again" in seen(daemon, DESKTOP)["problem"]
        assert seen(daemon, DESKTOP)["put_back"] == 3
        assert file.read_bytes() == memory


@pytest.mark.slow
@pytest.mark.parametrize("how", ["remove", "undo", "by hand"])
def test_a_removal_by_the_user_is_obeyed(daemon: Home, how: str) -> None:
    file = write(daemon, DESKTOP, '{"mcpServers": {}}')
    wait_until(lambda: names(daemon, DESKTOP) == [], "the file of Claude Desktop")
    memory, heard = file.read_bytes(), Heard(daemon)
    with contextlib.nullcontext() if how == "by hand" else running(daemon, "claude-desktop"):
        assert daemon.mcpctl("add", "--server", "notes", "--claude").code == 0
        heard.until("client.server_added", "notes")
        if how == "remove":
            assert daemon.mcpctl("remove", "notes", "--claude").code == 0
        elif how == "undo":
            assert daemon.mcpctl("clients", "undo").code == 0
        else:
            file.write_bytes(memory)
        assert file.read_bytes() == memory
        heard.until("client.server_removed", "notes")
        write(daemon, CURSOR, {"last": OURS})
        heard.until("client.server_added", "last")
    assert file.read_bytes() == memory
    assert ("client.put_back", "notes") not in heard.all
    assert seen(daemon, DESKTOP)["put_back"] == 0
    refused = [line for line in daemon.log() if line["event"] == "client.not_put_back"]
    assert bool(refused) == (how != "by hand")  # with the client running it looks like a wipe


@pytest.mark.slow
@pytest.mark.parametrize("how", ["atomic", "truncate"])
def test_a_storm_of_writes_while_we_edit_and_watch(daemon: Home, how: str) -> None:
    """A client writes its file a hundred times a second: every edit stands or is reported, and nothing is removed."""
    file = write(
        daemon,
        CURSOR,
        '{"count": 0, "mine": 9007199254740993, "mcpServers": {"old": {"command": "x"}}}',
    )
    heard, refused = Heard(daemon), 0
    words = [sys.executable, str(FIXTURES / "restless.py"), str(file), how]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as client:
        for number in range(STORM_EDITS):
            url = f"http://127.0.0.1:1/{number}"
            done = daemon.mcpctl("add", "--server", f"s{number}", "--url", url, "--cursor")
            refused += done.code != 0
            assert done.code == 0 or "keeps writing" in done.err, done
        said = json.loads(client.communicate(b"")[0])
    found = json.loads(file.read_text())
    assert found["mine"] == 9007199254740993
    assert found["count"] == said["count"] > 1
    assert len(found["mcpServers"]) >= 1 + STORM_EDITS - refused
    assert refused <= STORM_EDITS // 2
    assert said["broken"] == 0 or how == "truncate"
    wait_until(lambda: names(daemon, CURSOR) == list(found["mcpServers"]), "the last state is seen")
    write(daemon, ".config/zed/settings.json", '{"context_servers": {"z": {"command": "c"}}}')
    heard.until("client.server_added", "z")
    assert not [one for one in heard.all if one[0] == "client.server_removed"]


@pytest.mark.slow
def test_a_projects_file_is_seen_while_a_client_works_there(daemon: Home) -> None:
    project = daemon.path / "project"
    write(daemon, "project/.mcp.json", {"theirs": OURS})
    daemon.add("time", command=["mcp-server-time"])
    argv = [program("mcpctl"), "attach", "time"]
    with subprocess.Popen(
        argv, env=daemon.env, cwd=project, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    ) as client:
        assert client.stdin is not None
        wait_until(lambda: names(daemon, "project/.mcp.json") == ["theirs"], "the project's file")
        assert seen(daemon, "project/.mcp.json")["scope"] == "project"
        servers = {one["name"]: one for one in daemon.api("GET", "/v1/servers")[1]["servers"]}
        assert servers["notes"]["sessions"] == 0
        client.stdin.close()
        client.wait(BOUND_S)
    wait_until(lambda: seen(daemon, "project/.mcp.json") is None, "the end of the project")
