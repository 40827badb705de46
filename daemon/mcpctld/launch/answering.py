"""Waiting until a launched server really answers over HTTP: that its machine has started does not say so."""

import json
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import trio

from mcpctld.errors import Denied, TimedOut
from mcpctld.tunnels.tls import system_context

if TYPE_CHECKING:
    import httpx

ASK_S = 30.0
"""One question may take so long: Fly's proxy holds it while the machine starts."""
PAUSE_S = 0.5
_NOT_YET = frozenset({404, 421, 425, 429, 500, 502, 503, 504})
"""What the proxy, or a server that starts, answers before it is ready."""
_INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "mcpctl-launch", "version": "1"},
    },
}


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: GET `health_path`, or without one `initialize` at `url`."""

    url: str
    health_path: str | None
    headers: dict[str, str] = field(repr=False)
    edge: str | None = None
    """Where the host of `url` is reached; None: by its name."""

    def request(self) -> tuple[str, str, dict[str, str], bytes | None]:
        """Method, URL, headers and body."""
        parts = urlsplit(self.url)
        headers = dict(self.headers)
        if self.edge is not None:
            headers["host"] = parts.netloc
            parts = parts._replace(netloc=urlsplit(self.edge).netloc)
        if self.health_path is not None:
            return "GET", urlunsplit(parts._replace(path=self.health_path)), headers, None
        headers["content-type"] = "application/json"
        headers["accept"] = "application/json, text/event-stream"
        return "POST", urlunsplit(parts), headers, json.dumps(_INITIALIZE).encode()


async def wait_answer(
    question: Question, seconds: float, look: Callable[[], Awaitable[None]]
) -> None:
    """Ask until there is an answer. `look` runs after each failure, and raises when there is no hope.

    Raises `TimedOut` after `seconds`, `Denied` when the credentials are refused.
    """
    import httpx

    last = "nothing"
    with trio.move_on_after(seconds):
        local = question.edge is not None
        verify: ssl.SSLContext | bool = (
            False if local else await trio.to_thread.run_sync(system_context)
        )
        async with httpx.AsyncClient(verify=verify, trust_env=not local) as client:
            while True:
                last = await _ask(client, question)
                if not last:
                    return
                await look()
                await trio.sleep(PAUSE_S)
    raise TimedOut(
        f"the machine runs, but {question.url} does not answer within {seconds:g} s (last: {last}); "
        "look at what the server says: mcpctl logs NAME, or launch with more memory (--vm-memory)"
    )


async def _ask(client: "httpx.AsyncClient", question: Question) -> str:
    """Empty for an answer, else what came instead."""
    import httpx

    method, url, headers, body = question.request()
    try:
        with trio.fail_after(ASK_S):
            async with client.stream(
                method, url, headers=headers, content=body, timeout=ASK_S
            ) as response:
                status = response.status_code
    except (httpx.TransportError, trio.TooSlowError) as exc:
        await trio.lowlevel.checkpoint()
        return str(exc) or type(exc).__name__
    if status in (401, 403):
        raise Denied(
            f"{question.url} refuses the token that was set for it (status {status}); "
            "a server that checks tokens itself must take FLY_MCP_BEARER_TOKEN"
        )
    return f"status {status}" if status in _NOT_YET else ""
