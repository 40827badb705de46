"""However a session ends: nothing is left behind, nothing hangs, and the log says what happened."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from e2e import real
from e2e.rawclient import EndOfOutputError, RawClient
from e2e.stage import Stage, error_of
from fixtures import scripted
from harness import FIXTURES, Home, until

KILLED_BY_9 = -signal.SIGKILL


def alive(pid: int) -> bool:
    """Whether a process lives; a zombie does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def descriptors(pid: int) -> int:
    """How many a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def children(pid: int) -> list[str]:
    """The processes that it has started and not yet waited for, zombies included."""
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


async def only_the_daemon_is_left(home: Home) -> None:
    """Everything that the session had started has gone."""
    await until(
        lambda: all(process.is_daemon for process in home.processes()),
        f"the end of everything but the daemon, there are {home.processes()}",
    )


async def session_closed(stage: Stage, reason: str) -> None:
    """The log tells of the end, and why."""
    await until(lambda: stage.logged("session.closed"), "session.closed in the log")
    assert stage.logged("session.closed")[-1]["reason"] == reason


# ---------------------------------------------------------------- the client's side


async def test_end_of_input_ends_the_session_with_exit_code_0(
    stage: Stage, upstream: scripted.Upstream
) -> None:
    stage.remote(upstream)
    async with stage.session("remote") as client:
        assert await client.finish() == 0
        assert client.errors == b""
        with pytest.raises(EndOfOutputError):
            await client.line()
    deleted = await upstream.wait_for("DELETE")
    assert deleted.headers["mcp-session-id"] == scripted.SESSION
    assert deleted.headers["mcp-protocol-version"] == "2025-11-25"
    await session_closed(stage, "end of input")


async def test_calls_in_flight_at_the_end_of_input_are_still_answered(
    stage: Stage, upstream: scripted.Upstream
) -> None:
    go_on = trio.Event()

    @upstream.on("tools/call")
    async def later(exchange: scripted.Exchange) -> None:
        await go_on.wait()
        await exchange.reply({"late": True})

    stage.remote(upstream)
    async with stage.session("remote") as client:
        await client.request(1, "tools/call")
        await client.close_stdin()
        await upstream.wait_for("tools/call")
        go_on.set()
        assert (await client.answer(1))["result"] == {"late": True}
        assert await client.exit() == 0


@pytest.mark.parametrize("flags", [[], ["--stubborn"]], ids=["willing", "stubborn"])
async def test_a_local_server_and_what_it_started_end_with_the_session(
    stage: Stage, flags: list[str]
) -> None:
    stage.parrot(*flags)
    async with stage.session("parrot") as client:
        grandchild = (await client.ask(1, "test/grandchild"))["result"]["pid"]
        child = (await client.ask(2, "test/pid"))["result"]["pid"]
        assert alive(child)
        assert alive(grandchild)
        assert await client.finish() == 0
    await only_the_daemon_is_left(stage.home)
    await until(lambda: not alive(child) and not alive(grandchild), "the end of both")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("form", ["script", "entry"])
async def test_a_stub_that_is_ended_by_a_signal_takes_its_session_along(
    stage: Stage, upstream: scripted.Upstream, number: signal.Signals, form
) -> None:
    stage.remote(upstream)
    async with stage.session("remote", form=form) as client:
        client.kill(number)
        await client.exit()
        await upstream.wait_for("DELETE")
        # Nobody answers any more, and the client can tell.
        with pytest.raises(EndOfOutputError):
            await client.line()
    await session_closed(stage, "stub gone")


async def test_a_killed_stub_leaves_no_local_server_and_no_call_hanging(stage: Stage) -> None:
    stage.parrot()
    async with stage.session("parrot") as client:
        await client.request(1, "test/never")
        client.kill()
        with trio.fail_after(5), contextlib.suppress(EndOfOutputError):
            while True:
                await client.line()
    await only_the_daemon_is_left(stage.home)


@pytest.mark.parametrize("kind", ["stdio", "http"])
async def test_a_client_killed_with_9_leaves_nothing(
    stage: Stage, upstream: scripted.Upstream, kind: str
) -> None:
    stage.parrot() if kind == "stdio" else stage.remote(upstream, name="parrot")
    words = [sys.executable, str(FIXTURES / "doomed_client.py"), *stage.home.attach("parrot")]
    client = await trio.lowlevel.open_process(words, env=stage.home.env, stdout=subprocess.PIPE)
    assert client.stdout is not None
    with trio.fail_after(20):
        assert b'"result"' in await client.stdout.receive_some()
    client.kill()
    await client.wait()
    await client.stdout.aclose()
    await only_the_daemon_is_left(stage.home)
    await until(lambda: stage.logged("session.closed"), "session.closed in the log")
    if kind == "http":
        await upstream.wait_for("DELETE")


# ---------------------------------------------------------------- the server's side


async def test_a_local_server_killed_with_9_fails_its_calls_by_name_and_is_started_again(
    stage: Stage,
) -> None:
    stage.parrot()
    async with stage.session("parrot") as client:
        grandchild = (await client.ask(1, "test/grandchild"))["result"]["pid"]
        child = (await client.ask(2, "test/pid"))["result"]["pid"]
        await client.request(3, "test/never")
        await client.request("four", "test/never")
        await client.ask(5, "test/pid")
        os.kill(child, signal.SIGKILL)
        for ident in (3, "four"):
            error = error_of(await client.answer(ident))
            assert "parrot was killed by signal 9" in error["message"]
            assert error["data"]["kind"] == "unreachable"
        assert (await client.ask(6, "test/pid"))["result"]["pid"] != child
        assert await client.finish() == 0
    await only_the_daemon_is_left(stage.home)
    await until(lambda: not alive(grandchild), "the end of what the server had started")
    assert "killed by signal 9" in stage.logged("session.error")[0]["error"]


async def test_the_last_words_of_a_local_server_are_in_the_error(stage: Stage) -> None:
    stage.parrot()
    async with stage.session("parrot") as client:
        words = "ModuleNotFoundError: No module named 'plumage'"
        answer = await client.ask(1, "test/leave", {"code": 3, "words": words})
        assert "exited with code 3" in error_of(answer)["message"]
        assert words in error_of(answer)["message"]
    assert words in {line["line"] for line in stage.logged("server.stderr")}


async def test_an_http_server_killed_with_9_fails_its_calls_within_a_bound(
    stage: Stage,
) -> None:
    server = stage.home.serve(*real.HOUSE, "http")
    stage.remote(f"{server.base}/mcp", connect_timeout_s=0.5)
    async with stage.session("remote") as client:
        for ident in range(3):
            await client.request(
                ident,
                "tools/call",
                {
                    "name": "wait_for_cancel",
                    "arguments": {"label": "x"},
                    "_meta": {"progressToken": ident},
                },
            )
            await client.notified("notifications/progress")
        server.process.kill()
        with trio.fail_after(8):
            for ident in range(3):
                assert error_of(await client.answer(ident))["data"]["kind"] == "unreachable"
            # And the next call does not hang, either.
            error = error_of(await client.call(7, "echo", text="hello"))
        assert error["data"]["kind"] == "unreachable"
        assert f"127.0.0.1:{server.port}" in error["message"]
        assert await client.finish() == 0
    assert any("unreachable" in line["kind"] for line in stage.logged("session.error"))


async def test_after_a_restart_of_the_http_server_the_same_session_works_again(
    stage: Stage, upstream: scripted.Upstream
) -> None:
    """What the client sees of a lost session is an answer, not an error (2025-11-25, "Session")."""
    sessions = iter(["before", "after"])
    current = ""

    @upstream.on("initialize")
    async def open_session(exchange: scripted.Exchange) -> None:
        nonlocal current
        current = next(sessions)
        await exchange.reply(scripted.initialized(exchange), ("Mcp-Session-Id", current))

    @upstream.on("tools/call")
    async def forgetful(exchange: scripted.Exchange) -> None:
        if exchange.headers.get("mcp-session-id") != current:
            await exchange.answer(404)
        else:
            await exchange.reply({"session": current})

    stage.remote(upstream)
    async with stage.session("remote") as client:
        assert (await client.call(1, "x"))["result"] == {"session": "before"}
        current = "nobody knows this one"
        assert (await client.call(2, "x"))["result"] == {"session": "after"}
        # The client's own words are said again to the new session.
        again = upstream.calls("initialize")[1].message["params"]
        assert again["clientInfo"]["name"] == "raw"
        assert len(upstream.calls("notifications/initialized")) == 2


# ---------------------------------------------------------------- the daemon


async def test_sigterm_lets_calls_in_flight_finish_and_the_session_goes_on_elsewhere(
    stage: Stage, upstream: scripted.Upstream
) -> None:
    draining = trio.Event()

    @upstream.on("tools/call")
    async def later(exchange: scripted.Exchange) -> None:
        await draining.wait()
        await exchange.reply({"finished": True})

    stage.remote(upstream)
    pid = stage.home.start_daemon()
    async with stage.session("remote") as client:
        await client.request(1, "tools/call")
        await upstream.wait_for("tools/call")
        assert stage.home.daemon is not None
        stage.home.daemon.terminate()
        await until(lambda: stage.logged("daemon.draining"), "daemon.draining in the log")
        draining.set()
        assert (await client.answer(1))["result"] == {"finished": True}
        assert await trio.to_thread.run_sync(stage.home.wait_daemon) == 0
        assert (await client.call(2, "x"))["result"] == {"finished": True}
        assert [daemon.pid for daemon in stage.home.daemons()] != [pid]
        assert await client.finish() == 0
        assert client.errors == b""


async def test_calls_that_take_longer_than_the_bound_fail_in_the_next_daemon(stage: Stage) -> None:
    stage.home.settings(drain_timeout_s=0.3)
    stage.parrot()
    stage.home.start_daemon()
    async with stage.session("parrot") as client:
        await client.request(1, "test/never")
        await client.ask(2, "test/pid")
        assert stage.home.daemon is not None
        stage.home.daemon.terminate()
        assert "the daemon was restarted" in error_of(await client.answer(1))["message"]
        assert await client.finish() == 0
    assert await trio.to_thread.run_sync(stage.home.wait_daemon) == 0


async def test_a_daemon_that_is_told_to_stop_by_the_api_ends_its_sessions(stage: Stage) -> None:
    stage.home.settings(drain_timeout_s=0.3)
    stage.parrot()
    stage.home.start_daemon()
    async with stage.session("parrot") as client:
        await client.request(1, "test/never")
        await client.ask(2, "test/pid")
        assert stage.home.api("POST", "/v1/shutdown")[0] == 200
        assert "the daemon is stopping" in error_of(await client.answer(1))["message"]
        assert await client.exit() == 69
        assert b"the daemon is stopping" in client.errors
    assert await trio.to_thread.run_sync(stage.home.wait_daemon) == 0
    await until(lambda: stage.home.processes() == [], "the end of all processes")
    assert list(stage.home.runtime_dir.glob("*.sock")) == []


async def hang_up(client: RawClient) -> None:
    """Close both of the client's pipes at once."""
    assert client.process.stdin is not None
    assert client.process.stdout is not None
    await client.process.stdin.aclose()
    await client.process.stdout.aclose()


async def test_a_hundred_short_sessions_leave_no_descriptor_and_no_zombie(stage: Stage) -> None:
    stage.parrot()
    stage.home.start_daemon()
    (daemon,) = stage.home.daemons()

    async def live() -> None:
        async with stage.session("parrot") as client:
            await hang_up(client)
            await client.exit()

    async def ten() -> int:
        for _ in range(10):
            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(live)
        await only_the_daemon_is_left(stage.home)
        return descriptors(daemon.pid)

    first = await ten()
    for _ in range(2):
        await ten()
    await until(lambda: descriptors(daemon.pid) <= first, f"no more than {first} descriptors")
    assert children(daemon.pid) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_the_daemon_goes_leaves_it_the_time_to_tidy_up(
    number: signal.Signals,
) -> None:
    """Its sockets would stay: between the end of what hears signals and its own there is a moment."""
    code = (
        "import signal; from mcpctld.run import Signals; signals = Signals(); signals.stopping = True\n"
        f"signal.raise_signal({number}); print('tidied up', flush=True)\n"
        f"signals.stopping = False; signal.raise_signal({number}); print('not reached')"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (-number, "tidied up\n")
