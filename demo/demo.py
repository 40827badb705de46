"""What mcpctl does, shown once with real parts: run it with `make demo`.

In a throw-away home it launches an MCP server on a local Fly, lets its machine fall asleep and wakes it by a call. Then
it adds two servers, a local process and one over HTTP, lets the official SDK's client attach to both at once through
`mcpctl attach`, calls tools, and tidies up.
"""

import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import launching
import trio
from mcp import Client
from stage import (
    PROGRAMS,
    DemoError,
    client_of,
    daemon_ended,
    indented,
    mcpctl,
    say,
    text_of,
    throw_away_home,
)

HERE = Path(__file__).parent
LIMIT_S = 120
"""The whole demo takes a few seconds; a machine that needs this long has a problem to show."""


@contextmanager
def notes_server(env: dict[str, str]) -> Iterator[str]:
    """The HTTP server, in a process of its own; its URL."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, str(HERE / "notes_server.py"), str(port)]
    log = Path(env["HOME"], "notes.log")
    with log.open("w") as out:
        process = subprocess.Popen(command, env=env, stdout=out, stderr=out)
    try:
        wait_for_port(port, process, log)
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        process.kill()
        process.wait()


def wait_for_port(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Wait until the server accepts connections; `DemoError` with its output if it does not."""
    for _ in range(1000):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process.poll() is not None:
            break
        time.sleep(0.02)
    raise DemoError(f"the notes server did not start:\n{indented(log.read_text())}")


def attached(env: dict[str, str], name: str) -> Client:
    """A client whose server is `mcpctl attach NAME`."""
    return client_of(env, str(PROGRAMS / "mcpctl"), "attach", name)


async def use_both(env: dict[str, str]) -> None:
    """Attach to both servers at once and call their tools."""
    began = time.perf_counter()
    async with attached(env, "clock") as clock:
        say("a client attached to clock: a process was started for it", began)
        began = time.perf_counter()
        async with attached(env, "notes") as notes:
            say("another client attached to notes, which runs already", began)
            await call_tools(clock, notes)
            await many_calls(notes)
            print("\n  mcpctl status, while both are attached:\n")
            status = await trio.to_thread.run_sync(mcpctl, env, "status")
            print(indented(status) + "\n")


async def call_tools(clock: Client, notes: Client) -> None:
    """A few calls, one after the other."""
    for client, name in ((clock, "clock"), (notes, "notes")):
        began = time.perf_counter()
        tools = [tool.name for tool in (await client.list_tools()).tools]
        say(f"{name} has the tools {', '.join(tools)}", began)
    began = time.perf_counter()
    await text_of(clock, "get_current_time", timezone="Europe/Paris")
    say("clock told the time in Paris", began)
    began = time.perf_counter()
    await text_of(notes, "add_note", text="one daemon holds every connection")
    await text_of(notes, "add_note", text="attach hands it the pipes and waits")
    say("notes took two notes", began)
    heard: list[str | None] = []

    async def hear(_: float, __: float | None, message: str | None) -> None:
        heard.append(message)

    began = time.perf_counter()
    await notes.call_tool("read_aloud", {}, progress_callback=hear)
    say(f"notes read them aloud, {len(heard)} progress notifications came", began)


async def many_calls(notes: Client) -> None:
    """A hundred calls at once on one session."""
    began = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(text_of, notes, "list_notes")
    say("100 calls at once on one session, all answered", began)


async def bounded(use: Callable[..., Awaitable[None]], *args: object) -> None:
    """A part with clients, bounded, and ended by SIGTERM as by Ctrl-C."""
    with trio.fail_after(LIMIT_S), trio.open_signal_receiver(signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stop_on_signal, signals)
            await use(*args)
            nursery.cancel_scope.cancel()


async def stop_on_signal(signals: AsyncIterator[int]) -> None:
    """Raise what Ctrl-C raises."""
    async for _ in signals:
        raise KeyboardInterrupt


def play() -> None:
    """The whole demo."""
    with throw_away_home() as env, daemon_ended(env):
        with launching.local_fly(env):
            file = Path(env["HOME"], "client.json")
            launching.launch(env, file)
            trio.run(bounded, launching.use, env, file)
            launching.destroy(env)
        play_both(env)


def play_both(env: dict[str, str]) -> None:
    """The second half: two servers, used at once."""
    began = time.perf_counter()
    with notes_server(env) as url:
        say("an HTTP server, built with the official Python SDK, runs", began)
        began = time.perf_counter()
        mcpctl(env, "add", "--server", "clock", "--", "mcp-server-time")
        say("mcpctl add --server clock -- mcp-server-time", began)
        began = time.perf_counter()
        mcpctl(env, "add", "--server", "notes", "--url", url)
        say(f"mcpctl add --server notes --url {url}", began)
        trio.run(bounded, use_both, env)
        began = time.perf_counter()
        mcpctl(env, "daemon", "stop")
        say("the clients are gone, the daemon has stopped", began)


def explain(error: BaseException) -> str:
    """The innermost error of a group, for people."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if isinstance(error, trio.TooSlowError):
        return f"not finished within {LIMIT_S} s"
    return str(error) or repr(error)


def main() -> int:
    """Run the demo; the exit code."""
    # So that the clean-up runs then, too; while trio runs, it has a receiver of its own.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if shutil.which("mcp-server-time", path=str(PROGRAMS)) is None:
        print(f"mcp-server-time is not installed in {PROGRAMS}: run `make demo`", file=sys.stderr)
        return 1
    began = time.perf_counter()
    print("\nmcpctl: one resident agent between MCP clients and MCP servers\n")
    try:
        play()
    except (Exception, KeyboardInterrupt, BaseExceptionGroup) as error:
        print(f"\nThe demo failed: {explain(error)}", file=sys.stderr)
        return 1
    print(f"\nDone in {time.perf_counter() - began:.1f} s. Nothing is left behind.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
