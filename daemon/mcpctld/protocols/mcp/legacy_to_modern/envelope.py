"""What messages of 2026-07-28 carry beyond those of older revisions: put on requests, taken off the rest.

MCP 2026-07-28, base protocol, "_meta" and "Result Responses"; "Caching".
"""

from collections.abc import Mapping

from mcpctld.protocols.mcp.methods import MODERN, PREFIX
from mcpctld.protocols.mcp.objects import close_object, close_text, open_object, open_text

LEVELS = frozenset({
    "debug", "info", "notice", "warning", "error", "critical", "alert", "emergency",
})  # fmt: skip
"""Of log messages (RFC 5424 §6.2.1)."""

SUBSCRIPTION = PREFIX + "subscriptionId"

_OF_RESULTS = ("resultType", "ttlMs", "cacheScope")
_PREFIX = PREFIX.encode()


class Envelope:
    """What each request says of the client; the same for all but for the level of logs."""

    def __init__(self, capabilities: bytes, info: bytes) -> None:
        """JSON texts; `info` may be empty."""
        self._said = {
            PREFIX + "protocolVersion": close_text(MODERN),
            PREFIX + "clientCapabilities": capabilities,
        }
        if info:
            self._said[PREFIX + "clientInfo"] = info
        self._text = close_object(self._said)[:-1]

    def set_level(self, level: str) -> None:
        """Ask for logs with each request from now on; before, none are wanted."""
        self._said[PREFIX + "logLevel"] = close_text(level)
        self._text = close_object(self._said)[:-1]

    def seal(self, params: Mapping[str, bytes]) -> bytes:
        """The JSON text of `params`, which may have a `_meta` of the client's, with all of it."""
        meta = params.get("_meta")
        own = _without_reserved(meta) if meta is not None else None
        sealed = b"%b,%b" % (self._text, close_object(own)[1:]) if own else self._text + b"}"
        return close_object({**params, "_meta": sealed})


def strip_result(result: dict[str, bytes]) -> None:
    """Take off what older revisions do not know: how long a result may be kept, and reserved keys."""
    for name in _OF_RESULTS:
        result.pop(name, None)
    strip_meta(result)


def strip_meta(members: dict[str, bytes]) -> None:
    """Take the reserved keys off `_meta`, and `_meta` with the last of them."""
    meta = members.get("_meta")
    if meta is None or _PREFIX not in meta:
        return
    kept = _without_reserved(meta)
    if kept:
        members["_meta"] = close_object(kept)
    else:
        del members["_meta"]


def subscription_of(params: Mapping[str, bytes]) -> bytes | None:
    """The id (JSON text) of the listen request that a notification belongs to; None if to none."""
    meta = params.get("_meta")
    return open_object(meta).get(SUBSCRIPTION) if meta is not None and _PREFIX in meta else None


def is_marked(text: bytes) -> bool:
    """Whether there may be reserved keys in it."""
    return _PREFIX in text


def result_type(result: Mapping[str, bytes]) -> str | None:
    """`complete`, `input_required` or an extension's; None if it is no string. Absent means complete."""
    text = result.get("resultType", b'"complete"')
    return "complete" if text == b'"complete"' else open_text(text)


def _without_reserved(meta: bytes) -> dict[str, bytes]:
    return {name: value for name, value in open_object(meta).items() if not name.startswith(PREFIX)}
