"""Connections: when they close, what a stop does to them, and that nothing of them stays behind."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import trio
import trio.testing
from hypercorn.trio.tcp_server import TCPServer

from mcpctld.api.serve import GRACE_S, KEEP_ALIVE_S, serve

END_OF_CHUNKS = b"\r\n0\r\n\r\n"


async def test_connection_close_gives_the_end_of_file_at_once(api, tools, autojump_clock):
    begin = trio.current_time()
    for path in ("/v1/status", "/nowhere"):
        stream = await api.send(f"GET {path}", "Connection: close\r\n")
        with trio.fail_after(tools.bound_s):
            answer = await tools.to_end(stream)
        assert b"\r\n\r\n{" in answer
    assert trio.current_time() == begin


async def test_an_idle_connection_is_closed_when_its_time_is_up(api, tools, autojump_clock):
    stream = await api.send("GET /v1/health")
    await tools.until(stream, b'"ok"}\n')
    begin = trio.current_time()
    with trio.fail_after(2 * KEEP_ALIVE_S):
        assert await stream.receive_some(1) == b""
    assert trio.current_time() - begin == KEEP_ALIVE_S


async def test_a_connection_is_used_again_and_stays_open_between_requests(api, tools):
    stream = await api.connect()
    for _ in range(3):
        await api.send_on(stream, "GET /v1/health")
        await tools.until(stream, b'"ok"}\n')


async def test_pipelined_requests_are_answered_in_order(api, tools):
    stream = await api.connect()
    await api.send_on(stream, "GET /v1/health")
    await api.send_on(stream, "GET /nowhere", "Connection: close\r\n")
    with trio.fail_after(tools.bound_s):
        answer = await tools.to_end(stream)
    assert answer.index(b"200") < answer.index(b"404")


async def test_a_handler_learns_that_its_client_left(api, engine, tools):
    engine.gate = trio.Event()
    stream = await api.send("POST /v1/reload")
    with trio.fail_after(tools.bound_s):
        await engine.reloading.wait()
        await stream.aclose()
        await engine.reload_cancelled.wait()


async def test_the_socket_file_is_neither_replaced_nor_removed(api, listener):
    before = os.stat(api.path)
    await api.http.get("/v1/health")
    await api.stop()
    after = os.stat(api.path)
    assert (after.st_ino, after.st_mode) == (before.st_ino, before.st_mode)
    assert stat.S_IMODE(after.st_mode) == 0o600
    assert listener.fileno() >= 0


async def test_a_stopped_api_can_be_served_again_on_the_same_socket(api, listener, engine):
    await api.http.get("/v1/health")
    await api.stop()
    async with trio.open_nursery() as nursery:
        await nursery.start(
            lambda task_status: serve(listener.fileno(), engine, task_status=task_status)
        )
        assert (await api.http.get("/v1/health")).status_code == 200
        nursery.cancel_scope.cancel()


async def test_no_descriptor_can_be_inherited_by_a_child(api, listener):
    await api.http.get("/v1/health")
    sockets = [int(name) for name in os.listdir("/dev/fd") if is_socket(int(name))]
    assert len(sockets) > 2
    assert not any(os.get_inheritable(fd) for fd in sockets if fd > 2)


def is_socket(fd: int) -> bool:
    try:
        return stat.S_ISSOCK(os.fstat(fd).st_mode)
    except OSError:  # the one that listed the folder
        return False


async def test_stopping_ends_idle_connections_and_streams_at_once(api, tools, autojump_clock):
    idle = await api.send("GET /v1/health")
    await tools.until(idle, b'"ok"}\n')
    silent = await api.connect()
    streams = [await api.send("GET /v1/events") for _ in range(3)]
    for stream in streams:
        await tools.until(stream, b": listening\n\n")
    begin = trio.current_time()
    await api.stop()
    assert trio.current_time() == begin
    for stream in streams:
        assert (await tools.to_end(stream)).endswith(END_OF_CHUNKS[2:])
    assert await tools.to_end(idle) == b""
    assert await tools.to_end(silent) == b""


async def test_stopping_lets_an_answer_under_way_finish(api, engine, tools, autojump_clock):
    engine.gate = trio.Event()
    stream = await api.send("POST /v1/reload")
    await engine.reloading.wait()
    api.scope.cancel()
    await trio.testing.wait_all_tasks_blocked()
    engine.gate.set()
    assert b'{"servers":["time"]' in await tools.to_end(stream)
    await api.stop()
    assert not engine.reload_cancelled.is_set()


async def test_stopping_does_not_wait_for_a_handler_that_hangs(api, engine, tools, autojump_clock):
    engine.gate = trio.Event()
    stream = await api.send("POST /v1/reload")
    await engine.reloading.wait()
    begin = trio.current_time()
    await api.stop()
    assert trio.current_time() - begin == GRACE_S
    assert engine.reload_cancelled.is_set()
    assert await tools.to_end(stream) == b""


async def test_stopping_does_not_wait_for_clients_that_do_not_read(
    api, engine, tools, autojump_clock
):
    for _ in range(5):
        stream = await api.send("GET /v1/events")
        await tools.until(stream, b": listening\n\n")
    for _ in range(500):
        engine.events.publish("session.error", {"padding": "x" * 4000})
    await trio.testing.wait_all_tasks_blocked()
    begin = trio.current_time()
    await api.stop()
    assert trio.current_time() - begin == GRACE_S


async def test_stopping_leaves_no_task_behind(api, engine, tools, autojump_clock):
    idle = trio.lowlevel.current_statistics().tasks_living - 1  # `serve` itself ends too
    engine.gate = trio.Event()
    await api.send("POST /v1/reload")
    await tools.until(await api.send("GET /v1/events"), b": listening\n\n")
    await api.stop()
    await trio.testing.wait_all_tasks_blocked()
    assert trio.lowlevel.current_statistics().tasks_living < idle


async def test_a_thousand_requests_leave_neither_descriptors_nor_tasks(api, tools):
    await one_round(api, tools, 20)
    descriptors = len(os.listdir("/dev/fd"))
    tasks = trio.lowlevel.current_statistics().tasks_living
    await one_round(api, tools, 500)
    assert len(os.listdir("/dev/fd")) == descriptors
    assert trio.lowlevel.current_statistics().tasks_living == tasks


async def one_round(api, tools, count: int) -> None:
    """`count` requests on connections of their own, and as many on one that is kept."""
    kept = await trio.open_unix_socket(api.path)
    for _ in range(count):
        async with await trio.open_unix_socket(api.path) as own:
            await api.send_on(own, "GET /v1/health", "Connection: close\r\n")
            await tools.to_end(own)
        await api.send_on(kept, "GET /v1/health")
        await tools.until(kept, b'"ok"}\n')
    await kept.aclose()
    await trio.testing.wait_all_tasks_blocked()


async def test_fifty_clients_at_once_are_all_answered(api):
    answers = []

    async def ask() -> None:
        answers.append((await api.http.get("/v1/status")).status_code)

    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(ask)
    assert answers == [200] * 50


async def test_a_bug_in_one_connection_ends_that_one_alone(api, tools, caplog, monkeypatch):
    async def fail(server: TCPServer) -> None:
        raise RuntimeError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr(TCPServer, "run", fail)
        stream = await api.connect()
        with trio.fail_after(tools.bound_s):
            assert await tools.to_end(stream) == b""
    assert "control connection failed" in caplog.text
    assert (await api.http.get("/v1/health")).status_code == 200


async def test_a_file_that_is_no_listening_socket_is_refused(engine, tmp_path):
    with (tmp_path / "file").open("w") as file, pytest.raises(OSError, match="socket"):
        await serve(file.fileno(), engine)


def test_the_server_is_imported_by_nothing_but_serve():
    code = (
        "import sys, mcpctld.api, mcpctld.api.engine\n"
        "print([name for name in ('quart', 'quart_trio', 'hypercorn') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_nothing_outside_the_api_imports_it_at_its_top_level():
    root = Path(__file__).parents[2] / "daemon" / "mcpctld"
    lines = {
        (path.name, line)
        for path in root.rglob("*.py")
        if path.parent.name != "api"
        for line in path.read_text().splitlines()
        if line.startswith(("import mcpctld.api", "from mcpctld.api"))
    }
    assert not {line for line in lines if "mcpctld.api.engine" not in line[1]}
