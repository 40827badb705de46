"""One process of the server, a real one: what its misbehaviour does to clients."""

import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import trio

from mcpctld.drivers.outbox import ROOM
from mcpctld.upstreams.stdio import Stdio
from mcpctld.wrap import conversation
from mcpctld.wrap.conversation import MOST_UNHEARD, Conversation
from wrap.stage import Stage, call, initialize, modern, stage

PARROT = str(Path(__file__).parent.parent / "fixtures" / "parrot.py")
GARBAGE = """
import sys, runpy
print("Welcome to the server!", flush=True)
print('{"jsonrpc":"2.0","id":', flush=True)
sys.stdout.buffer.write(b"\\xff\\xfe\\0" + b"x" * 100000 + b"\\n"); sys.stdout.flush()
print('{"jsonrpc":"2.0","id":"init","result":7,"error":7}x', flush=True)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
PATIENCE_S = 20.0


@contextlib.asynccontextmanager
async def real(*command: str, health: bool = False, most: int = 8) -> AsyncIterator[Stage]:
    """A front over real processes, in real time."""
    async with stage(most=most) as made:
        setattr(conversation, "Stdio", Stdio)  # noqa: B010  (the stage puts it back)
        server = made.world.server
        env = {"PATH": os.environ["PATH"]}
        spec = msgspec.structs.replace(server.spec, command=list(command), env=env)
        made.world.server = msgspec.structs.replace(server, spec=spec)
        if health:
            made.world.nursery.start_soon(made.front.health.run)
        with trio.fail_after(PATIENCE_S):
            yield made


def parrot(folder: Path) -> tuple[str, ...]:
    return sys.executable, PARROT, str(folder)


async def begin(made: Stage) -> str:
    reply = await made.post(initialize()).wait()
    assert reply.status == 200, reply.body
    return f"Mcp-Session-Id: {reply.headers['mcp-session-id']}"


def ask(ident: int, method: str, **params) -> dict:
    return {"jsonrpc": "2.0", "id": ident, "method": method, "params": params}


async def test_a_process_that_dies_is_named_with_its_last_words_and_started_again(tmp_path: Path):
    async with real(*parrot(tmp_path)) as made:
        session = await begin(made)
        silent = made.post(ask(1, "test/never"), session)
        leaving = made.post(ask(2, "test/leave", words="out of memory", code=3), session)
        for reply in silent, leaving:
            await reply.wait()
            assert "exited with code 3: out of memory" in reply.error["message"]
        first = tmp_path.joinpath("heard").read_text().count('"initialize"')
        again = await made.post(call(3), session).wait()
        assert (again.messages or [again.json])[-1]["id"] == 3
        assert tmp_path.joinpath("heard").read_text().count('"initialize"') == first + 1


async def test_garbage_on_stdout_harms_nobody(tmp_path: Path):
    async with real(sys.executable, "-c", GARBAGE, PARROT, str(tmp_path)) as made:
        session = await begin(made)
        reply = await made.post(call(1), session).wait()
        assert (reply.messages or [reply.json])[-1]["result"] == {}


async def test_a_process_that_exits_at_once_says_why_everywhere():
    words = "echo cannot open the database >&2; exit 4"
    async with real("/bin/sh", "-c", words, health=True) as made:
        await made.front.health.wait_known()
        for reply in made.post(initialize()), made.ask(modern(1)):
            await reply.wait()
            assert "exited with code 4: cannot open the database" in reply.error["message"]
        said = made.request("GET", "/health", b"")
        assert said.status == 503
        assert "cannot open the database" in said.json["reason"]
        assert made.world.figures.children_failed >= 2


async def test_a_program_that_cannot_be_started_is_named():
    async with real("/nowhere/to/be/found") as made:
        reply = await made.post(initialize()).wait()
        assert "/nowhere/to/be/found" in reply.error["message"]


def big(session: str, made: Stage, count: int) -> list[int]:
    """POST so many notifications of 200 kB: the statuses."""
    message = {"jsonrpc": "2.0", "method": "notifications/x", "params": {"x": "x" * 200_000}}
    return [made.post(message, session).status for _ in range(count)]


async def test_a_process_that_never_reads_is_sent_no_more_than_a_bound(tmp_path: Path):
    async with real("/bin/sleep", "600") as made:
        opened = made.post(initialize())
        (found,) = made.front.sessions
        session = f"Mcp-Session-Id: {found.id}"
        statuses = big(session, made, 40)
        accepted = statuses.count(202)
        assert statuses == [202] * accepted + [503] * (40 - accepted)
        assert MOST_UNHEARD <= accepted * 200_100 <= MOST_UNHEARD + 400_000
        made.delete(session)
        assert "closed" in (await opened.wait()).error["message"]


async def test_one_that_stops_reading_is_sent_no_more_than_a_bound(tmp_path: Path):
    async with real(*parrot(tmp_path)) as made:
        session = await begin(made)
        stopped = await made.post(ask(1, "test/pid"), session).wait()
        pid = (stopped.messages or [stopped.json])[-1]["result"]["pid"]
        os.kill(pid, signal.SIGSTOP)
        statuses = big(session, made, 40)
        accepted = statuses.count(202)
        assert statuses == [202] * accepted + [503] * (40 - accepted)
        assert accepted * 200_000 <= 4 * ROOM  # with what the kernel keeps
        os.kill(pid, signal.SIGCONT)
        while (reply := made.post(call(2), session)).status == 503:  # noqa: ASYNC110  (its own time)
            await trio.sleep(0.02)
        assert (await reply.wait()).status == 200


async def test_the_whole_group_of_a_process_ends_with_its_session(tmp_path: Path):
    async with real(*parrot(tmp_path)) as made:
        session = await begin(made)
        reply = await made.post(ask(1, "test/grandchild"), session).wait()
        child = (reply.messages or [reply.json])[-1]["result"]["pid"]
        assert alive(child)
        made.delete(session)
        while alive(child):  # noqa: ASYNC110  (nobody tells)
            await trio.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


async def test_a_session_is_named_in_the_log_but_not_so_that_it_could_be_used(
    autojump_clock, caplog
):
    caplog.set_level("INFO")
    async with stage() as made:
        session = await made.initialize()
        made.processes[0].die()
        await made.post(call(1), session).wait()
    id = session.removeprefix("Mcp-Session-Id: ")
    assert caplog.records
    for record in caplog.records:
        assert id not in str(vars(record))
    assert any(str(vars(record).get("session", "")) in id for record in caplog.records)


async def test_what_is_said_before_there_is_a_process_comes_first(autojump_clock):
    async with stage() as made:
        reply = made.post(initialize())
        (session,) = made.front.sessions
        assert isinstance(session.conversation, Conversation)
        assert session.conversation.bridge is None
        session.conversation.forget(b"1")  # of nobody's interest yet
        made.post(
            {"jsonrpc": "2.0", "method": "notifications/initialized"},
            f"Mcp-Session-Id: {session.id}",
        )
        await reply.wait()
        await made.asked("notifications/initialized")
        assert [b"initialize" in line for line in made.processes[0].sent] == [True, True]
        session.close()
        await trio.testing.wait_all_tasks_blocked()
        assert not made.front.running
