"""The first half: a server is launched on the local Fly, used, falls asleep, and is woken by the next call."""

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import trio
from mcp import Client
from stage import DemoError, client_of, indented, mcpctl, say, text_of

IDLE_S = 2.0
"""The machine is put to sleep so long after a call; 300 s in earnest."""
ASLEEP = ("suspended", "stopped")
PATIENCE_S = 60.0

Env = dict[str, str]


@contextlib.contextmanager
def local_fly(env: Env) -> Iterator[None]:
    """A Fly of our own on loopback; it ends whatever happens in between."""
    began = time.perf_counter()
    mcpctl(env, "localfly", "start")
    say("mcpctl localfly start: a Fly on this computer", began)
    try:
        yield
    finally:
        mcpctl(env, "localfly", "stop")


def launch(env: Env, file: Path) -> None:
    """The sentence that it is all about, and what a user would write into the server's file for this demo."""
    began = time.perf_counter()
    words = ("launch", "uvx mcp-server-time", "--local", "--server", "time", "--config", str(file))
    mcpctl(env, *words)
    say('mcpctl launch "uvx mcp-server-time" --local --server time --config …', began)
    server = Path(env["MCPCTL_CONFIG_DIR"], "servers", "time.toml")
    server.write_text(server.read_text() + f"idle_timeout_s = {IDLE_S}\n")
    mcpctl(env, "daemon", "stop")  # the next client finds it so


def client_in(env: Env, file: Path) -> Client:
    """What reads the client's config file would start."""
    entry = json.loads(file.read_text())["mcpServers"]["time"]
    return client_of(env, entry["command"], *entry["args"])


async def use(env: Env, file: Path) -> None:
    """Call; wait until the machine sleeps, attached as we are; call again."""
    began = time.perf_counter()
    async with client_in(env, file) as client:
        say("a client attached by what stands in its file", began)
        await _call(client, "time told the time in Lisbon, from its machine")
        began = time.perf_counter()
        await _until(env, lambda state: state in ASLEEP)
        say(f"nobody called for {IDLE_S:g} s: the machine sleeps, the client is attached", began)
        await _call(client, "the next call woke it, and was answered")
    cost = await trio.to_thread.run_sync(mcpctl, env, "status", "--cost")
    print("\n  mcpctl status --cost:\n")
    print(indented(cost) + "\n")


async def _call(client: Client, what: str) -> None:
    began = time.perf_counter()
    await text_of(client, "get_current_time", timezone="Europe/Lisbon")
    say(what, began)


async def _until(env: Env, wanted: Callable[[str], bool]) -> None:
    """Ask the agent, which asks the local Fly, for the state of the machine."""
    with trio.move_on_after(PATIENCE_S):
        while True:
            status = json.loads(await trio.to_thread.run_sync(mcpctl, env, "status", "--json"))
            if wanted(status["servers"][0]["machine"]["state"]):
                return
            await trio.sleep(0.2)
    raise DemoError(f"the machine did not fall asleep within {PATIENCE_S:g} s")


def destroy(env: Env) -> None:
    """Machine, app, secrets, file and entry go."""
    began = time.perf_counter()
    mcpctl(env, "destroy", "time", "--yes")
    say("mcpctl destroy time: nothing of it is left", began)
