"""Waiting until a launched server really answers over HTTP: that its machine has started does not say so."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import trio

from mcpctld.errors import Denied, TimedOut, UserError
from mcpctld.tunnels.tls import system_context

if TYPE_CHECKING:
    import httpx

ASK_S = 30.0
"""One question may take so long: Fly's proxy holds it while the machine starts."""
PAUSE_S = 0.5
NOTE_EVERY_S = 15.0
LONGEST_REASON = 64 * 1024
SHOWN_REASON = 600
GIVE_UP_S = 30.0
"""A server whose process ends again and again, for so long, will not start."""
EXITED = "exited with code"
"""In what `/health` of our wrap says of such a one."""
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
    question: Question,
    seconds: float,
    look: Callable[[], Awaitable[None]],
    note: Callable[[str], None],
) -> None:
    """Ask until there is an answer. `look` runs after each failure, and raises when there is no hope.

    `note` is told from time to time what came instead. Raises `TimedOut` after `seconds`, `Denied` when the credentials
    are refused.
    """
    last = "nothing"
    noted = began = trio.current_time()
    with trio.move_on_after(seconds):
        async with await _open(question) as client:
            while last := await _ask(client, question):
                await look()
                if EXITED not in last:
                    began = trio.current_time()
                elif trio.current_time() - began >= GIVE_UP_S:
                    raise UserError(f"the server does not start: {last}; correct its command")
                if trio.current_time() - noted >= NOTE_EVERY_S:
                    note(f"{question.url} does not answer yet: {last}")
                    noted = trio.current_time()
                await trio.sleep(PAUSE_S)
            return
    raise TimedOut(
        f"the machine runs, but {question.url} does not answer within {seconds:g} s ({last}); look at what the server "
        "says with `mcpctl logs`; more memory (--vm-memory) may help, or another command"
    )


async def _open(question: Question) -> "httpx.AsyncClient":
    import httpx

    if question.edge is not None:
        await trio.lowlevel.checkpoint()
        return httpx.AsyncClient(verify=False, trust_env=False)  # noqa: S501 -- plain HTTP
    return httpx.AsyncClient(verify=await trio.to_thread.run_sync(system_context))


async def _ask(client: "httpx.AsyncClient", question: Question) -> str:
    """Empty for an answer, else what came instead."""
    import httpx

    method, url, headers, body = question.request()
    request = client.build_request(method, url, headers=headers, content=body, timeout=ASK_S)
    try:
        with trio.fail_after(ASK_S):
            response = await client.send(request, stream=True)
            try:
                return _judge(question, response.status_code, await _reason(response))
            finally:
                with trio.CancelScope(shield=True), trio.move_on_after(1):
                    await response.aclose()
    except (httpx.TransportError, trio.TooSlowError) as exc:
        await trio.lowlevel.checkpoint()
        return str(exc) or "no answer in time"


async def _reason(response: "httpx.Response") -> str:
    """Why it is not ready, where the answer says so: that of `/health` of our wrap does."""
    if response.status_code != 503:
        await trio.lowlevel.checkpoint()
        return ""
    body = b""
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > LONGEST_REASON:
            break
    try:
        found = json.loads(body)
    except ValueError:
        return ""
    reason = found.get("reason") if isinstance(found, dict) else None
    return _shorten(reason) if isinstance(reason, str) else ""


def _shorten(text: str) -> str:
    """Its beginning and its end: what failed, and what was said last."""
    return text if len(text) <= SHOWN_REASON else f"{text[:100]} … {text[100 - SHOWN_REASON :]}"


def _judge(question: Question, status: int, reason: str) -> str:
    if status in (401, 403) and question.headers:
        raise Denied(
            f"{question.url} refuses the token that was set for it (status {status}); "
            "a server that checks tokens itself must take FLY_MCP_BEARER_TOKEN"
        )
    if status not in _NOT_YET:
        return ""
    return f"status {status}: {reason}" if reason else f"status {status}"
