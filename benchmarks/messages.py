"""The JSON-RPC lines that the benchmark's client writes, and the check of what comes back."""

import json
from collections.abc import Iterable

INITIALIZE_ID = 0
TOOLS_LIST_ID = 1

SMALL_TEXT = b"x" * 100

INITIALIZE = (
    b'{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25",'
    b'"capabilities":{},"clientInfo":{"name":"bench","version":"1"}}}\n'
)
INITIALIZED = b'{"jsonrpc":"2.0","method":"notifications/initialized"}\n'
TOOLS_LIST = b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}\n'


_next_id = 2


def new_ids(count: int) -> range:
    """Ids that no request of this run has had: MCP wants them unique within a session."""
    global _next_id
    first, _next_id = _next_id, _next_id + count
    return range(first, _next_id)


class WrongAnswer(Exception):
    """A contender answered something else than was asked; its figures would mean nothing."""


def call(ident: int, text: bytes = SMALL_TEXT) -> bytes:
    """One `tools/call` of the echo tool, as a line."""
    return (
        b'{"jsonrpc":"2.0","id":%d,"method":"tools/call",'
        b'"params":{"name":"echo","arguments":{"text":"%b"}}}\n' % (ident, text)
    )


def check_answer(line: bytes, ident: int) -> dict[str, object]:
    """The `result` of the answer to request `ident`. Raises `WrongAnswer`."""
    try:
        message = json.loads(line)
    except ValueError as exc:
        raise WrongAnswer(f"not JSON: {line[:200]!r}") from exc
    if message.get("id") != ident or "result" not in message:
        raise WrongAnswer(f"expected the result of request {ident}, got {line[:300]!r}")
    result: dict[str, object] = message["result"]
    return result


def check_echo(line: bytes, ident: int, text: bytes = SMALL_TEXT) -> None:
    """Raises `WrongAnswer` unless this is the echo of `text` for request `ident`."""
    content = check_answer(line, ident).get("content")
    if content != [{"type": "text", "text": text.decode()}]:
        raise WrongAnswer(f"request {ident} was not echoed: {line[:300]!r}")


def check_ids(lines: bytes, idents: Iterable[int]) -> None:
    """Raises `WrongAnswer` unless each of these requests was answered once, in any order."""
    answered = sorted(json.loads(line)["id"] for line in lines.splitlines())
    if answered != sorted(idents):
        raise WrongAnswer("the answers to calls in flight are not one for each call")
