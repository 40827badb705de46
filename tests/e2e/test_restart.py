"""The daemon is stopped, restarted or killed under load: sessions go on, and every request ends once.

But for one: the message that was being written at the instant of a `kill -9` may come twice, or broken.
"""

import collections
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Literal

import pytest
import trio

from e2e.rawclient import EndOfOutputError, RawClient
from e2e.stage import Stage, error_of
from fixtures import scripted
from harness import FIXTURES, Home, program, until
from mcpctl import resuming

How = Literal["kill", "term", "command"]
HOWS = pytest.mark.parametrize("how", ["kill", "term", "command"])
MOSTLY_SLOW = pytest.mark.parametrize(
    "how", ["kill", *(pytest.param(how, marks=pytest.mark.slow) for how in ("term", "command"))]
)


async def replace(home: Home, how: How) -> None:
    """Have the daemon replaced by the next one."""
    await until(lambda: len(home.daemons()) == 1, "one daemon")
    (daemon,) = home.daemons()
    match how:
        case "kill":
            os.kill(daemon.pid, signal.SIGKILL)
        case "term":
            os.kill(daemon.pid, signal.SIGTERM)
        case "command":
            done = await home.ask("daemon", "restart")
            assert done.code == 0, done.err
            assert f"process {daemon.pid}" not in done.out
    if home.daemon is not None and home.daemon.pid == daemon.pid:
        await trio.to_thread.run_sync(home.wait_daemon)
    await until(lambda: daemon.pid not in [one.pid for one in home.daemons()], "the daemon's end")


def outcomes(client: RawClient) -> collections.Counter[Any]:
    """How often each id was answered, of what was kept."""
    return collections.Counter(
        message["id"] for message in client.waiting if "method" not in message
    )


class Load:
    """A client that calls without pause, several calls in flight, and counts what comes back."""

    def __init__(self, client: RawClient, name: str) -> None:
        self.client = client
        self.name = name
        self.sent = 0
        self.answers: collections.Counter[int] = collections.Counter()
        self.broken = 0
        self.failed = 0
        self.stopping = False
        self.in_flight = trio.Semaphore(5)

    async def run(self) -> None:
        """Until `stopping`, and everything is answered."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._call)
            await self._read()
            nursery.cancel_scope.cancel()

    async def _call(self) -> None:
        while not self.stopping:
            await self.in_flight.acquire()
            if self.stopping:
                break
            self.sent += 1
            size = 300_000 if self.sent % 7 == 0 else 10
            params = {"name": self.name, "arguments": {"n": self.sent, "pad": "x" * size}}
            await self.client.request(self.sent, "tools/call", params)
        await self.client.request("last", "ping")

    async def _read(self) -> None:
        last = False
        while not (last and len(self.answers) == self.sent):
            line = await self.client.line()
            try:
                message = json.loads(line)
            except ValueError:
                self.broken += 1
                continue
            last = last or message.get("id") == "last"
            if "method" not in message and isinstance(message["id"], int):
                self._count(message)

    def _count(self, message: dict[str, Any]) -> None:
        if not self.answers[message["id"]]:
            self.in_flight.release()
        self.answers[message["id"]] += 1
        if "error" in message:
            self.failed += 1
            assert "the daemon was restarted" in error_of(message)["message"]
        else:
            assert message["result"]["who"] == self.name


def total(loads: list[Load]) -> int:
    """How many answers came."""
    return sum(load.answers.total() for load in loads)


# ---------------------------------------------------------------- under load


@MOSTLY_SLOW
async def test_under_load_sessions_go_on_and_every_call_ends_once(
    stage: Stage, upstream: scripted.Upstream, how: How
) -> None:
    @upstream.on("tools/call")
    async def work(exchange: scripted.Exchange) -> None:
        await trio.sleep(0.002)
        params = exchange.message["params"]
        await exchange.reply({"who": params["name"], "pad": params["arguments"]["pad"]})

    stage.remote(upstream)
    loads: list[Load] = []
    replaced = 3

    async def live(name: str, task_status: trio.TaskStatus[None]) -> None:
        async with stage.session("remote") as client:
            load = Load(client, name)
            loads.append(load)
            task_status.started()
            await load.run()
            assert await client.finish() == 0
            assert client.errors == b""

    async with trio.open_nursery() as nursery:
        for number in range(20):
            await nursery.start(live, f"client-{number}")
        for _ in range(replaced):
            wanted = total(loads) + 200
            await until(lambda: total(loads) > wanted, "answers", 30)  # noqa: B023
            await replace(stage.home, how)
        for load in loads:
            load.stopping = True
    for load in loads:
        twice = [ident for ident, count in load.answers.items() if count > 1]
        lost_or_twice = len(twice) + load.broken
        assert sorted(load.answers) == list(range(1, load.sent + 1))
        assert max(load.answers.values()) <= 2
        assert lost_or_twice <= (replaced if how == "kill" else 0), (twice, load.broken)
    assert sum(load.sent for load in loads) > 600
    if how != "kill":
        assert sum(load.failed for load in loads) == 0
    await until(lambda: len(stage.home.processes()) == 1, "the end of everything but the daemon")


# ---------------------------------------------------------------- one session, all endings


@HOWS
@pytest.mark.parametrize("kind", ["stdio", "http"])
async def test_an_idle_session_goes_on(
    stage: Stage, upstream: scripted.Upstream, how: How, kind: str
) -> None:
    stage.parrot(name="server") if kind == "stdio" else stage.remote(upstream, name="server")
    async with stage.session("server") as client:
        await client.ask(1, "test/one")
        for number in range(2, 5):
            await replace(stage.home, how)
            assert "result" in await client.ask(number, "test/more")
        await until(lambda: len(stage.home.daemons()) == 1, "one daemon")
        sessions = stage.home.api("GET", "/v1/status")[1]["sessions"]
        assert [session["client"] for session in sessions] == ["raw"]
        assert sessions[0]["pid"] == client.process.pid
        assert await client.finish() == 0
        assert client.errors == b""
        again = outcomes(client)  # each was answered before
        assert max(again.values(), default=0) <= 1
        assert len(again) <= (3 if how == "kill" else 0)
    await until(lambda: len(stage.home.processes()) == 1, "the end of everything but the daemon")


@pytest.mark.parametrize("form", ["script", "entry"])
async def test_a_call_in_flight_at_a_kill_fails_once_and_one_that_only_reads_is_made_again(
    stage: Stage, form: Any
) -> None:
    folder = stage.parrot()
    async with stage.session("parrot", form=form) as client:
        await client.request(1, "test/never")
        await client.request(2, "tools/call", {"name": "x"})
        await client.answer(2)
        held = {"count": 2}
        await client.request(3, "test/hold", held)
        await client.request(4, "resources/read", {"uri": "x:"})
        await client.answer(4)
        await client.request(5, "prompts/get", {"name": "slow"})
        await client.answer(5)
        await replace(stage.home, "kill")
        for ident in (1, 3):
            assert "the daemon was restarted" in error_of(await client.answer(ident))["message"]
        await client.ask(6, "test/pid")
        assert await client.finish() == 0
    heard = (folder / "heard").read_text().splitlines()
    assert sum('"initialize"' in line for line in heard) == 2
    assert sum('"notifications/initialized"' in line for line in heard) == 2


async def test_a_big_message_that_is_cut_in_the_middle_arrives_whole(stage: Stage) -> None:
    stage.parrot()
    text = json.dumps({"jsonrpc": "2.0", "id": 7, "method": "x", "params": {"x": "y" * 3_000_000}})
    data = text.encode() + b"\n"
    async with stage.session("parrot") as client:
        await client.write(data[:1_700_000])
        await replace(stage.home, "kill")
        await client.write(data[1_700_000:2_500_000])
        await replace(stage.home, "term")
        await client.write(data[2_500_000:])
        assert (await client.answer(7))["result"] == {}


@pytest.mark.parametrize("how", ["kill", "term"])
async def test_a_slow_reader_gets_whole_lines_and_every_answer(stage: Stage, how: How) -> None:
    stage.home.settings(drain_timeout_s=0.5)
    stage.parrot()
    async with stage.session("parrot") as client:
        for ident in range(4):
            await client.request(ident, "test/big", {"bytes": 700_000})
        await client.request(9, "test/pid")
        await trio.sleep(0.3)  # nobody reads: the pipe is full, the daemon holds the rest
        await replace(stage.home, how)
        answered: collections.Counter[int] = collections.Counter()
        broken = 0
        while len(answered) < 5:
            line = await client.line()
            if not line:
                continue
            try:
                message = json.loads(line)
            except ValueError:
                broken += 1
                continue
            if "method" not in message:
                answered[message["id"]] += 1
        assert set(answered.values()) == {1}
        assert broken <= (how == "kill")
        assert await client.finish() == 0


async def test_what_a_client_says_while_there_is_no_daemon_is_not_lost(stage: Stage) -> None:
    stage.parrot()
    async with stage.session("parrot") as client:
        client.process.send_signal(signal.SIGSTOP)
        (daemon,) = stage.home.daemons()
        os.kill(daemon.pid, signal.SIGKILL)
        await until(lambda: not stage.home.daemons(), "the daemon's end")
        await client.request(1, "test/pid")
        client.process.send_signal(signal.SIGCONT)
        assert "result" in await client.answer(1)


# ---------------------------------------------------------------- the client ends meanwhile


async def test_a_client_that_has_closed_its_input_meanwhile_is_let_go(stage: Stage) -> None:
    stage.parrot()
    async with stage.session("parrot") as client:
        client.process.send_signal(signal.SIGSTOP)
        (daemon,) = stage.home.daemons()
        os.kill(daemon.pid, signal.SIGKILL)
        await client.close_stdin()
        client.process.send_signal(signal.SIGCONT)
        assert await client.exit() == 0
    await until(lambda: len(stage.home.processes()) <= 1, "the end of everything but the daemon")


async def test_no_daemon_is_started_for_a_client_that_has_gone(stage: Stage) -> None:
    stage.parrot()
    async with stage.session("parrot") as client:
        client.process.send_signal(signal.SIGSTOP)
        (daemon,) = stage.home.daemons()
        os.kill(daemon.pid, signal.SIGKILL)
        await until(lambda: not stage.home.daemons(), "the daemon's end")
        assert client.process.stdin is not None
        assert client.process.stdout is not None
        await client.process.stdin.aclose()
        await client.process.stdout.aclose()
        client.process.send_signal(signal.SIGCONT)
        assert await client.exit() == 0
        assert stage.home.daemons() == []
    await until(lambda: not stage.home.processes(), "the end of all processes")


@pytest.mark.slow
async def test_a_stub_that_is_killed_with_its_daemon_leaves_nothing(stage: Stage) -> None:
    stage.parrot("--stubborn")
    async with stage.session("parrot") as client:
        await client.ask(1, "test/grandchild")
        (daemon,) = stage.home.daemons()
        client.kill()
        os.kill(daemon.pid, signal.SIGKILL)
        await client.exit()
    await until(lambda: not stage.home.processes(), "the end of all processes", 10)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["kill", "term"])
async def test_a_stubborn_server_does_not_outlive_its_daemon(stage: Stage, how: How) -> None:
    stage.parrot("--stubborn")
    async with stage.session("parrot") as client:
        child = (await client.ask(1, "test/pid"))["result"]["pid"]
        await replace(stage.home, how)
        assert (await client.ask(2, "test/pid"))["result"]["pid"] != child
        running = lambda: [one.pid for one in stage.home.processes()]  # noqa: E731
        await until(lambda: child not in running(), "the old server's end", 10)


async def test_a_session_whose_server_was_removed_meanwhile_ends_with_errors(stage: Stage) -> None:
    stage.parrot()
    async with stage.session("parrot") as client:
        await client.request(1, "test/never")
        await client.ask(2, "test/pid")
        (stage.home.config_dir / "servers" / "parrot.toml").unlink()
        await replace(stage.home, "kill")
        assert "parrot" in error_of(await client.answer(1))["message"]
        assert await client.exit() == 4


# ---------------------------------------------------------------- many, again and again


async def test_50_stubs_that_come_again_at_once_find_one_daemon(
    stage: Stage, upstream: scripted.Upstream
) -> None:
    stage.remote(upstream)
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(stage.session("remote")) for _ in range(50)]
        (daemon,) = stage.home.daemons()
        os.kill(daemon.pid, signal.SIGKILL)
        async with trio.open_nursery() as nursery:
            for client in clients:
                nursery.start_soon(client.call, 1, "x")
        assert len(stage.home.daemons()) == 1
        assert len(stage.logged("session.resumed")) == 50


@pytest.mark.slow
async def test_a_daemon_that_dies_again_and_again_is_given_up(stage: Stage) -> None:
    stage.parrot()
    async with stage.session("parrot") as client:
        times = 0
        with contextlib.suppress(EndOfOutputError):
            while times < 20:
                await client.ask(f"a{times}", "test/pid")
                await replace(stage.home, "kill")
                times += 1
        assert await client.exit() == 69
        assert b"again and again" in client.errors
        assert times == resuming.MOST + 1
    await until(lambda: not stage.home.processes(), "the end of all processes")


async def test_descriptors_and_memory_files_do_not_pile_up(stage: Stage) -> None:
    stage.parrot()

    def held() -> list[str]:
        (daemon,) = stage.home.daemons()
        links = []
        for fd in Path(f"/proc/{daemon.pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                links.append(os.readlink(fd))
        return sorted(link for link in links if "memfd" in link or "pipe" in link)

    async with stage.session("parrot") as client:
        await client.ask(1, "test/pid")
        first = len(held())
        for number in range(2, 5):
            await replace(stage.home, "term")
            await client.ask(number, "test/pid")
        await until(lambda: len(held()) == first, f"{first} pipes and files again")
        assert await client.finish() == 0
    await until(lambda: not [link for link in held() if "memfd" in link], "no file left")


# ---------------------------------------------------------------- copying


async def ids_to_the_end(client: RawClient) -> list[Any]:
    """Those of all answers that still come."""
    ids = []
    with contextlib.suppress(EndOfOutputError):
        while True:
            ids.append(json.loads(await client.line())["id"])
    return ids


@contextlib.asynccontextmanager
async def copied(stage: Stage, stdin: Any = subprocess.PIPE) -> AsyncIterator[RawClient]:
    """A client of the parrot whose stub must copy: stderr is on stdout's pipe; so it is for files and terminals."""
    argv = stage.home.attach("parrot")
    process = await trio.lowlevel.open_process(
        argv, env=stage.home.env, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    client = RawClient(process)
    client.errors_ended.set()
    try:
        yield client
        with trio.fail_after(40):
            assert await process.wait() == 0
    finally:
        with trio.CancelScope(shield=True), contextlib.suppress(ProcessLookupError):
            process.kill()
            await process.wait()
        assert process.stdout is not None
        await process.stdout.aclose()


@HOWS
async def test_a_stub_that_copies_a_file_that_has_ended_comes_again_too(
    stage: Stage, how: How
) -> None:
    stage.home.settings(drain_timeout_s=0.5)
    stage.parrot()
    hello = {"protocolVersion": "2025-11-25"}
    lines = (
        {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": hello},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": 1, "method": "test/never"},
    )
    file = stage.home.path / "requests"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with file.open("rb") as stdin:
        async with copied(stage, stdin) as client:
            await client.answer(0)
            await replace(stage.home, how)
            assert "restarted" in error_of(await client.answer(1))["message"]
            # What was being written at the instant of a `kill -9` may come twice.
            assert set(await ids_to_the_end(client)) <= ({0} if how == "kill" else set())


@HOWS
async def test_a_stub_that_copies_keeps_the_same_promise(stage: Stage, how: How) -> None:
    stage.home.settings(drain_timeout_s=0.5)
    stage.parrot()
    async with copied(stage) as client:
        await client.initialize()
        await client.request(1, "test/never")
        await client.ask(2, "test/big", {"bytes": 500_000})
        await client.ask(3, "test/pid")
        await replace(stage.home, how)
        assert "restarted" in error_of(await client.answer(1))["message"]
        again = await client.ask(4, "test/big", {"bytes": 500_000})
        assert len(again["result"]["text"]) == 500_000
        await client.close_stdin()


# ---------------------------------------------------------------- stopping for good


async def test_mcpctl_daemon_stop_ends_the_sessions(stage: Stage) -> None:
    stage.parrot()
    async with stage.session("parrot") as client:
        done = await stage.home.ask("daemon", "stop")
        assert done.code == 0, done.err
        assert await client.exit() == 69
        assert b"the daemon is stopping" in client.errors
    await until(lambda: not stage.home.processes(), "the end of all processes")


def test_a_client_of_the_command_line_is_told_when_its_daemon_goes(home: Home) -> None:
    home.settings(drain_timeout_s=0.3)
    folder = home.path / "parrot"
    folder.mkdir()
    command = [sys.executable, "-I", "-S", str(FIXTURES / "parrot.py"), str(folder)]
    home.add("parrot", command=command)
    home.mcpctl("daemon", "start")
    argv = [program("mcpctl"), "call", "parrot", "x"]
    (folder / "answer").write_bytes(b"")  # nothing is answered
    process = subprocess.Popen(argv, env=home.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    heard = folder / "heard"
    with contextlib.suppress(AssertionError):
        _wait_for(lambda: heard.exists() and b"initialize" in heard.read_bytes())
    home.stop_daemon()
    _, err = process.communicate(timeout=30)
    assert process.returncode != 0
    assert err
    _wait_for(lambda: not home.processes())


def _wait_for(condition: Any) -> None:
    from harness import wait_until

    wait_until(condition, "what is expected")
