"""How answers look: the bare JSON object on success, `{"error": {...}}` on failure."""

import difflib
import json
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from quart_trio.wrappers import TrioResponse

from mcpctl import shapes, wire
from mcpctld.errors import McpctlError

JSON = "application/json"


class Refused(McpctlError):
    """A request that the API itself turns down; `kind` is a key of `wire.KINDS`.

    `status` overrides the kind's HTTP status where HTTP has a more exact one (405, 408, 413).
    """

    def __init__(
        self,
        kind: str,
        message: str,
        *,
        status: int | None = None,
        details: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.status = status
        self.details = details
        self.headers = headers or {}


def encode(value: object) -> bytes:
    """`value` as JSON.

    Folder names that are not UTF-8, and what clients call themselves, may hold lone surrogates.
    Those are valid as JSON escapes only, which the slower encoder writes.
    """
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return json.dumps(value).encode()


def success(value: Mapping[str, object]) -> TrioResponse:
    """The answer to a request that was fulfilled."""
    return TrioResponse(encode(value) + b"\n", 200, content_type=JSON)


def failure(error: McpctlError) -> TrioResponse:
    """The answer that says `error`, with the status of its kind."""
    body: shapes.ErrorBody = {"kind": error.kind, "message": error.message}
    status = wire.KINDS[error.kind][0]
    headers: Mapping[str, str] = {}
    if isinstance(error, Refused):
        status = error.status or status
        headers = error.headers
        if error.details:
            body["details"] = dict(error.details)
    answer: shapes.ErrorAnswer = {"error": body}
    return TrioResponse(encode(answer) + b"\n", status, headers=dict(headers), content_type=JSON)


def close_to(wrong: str, known: Iterable[str]) -> list[str]:
    """The known names that `wrong` may have meant, best first, at most three."""
    return difflib.get_close_matches(wrong, list(known), n=3, cutoff=0.6)


def did_you_mean(names: list[str]) -> str:
    """A clause to end a message with, empty when there is nothing to suggest."""
    return f"; did you mean {' or '.join(names)}?" if names else ""
