"""What the demo is played on: a throw-away home, our commands, and an MCP client that was not written by us."""

import contextlib
import os
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.types import Implementation

PROGRAMS = Path(sysconfig.get_path("scripts"))


class DemoError(Exception):
    """Something did not work; the text is for the reader."""


def say(text: str, since: float | None = None) -> None:
    """One line of the account, with the time it took."""
    took = "" if since is None else f"{(time.perf_counter() - since) * 1000:8.1f} ms"
    print(f"  {text:<68}{took}", flush=True)


def indented(text: str) -> str:
    """The output of a command, set off from the account."""
    return "\n".join(f"    | {line}" for line in text.splitlines())


@contextlib.contextmanager
def throw_away_home() -> Iterator[dict[str, str]]:
    """An environment in which nothing of the user's own configuration is seen or touched."""
    # The path of a unix socket has room for about 100 bytes.
    base = "/tmp" if os.access("/tmp", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="mcpctl-demo-", dir=base) as home:
        folders = {"CONFIG": "config", "STATE": "state", "RUNTIME": "run"}
        yield {
            **os.environ,
            "PATH": f"{PROGRAMS}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "HOME": home,
            "MCPCTL_SECRETS": "file",
        } | {f"MCPCTL_{name}_DIR": f"{home}/{folder}" for name, folder in folders.items()}


def mcpctl(env: dict[str, str], *words: str) -> str:
    """Run a command of ours and return what it printed; `DemoError` if it fails."""
    done = subprocess.run(
        [PROGRAMS / "mcpctl", *words], env=env, text=True, capture_output=True, timeout=60,
        stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    if done.returncode:
        said = indented(done.stderr + done.stdout)
        raise DemoError(f"`mcpctl {' '.join(words)}` ended with {done.returncode}:\n{said}")
    return done.stdout


@contextlib.contextmanager
def daemon_ended(env: dict[str, str]) -> Iterator[None]:
    """Stop the daemon that the first command starts, whatever happens in between."""
    try:
        yield
    finally:
        with contextlib.suppress(DemoError, subprocess.TimeoutExpired):
            mcpctl(env, "daemon", "stop")


def client_of(env: Mapping[str, str], command: str, *args: str) -> Client:
    """The official SDK's client; the server it starts is this command."""
    parameters = StdioServerParameters(command=command, args=list(args), env=dict(env))
    return Client(stdio_client(parameters), client_info=Implementation(name="demo", version="1"))


async def text_of(client: Client, tool: str, **arguments: object) -> str:
    """The text that a tool answers; `DemoError` if the tool failed."""
    result = await client.call_tool(tool, arguments)
    text = " ".join(part.text for part in result.content if part.type == "text")
    if result.is_error:
        raise DemoError(f"the tool {tool} failed: {text}")
    return text
