"""The agent: takes clients in, knows their sessions, and lets them go."""

import contextlib
import dataclasses
import os
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import tomli_w
import trio
import trio.testing

from fixtures import scripted
from leaks import open_fds
from mcpctl import shapes, wire
from mcpctld.config.secretstore import SecretStore
from mcpctld.config.store import ServerStore
from mcpctld.drivers import unix
from mcpctld.drivers.http.client import HttpClient
from mcpctld.errors import NotFound
from mcpctld.protocols.jsonrpc import Batch, Message
from mcpctld.sessions import agent as agent_module
from mcpctld.sessions.agent import Agent, describe_daemon
from mcpctld.sessions.commons import Commons
from mcpctld.sessions.shelf import Shelf
from mcpctld.tunnels.origin import open_origin
from mcpctld.upstreams import stdio
from sessions.client import Client, bounded, error_of, journal, make_handles

ECHO = """
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if "id" in message and message["method"] != "never":
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": {}}), flush=True)
"""
LOCAL = {"command": [sys.executable, "-I", "-S", "-c", ECHO], "env": {}}


class Daemon:
    """The agent on a socket, with a configuration folder."""

    def __init__(self, folder: Path, nursery: trio.Nursery) -> None:
        self.folder = folder
        self.store = ServerStore(str(folder))
        self.secrets = SecretStore(str(folder / "state"), "file")
        self.http = HttpClient(nursery, open_origin, lambda: 512)
        info = describe_daemon("self", str(folder / "log"))
        commons = Commons(nursery, Shelf(str(folder / "state"), nursery))
        self.agent = Agent(self.store, self.secrets, self.http, commons, info)
        self.accepting = trio.CancelScope()
        self.path = str(folder / "attach.sock")
        self.clients: list[Client] = []

    def add(self, name: str, **spec: Any) -> None:
        """Write a server's file."""
        file = self.folder / "servers" / f"{name}.toml"
        file.parent.mkdir(mode=0o700, exist_ok=True)
        file.write_text(tomli_w.dumps(spec))
        file.chmod(0o600)

    def settings(self, **values: Any) -> None:
        """Write `config.toml`."""
        file = self.folder / "config.toml"
        file.write_text(tomli_w.dumps(values))
        file.chmod(0o600)

    async def connect(self) -> socket.socket:
        """A connection that has not greeted."""
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(self.path)
        return sock

    async def attach(self, *fields: tuple[str, str]) -> Client:
        """Greet as a stub does."""
        handles = make_handles()
        handles.theirs.close()
        handles.control.close()
        control = await self.connect()
        given = (*fields, ("cwd", "/"), ("ppid", str(os.getpid())), ("version", wire.VERSION))
        numbers = b"".join(fd.to_bytes(4, sys.byteorder) for fd in handles.fds)
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, numbers)]
        control.sendmsg([wire.encode_hello(list(given))], rights)
        for fd in handles.fds:
            os.close(fd)
        client = Client(dataclasses.replace(handles, control=control))
        self.clients.append(client)
        return client

    async def has_sessions(self, count: int) -> None:
        """Wait until there are so many."""
        while len(self.agent.status()["sessions"]) != count:
            await trio.testing.wait_all_tasks_blocked(0.001)


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    before = open_fds()
    async with trio.open_nursery() as nursery:
        made = Daemon(tmp_path, nursery)
        made.add("local", **LOCAL)
        await made.secrets.open()
        await made.agent.reload()
        listening = unix.listen(made.path)
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(listening))
        nursery.start_soon(made.agent.serve, listener, made.accepting)
        try:
            yield made
        finally:
            made.accepting.cancel()
            for client in made.clients:
                await client.aclose()
            with trio.fail_after(20) as scope:
                scope.shield = True
                await made.has_sessions(0)
            nursery.cancel_scope.cancel()
    with trio.fail_after(5):
        while not open_fds() <= before:
            await trio.testing.wait_all_tasks_blocked(0.01)


# ---------------------------------------------------------------- taking in


@bounded
async def test_a_client_gets_a_session_with_the_server_that_it_names(daemon: Daemon):
    client = await daemon.attach(("server", "local"))
    assert (await client.ask(1, "x"))["result"] == {}
    (session,) = daemon.agent.status()["sessions"]
    assert session["server"] == "local"
    assert session["pid"] == os.getpid()
    assert session["client"] is not None
    assert await client.finish() == (0, "")
    await daemon.has_sessions(0)


@bounded
async def test_a_client_may_bring_a_url_of_its_own(daemon: Daemon):
    async with scripted.serve() as upstream:
        client = await daemon.attach(("url", upstream.url), ("header", "X-Own: yes"))
        assert "result" in await client.initialize()
        assert upstream.seen[0].headers["x-own"] == "yes"
        await client.finish()
        await daemon.has_sessions(0)
        assert set(daemon.agent._recorders) <= {"local"}


@bounded
@pytest.mark.parametrize(
    ("fields", "code", "words"),
    [
        ([("server", "lokal")], 4, ["lokal", "did you mean 'local'", "mcpctl add"]),
        ([("url", "ftp://x")], 2, ["http"]),
        ([], 7, ["same version"]),
    ],
)
async def test_who_cannot_have_a_session_is_told_why(
    daemon: Daemon, fields: list[tuple[str, str]], code: int, words: list[str]
):
    client = await daemon.attach(*fields)
    exit_code, text = await client.released()
    assert exit_code == code
    assert all(word in text for word in words)
    with pytest.raises(EOFError):
        await client.line()


@bounded
async def test_a_secret_that_is_not_stored_is_named(daemon: Daemon):
    headers = {"Authorization": "Bearer ${secret:TOKEN}"}
    daemon.add("remote", url="http://127.0.0.1:9/", headers=headers)
    await daemon.agent.reload()
    client = await daemon.attach(("server", "remote"))
    code, text = await client.released()
    assert code == 3
    assert "TOKEN" in text
    (info,) = [s for s in daemon.agent.status()["servers"] if s["name"] == "remote"]
    assert info["missing_secrets"] == ["TOKEN"]


@bounded
async def test_a_secret_goes_into_requests_and_nowhere_else(daemon: Daemon):
    secret = "s3cr3t-s3cr3t"
    with journal() as log:
        async with scripted.serve() as upstream:
            headers = {"Authorization": "Bearer ${secret:TOKEN}"}
            daemon.add("remote", url=upstream.url, headers=headers)
            await daemon.agent.set_secret("remote", "TOKEN", secret)
            await daemon.agent.reload()

            @upstream.on("tools/call")
            async def tell(exchange: scripted.Exchange) -> None:
                said = exchange.headers["authorization"].encode()
                await exchange.answer(500, said, ("Content-Type", "text/plain"))

            client = await daemon.attach(("server", "remote"))
            await client.initialize()
            error = error_of(await client.ask(1, "tools/call"))
            assert secret not in error["message"]
            shown = repr(daemon.agent.status())
            await client.finish()
            await daemon.has_sessions(0)
            assert upstream.seen[0].headers["authorization"] == f"Bearer {secret}"
    assert secret not in shown
    assert secret not in log.text


@bounded
async def test_a_hundred_clients_at_once_have_a_hundred_sessions(daemon: Daemon):
    async with scripted.serve() as upstream:
        daemon.add("remote", url=upstream.url)
        await daemon.agent.reload()
        clients = [await daemon.attach(("server", "remote")) for _ in range(100)]

        async def live(client: Client) -> None:
            await client.initialize()
            for number in range(3):
                assert (await client.ask(number, "ping"))["result"] == {}

        async with trio.open_nursery() as nursery:
            for client in clients:
                nursery.start_soon(live, client)
        assert len(daemon.agent.status()["sessions"]) == 100
        ids = {session["id"] for session in daemon.agent.status()["sessions"]}
        assert len(ids) == 100
        async with trio.open_nursery() as nursery:
            for client in clients:
                nursery.start_soon(client.finish)
        await daemon.has_sessions(0)


@bounded
async def test_more_sessions_than_allowed_are_refused_also_when_they_come_together(daemon: Daemon):
    daemon.settings(max_sessions=3)
    await daemon.agent.reload()
    clients = [await daemon.attach(("server", "local")) for _ in range(8)]
    refused = []

    async def live(client: Client) -> None:
        try:
            await client.ask(1, "x")
        except (EOFError, trio.BrokenResourceError):
            refused.append(await client.released())

    async with trio.open_nursery() as nursery:
        for client in clients:
            nursery.start_soon(live, client)
    assert len(refused) == 5
    assert {code for code, _ in refused} == {5}
    assert all("raise max_sessions in config.toml" in text for _, text in refused)
    assert len(daemon.agent.status()["sessions"]) == 3


# ---------------------------------------------------------------- bad greetings


@bounded
@pytest.mark.parametrize(
    "said", [b"", b"GET / HTTP/1.1\r\n\r\n", wire.encode_hello([("server", "local")])]
)
async def test_who_does_not_greet_properly_is_hung_up_on(daemon: Daemon, said: bytes):
    with journal() as log:
        sock = await daemon.connect()
        sock.sendall(said)
        sock.shutdown(socket.SHUT_WR)
        control = trio.socket.from_stdlib_socket(sock)
        with contextlib.suppress(ConnectionResetError):
            assert await control.recv(100) == b""
        control.close()
    (record,) = log.of("attach.bad_greeting")
    assert record.error


@bounded
async def test_two_descriptors_are_no_greeting(daemon: Daemon):
    with journal() as log:
        sock = await daemon.connect()
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, bytes([0, 0, 0, 0, 1, 0, 0, 0]))]
        sock.sendmsg([wire.encode_hello([("server", "local")])], rights)
        control = trio.socket.from_stdlib_socket(sock)
        assert await control.recv(100) == b""
        control.close()
    assert "2 descriptors instead of 4" in log.of("attach.bad_greeting")[0].error


@bounded
async def test_who_leaves_before_the_answer_leaves_nothing_behind(daemon: Daemon):
    for name in ("local", "unknown"):
        for _ in range(5):
            client = await daemon.attach(("server", name))
            await client.aclose()
    await trio.testing.wait_all_tasks_blocked(0.01)
    await daemon.has_sessions(0)


@bounded
async def test_stopping_hard_while_a_session_opens_leaves_no_descriptor(
    daemon: Daemon, monkeypatch
):
    opening = trio.Event()

    async def slow(*_: object) -> None:
        opening.set()
        await trio.sleep_forever()

    monkeypatch.setattr(agent_module, "fill", slow)
    second = str(daemon.folder / "second.sock")
    listener = trio.SocketListener(trio.socket.from_stdlib_socket(unix.listen(second)))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(daemon.agent.serve, listener, trio.CancelScope())
        daemon.path = second
        client = await daemon.attach(("server", "local"))
        await opening.wait()
        nursery.cancel_scope.cancel()
    assert await client.control.recv(100) == b""
    with pytest.raises(EOFError):
        await client.line()


@bounded
async def test_who_does_not_greet_at_all_is_hung_up_on_after_a_while(daemon: Daemon, monkeypatch):
    monkeypatch.setattr(agent_module, "GREETING_BOUND_S", 0.05)
    with journal() as log:
        control = trio.socket.from_stdlib_socket(await daemon.connect())
        assert await control.recv(100) == b""
        control.close()
    assert log.of("attach.bad_greeting")[0].error == "it came too slowly"


@bounded
async def test_running_out_of_descriptors_is_no_reason_to_stop(daemon: Daemon):
    class Failing(trio.abc.Listener[trio.SocketStream]):
        failures = 2

        def __init__(self, listener: trio.SocketListener) -> None:
            self.listener = listener

        async def accept(self) -> trio.SocketStream:
            if self.failures:
                self.failures -= 1
                raise OSError(24, "Too many open files")
            return await self.listener.accept()

        async def aclose(self) -> None:
            await self.listener.aclose()

    second = str(daemon.folder / "second.sock")
    listening = trio.socket.from_stdlib_socket(unix.listen(second))
    listener = Failing(trio.SocketListener(listening))
    with journal() as log:
        async with trio.open_nursery() as nursery:
            scope = trio.CancelScope()
            nursery.start_soon(daemon.agent.serve, listener, scope)
            daemon.path = second
            client = await daemon.attach(("server", "local"))
            assert (await client.ask(1, "x"))["result"] == {}
            scope.cancel()
            await client.finish()
    assert len(log.of("attach.accept_failed")) == 2


# ---------------------------------------------------------------- bugs


@bounded
async def test_a_bug_in_one_session_is_logged_and_costs_no_other(daemon: Daemon, monkeypatch):
    send = stdio.Stdio.send

    def buggy(self: stdio.Stdio, message: Message | Batch) -> None:
        if b"poison" in message.raw:
            raise RuntimeError("boom")
        send(self, message)

    monkeypatch.setattr(stdio.Stdio, "send", buggy)
    healthy = await daemon.attach(("server", "local"))
    sick = await daemon.attach(("server", "local"))
    await healthy.ask(1, "x")
    await sick.ask(1, "x")
    with journal() as log:
        await sick.send(id=2, method="poison")
        code, text = await sick.released()
        await daemon.has_sessions(1)
    assert code == 70
    assert "bug" in text
    assert log.of("session.failed")[0].exc_info
    assert (await healthy.ask(2, "x"))["result"] == {}
    assert "result" in await (await daemon.attach(("server", "local"))).ask(1, "x")


@bounded
async def test_a_bug_at_the_door_costs_no_other_either(daemon: Daemon, monkeypatch):
    def buggy(*_: object) -> None:
        raise RuntimeError("boom")

    with journal() as log:
        with monkeypatch.context() as patch:
            patch.setattr(agent_module, "Session", buggy)
            client = await daemon.attach(("server", "local"))
            assert (await client.released())[0] == 70
        assert log.of("attach.failed")[0].exc_info
    assert "result" in await (await daemon.attach(("server", "local"))).ask(1, "x")


# ---------------------------------------------------------------- stopping


@bounded
async def test_shutdown_is_heard_once(daemon: Daemon):
    with daemon.agent.events.subscribe() as events:
        assert not daemon.agent.draining
        daemon.agent.shutdown()
        daemon.agent.shutdown()
        await daemon.agent.wait_stopping()
        assert daemon.agent.draining
        await daemon.agent.drain()
        assert [event["type"] async for event in events] == ["daemon.draining"]


@bounded
async def test_draining_ends_every_session_and_lets_nobody_in(daemon: Daemon):
    daemon.settings(drain_timeout_s=0.1)
    await daemon.agent.reload()
    clients = [await daemon.attach(("server", "local")) for _ in range(5)]
    for client in clients:
        await client.ask(1, "x")
        await client.send(id=2, method="never")
    await daemon.has_sessions(5)
    daemon.agent.shutdown()
    late = await daemon.attach(("server", "local"))
    assert (await late.released())[0] == 5
    with trio.fail_after(5):
        await daemon.agent.drain()
    for client in clients:
        assert "is stopping" in error_of(await client.answer(2))["message"]
        assert await client.released() == (69, "mcpctl: the daemon is stopping")
    assert daemon.agent.status()["sessions"] == []


@bounded
async def test_a_session_can_be_ended_by_its_id(daemon: Daemon):
    first, second = [await daemon.attach(("server", "local")) for _ in range(2)]
    await first.ask(1, "x")
    await second.ask(1, "x")
    ids = [session["id"] for session in daemon.agent.status()["sessions"]]
    await daemon.agent.end_session(ids[0])
    assert len(daemon.agent.status()["sessions"]) == 1
    with pytest.raises(NotFound, match="mcpctl sessions"):
        await daemon.agent.end_session(ids[0])
    async with trio.open_nursery() as nursery:
        told: list[tuple[int, str]] = []

        async def wait(client: Client) -> None:
            told.append(await client.released())
            nursery.cancel_scope.cancel()

        for client in (first, second):
            nursery.start_soon(wait, client)
    assert told == [(0, "mcpctl: the session was ended by request")]


# ---------------------------------------------------------------- what there is to show


@bounded
async def test_the_status_is_what_the_shapes_say(daemon: Daemon):
    async with scripted.serve() as upstream:
        daemon.add("remote", url=upstream.url, instance="148e21f", headers={"X": "${secret:K}"})
        daemon.add("broken", nonsense=True)
        await daemon.agent.set_secret("remote", "K", "v-a-l-u-e")
        reloaded = msgspec.convert(await daemon.agent.reload(), shapes.Reloaded)
        assert reloaded["servers"] == ["local", "remote"]
        assert len(reloaded["config_errors"]) == 1
        client = await daemon.attach(("server", "remote"))
        await client.initialize()
        await client.ask(1, "tools/list")
        status = msgspec.convert(daemon.agent.status(), shapes.Status)
        local, remote = status["servers"]
        assert (local["kind"], local["transport"], local["detected"]) == ("stdio", "stdio", None)
        assert (remote["transport"], remote["detected"]) == ("auto", "streamable-http")
        assert remote["secrets"] == ["K"]
        assert remote["missing_secrets"] == []
        assert remote["sessions"] == 1
        assert remote["figures"]["calls"] == 2
        assert status["sessions"][0]["transport"] == "streamable-http"
        assert status["daemon"]["pid"] == os.getpid()
        await client.finish()
        await daemon.has_sessions(0)
        # What a server's sessions did outlives them.
        remote = daemon.agent.status()["servers"][1]
        assert (remote["sessions"], remote["figures"]["calls"]) == (0, 2)


@bounded
async def test_a_change_of_the_servers_is_told(daemon: Daemon):
    with daemon.agent.events.subscribe() as events:
        await daemon.agent.refresh()  # nothing has changed
        daemon.add("other", **LOCAL)
        daemon.add("broken", nonsense=True)
        await daemon.agent.refresh()
        seen = [await events.receive() for _ in range(2)]
    assert {event["type"] for event in seen} == {"config.error", "servers.changed"}
    (changed,) = [event for event in seen if event["type"] == "servers.changed"]
    assert changed["data"]["added"] == ["other"]


@bounded
async def test_secrets_are_kept_and_forgotten_one_by_one_or_all(daemon: Daemon):
    for key in ("A", "B", "C"):
        await daemon.agent.set_secret("local", key, "v-a-l-u-e")
    await daemon.agent.delete_secret("local", "A")
    assert await daemon.secrets.names("local") == ["B", "C"]
    await daemon.agent.delete_secret("local", "unknown")
    await daemon.agent.delete_secrets("local")
    assert await daemon.secrets.names("local") == []


@bounded
async def test_a_server_whose_file_was_just_written_is_found(daemon: Daemon):
    """No watcher runs here: whoever names an unknown server makes the agent look again."""
    await daemon.agent.reload()
    daemon.add("fresh", **LOCAL)
    client = await daemon.attach(("server", "fresh"))
    assert await client.ask(1, "x")
