"""A server that is a process of ours; what all transports do is in the contract suite."""

import os
import signal
import sys
from typing import Any

import pytest
import trio

from mcpctld.model import ServerSpec
from mcpctld.protocols.jsonrpc import parse
from mcpctld.upstreams import stdio
from sessions.client import Attachment, attached, bounded, error_of, journal

SAY = "import json, os, signal, sys, time\n"
ANSWER = (
    SAY
    + """
def answer(line, result=None):
    message = json.loads(line)
    if "id" in message:
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)
"""
)
ECHO = ANSWER + "for line in sys.stdin: answer(line, json.loads(line).get('params'))\n"


def child(program: str, **more: Any) -> ServerSpec:
    return ServerSpec(command=[sys.executable, "-I", "-S", "-c", program], **more)


async def gone(client: Attachment, ident: int = 1) -> str:
    """The error that the end of the process gave to a call."""
    error = error_of(await client.answer(ident))
    code, text = await client.released()
    assert code == 6
    assert text == error["message"]
    return str(error["message"])


# ---------------------------------------------------------------- beginning


@bounded
async def test_it_runs_with_its_own_environment_and_folder(tmp_path):
    program = ANSWER + "for line in sys.stdin: answer(line, [dict(os.environ), os.getcwd()])\n"
    spec = child(program, env={"ONLY": "this"}, cwd=str(tmp_path))
    async with attached(spec) as client:
        environment, folder = (await client.ask(1, "x"))["result"]
        assert {k: v for k, v in environment.items() if k != "LC_CTYPE"} == {"ONLY": "this"}
        assert folder == str(tmp_path)


@bounded
@pytest.mark.parametrize("command", ["/nonexistent/program", "/etc/passwd"])
async def test_a_program_that_cannot_be_started_is_named(command: str):
    async with attached(ServerSpec(command=[command])) as client:
        await client.send(id=1, method="initialize")
        error = error_of(await client.answer(1))
        assert command in error["message"]
        assert error["data"]["kind"] == "bad-request"
        code, text = await client.released()
        assert code == 2
        assert command in text


@bounded
async def test_a_session_that_ends_while_its_process_starts_leaves_none():
    for _ in range(10):
        with journal() as log:
            async with attached(child(ECHO)) as client:
                await client.kill()
                await client.ended.wait()
        for record in log.of("server.started"):
            with pytest.raises(ProcessLookupError):
                os.kill(record.pid, 0)


# ---------------------------------------------------------------- what it says


@bounded
async def test_garbage_on_stdout_is_logged_up_to_a_bound_and_never_delivered():
    program = ANSWER + "print('noise \\udc80' * 9)\nfor line in sys.stdin:\n"
    program = program.replace("\\udc80", "!") + "    print('noise\\n' * 1000); answer(line)\n"
    with journal() as log:
        async with attached(child(program)) as client:
            await client.send(id=1, method="x")
            assert (await client.message())["id"] == 1
    garbage = log.of("server.garbage")
    assert len(garbage) == stdio.MAX_GARBAGE_LOGGED
    assert all(len(record.line) <= 200 for record in garbage)


@bounded
async def test_a_message_without_its_newline_at_the_end_counts():
    program = SAY + 'sys.stdout.write(\'{"jsonrpc":"2.0","method":"bye"}\'); sys.stdout.flush()\n'
    async with attached(child(program)) as client:
        assert (await client.message())["method"] == "bye"


@bounded
async def test_stderr_goes_to_the_client_and_to_the_log():
    program = (
        ANSWER
        + "for line in sys.stdin: sys.stderr.write('hey\\n'); sys.stderr.flush(); answer(line)\n"
    )
    with journal() as log:
        async with attached(child(program)) as client:
            await client.ask(1, "x")
            assert await client.stderr.receive_some(100) == b"hey\n"
    assert [record.line for record in log.of("server.stderr")] == ["hey"]


@bounded
async def test_stderr_that_nobody_reads_holds_up_nothing():
    program = ANSWER + (
        "for line in sys.stdin:\n"
        "    for _ in range(64): sys.stderr.write('x' * 65535 + '\\n')\n"
        "    answer(line)\n"
    )
    async with attached(child(program)) as client:
        for ident in range(3):
            await client.ask(ident, "x")


@bounded
async def test_stderr_that_the_client_closed_holds_up_nothing():
    program = (
        ANSWER
        + "for line in sys.stdin: sys.stderr.write('hey\\n'); sys.stderr.flush(); answer(line)\n"
    )
    async with attached(child(program)) as client:
        await client.stderr.aclose()
        for ident in range(3):
            await client.ask(ident, "x")


@bounded
async def test_a_line_of_stderr_without_end_is_cut():
    program = ANSWER + "sys.stderr.write('x' * 200000 + '\\n' + 'last'); sys.exit(1)\n"
    with journal() as log:
        async with attached(child(program)) as client:
            await client.send(id=1, method="x")
            said = await gone(client)
    assert said.endswith("x | last")
    assert all(len(record.line) <= 2000 for record in log.of("server.stderr"))


# ---------------------------------------------------------------- ending


@bounded
async def test_an_exit_is_told_with_its_code_and_last_words():
    program = SAY + (
        "sys.stdin.readline()\n"
        "for n in range(9): print('line', n, file=sys.stderr)\n"
        "print('\\x1b[31mred', file=sys.stderr)\n"
        "sys.exit(3)\n"
    )
    async with attached(child(program)) as client:
        await client.send(id=1, method="x")
        error = error_of(await client.answer(1))
        said = error["message"]
        assert "the process of somebody exited with code 3" in said
        assert "line 5 | line 6 | line 7 | line 8 | " in said
        assert "line 4" not in said
        code, text = await client.released()
        assert code == 6
        assert text.isprintable()


@bounded
async def test_a_signal_is_told_by_number_and_name():
    program = SAY + "sys.stdin.readline(); os.kill(os.getpid(), signal.SIGSEGV)\n"
    async with attached(child(program)) as client:
        await client.send(id=1, method="x")
        assert "was killed by signal 11 (SIGSEGV)" in await gone(client)


@bounded
async def test_a_process_that_leaves_another_behind_has_ended_all_the_same():
    program = SAY + (
        "import subprocess\n"
        "sys.stdin.readline()\n"
        "subprocess.Popen([sys.executable, '-I', '-S', '-c', 'import time; time.sleep(1000)'])\n"
        "print(json.dumps({'jsonrpc': '2.0', 'method': 'bye'}), flush=True)\n"
        "os._exit(0)\n"
    )
    async with attached(child(program)) as client:
        await client.send(id=1, method="x")
        await client.notified("bye")
        assert "exited with code 0" in await gone(client)


@bounded
async def test_what_a_dead_process_has_written_still_arrives_however_slowly_it_is_read():
    program = SAY + (
        "sys.stdin.readline()\n"
        "for n in range(64):\n"
        "    print(json.dumps({'jsonrpc': '2.0', 'method': 'n', 'params': ['x' * 65536]}))\n"
        "sys.stdout.flush()\n"
        "os._exit(0)\n"
    )
    async with attached(child(program)) as client:
        await client.send(id=1, method="x")
        for _ in range(64):
            assert (await client.message())["method"] == "n"
        await gone(client)


@bounded
async def test_a_process_that_closes_its_stdout_has_ended_the_session():
    program = SAY + "os.close(1); time.sleep(1000)\n"
    async with attached(child(program)) as client:
        await client.send(id=1, method="x")
        assert "closed its stdout" in await gone(client)


@bounded
async def test_a_process_that_closes_its_stdin_has_ended_the_session_too():
    program = SAY + 'os.close(0); print(\'{"method":"deaf"}\', flush=True); time.sleep(1000)\n'
    async with attached(child(program)) as client:
        await client.notified("deaf")
        await client.send(id=1, method="x")
        assert "does not read its stdin" in await gone(client)


@bounded
async def test_the_end_of_the_client_is_no_error_of_the_server():
    with journal() as log:
        async with attached(child(ECHO)) as client:
            await client.ask(1, "x")
            assert await client.finish() == (0, "")
            await client.ended.wait()
            assert client.session.info()["last_error"] is None
    assert log.of("session.error") == []


def test_signals_without_a_name_have_a_number():
    assert stdio._signal_name(signal.SIGKILL) == "SIGKILL"
    assert stdio._signal_name(250) == "unknown"


@bounded
async def test_what_is_sent_before_the_process_has_started_is_kept_and_bounded():
    """The first lines of a client come before any process can have started."""
    async with attached(child(ECHO)) as client:
        upstream = client.session._upstream
        while upstream is None:
            await trio.lowlevel.checkpoint()
            upstream = client.session._upstream
        big = parse(b'{"jsonrpc":"2.0","method":"x","params":"%s"}' % (b"y" * 600_000))
        upstream.send(big)
        assert not upstream.full
        upstream.send(big)
        assert upstream.full
        await upstream.wait_room()
        assert not upstream.full
        assert (await client.ask(1, "x"))["result"] == {}
