"""What Fly answers when it does not do what it was asked, told apart and put into words.

Several services stand behind one host, and each has its own form of error: `{"error", "status"}`, `{"message"}`, plain
text, HTML, nothing at all; GraphQL sends errors with status 200. Each ends as one `FlyError`.
"""

import enum
import json
from collections.abc import Mapping

from mcpctld.errors import McpctlError

LONGEST_TEXT = 300
REQUEST_ID = "fly-request-id"


class Reason(enum.StrEnum):
    """Why Fly did not do it."""

    NAME_TAKEN = "name_taken"
    INSUFFICIENT_CAPACITY = "insufficient_capacity"
    LEASE_HELD = "lease_held"
    STALE = "stale"
    PRECONDITION = "precondition"
    NOT_FOUND = "not_found"
    DENIED = "denied"
    RATE_LIMITED = "rate_limited"
    INVALID = "invalid"
    TIMED_OUT = "timed_out"
    UNREACHABLE = "unreachable"
    UNAVAILABLE = "unavailable"
    BROKEN = "broken"


LOST = frozenset({Reason.TIMED_OUT, Reason.UNREACHABLE, Reason.UNAVAILABLE})
"""After these nobody knows whether the request was carried out."""
_KINDS = {
    Reason.NAME_TAKEN: "conflict",
    Reason.INSUFFICIENT_CAPACITY: "unreachable",
    Reason.LEASE_HELD: "conflict",
    Reason.STALE: "conflict",
    Reason.PRECONDITION: "conflict",
    Reason.NOT_FOUND: "not-found",
    Reason.DENIED: "denied",
    Reason.RATE_LIMITED: "unreachable",
    Reason.INVALID: "bad-request",
    Reason.TIMED_OUT: "timeout",
    Reason.UNREACHABLE: "unreachable",
    Reason.UNAVAILABLE: "unreachable",
    Reason.BROKEN: "peer",
}
_ADVICE = {
    Reason.NAME_TAKEN: "app names are unique on all of Fly: choose another one with --name",
    Reason.INSUFFICIENT_CAPACITY: "try another --region or a smaller size; a volume ties its machine to one host",
    Reason.LEASE_HELD: "somebody else is changing the machine: wait until the lease ends, then try again",
    Reason.STALE: "the machine was changed meanwhile: look at it again, then repeat",
    Reason.PRECONDITION: "the machine is not in a state that allows it: wait a moment, then try again",
    Reason.NOT_FOUND: "check the name, and that the token may see its organisation",
    Reason.DENIED: "check the token: `fly tokens create org` makes one that may do it",
    Reason.RATE_LIMITED: "Fly asks for fewer requests: wait a minute, then try again",
    Reason.INVALID: "correct what it names",
    Reason.TIMED_OUT: "try again, or look at the machine's logs",
    Reason.UNREACHABLE: "check the network and the address",
    Reason.UNAVAILABLE: "Fly has trouble: see https://status.fly.io, and try again later",
    Reason.BROKEN: "this is no Fly API, or one newer than this program: check the address",
}
_CAPACITY = ("insufficient resources", "insufficient_capacity", "no capacity", "at capacity")
_TAKEN = ("name has already been taken", "name_taken", "name is already taken")
_BY_STATUS = {
    401: Reason.DENIED,
    403: Reason.DENIED,
    404: Reason.NOT_FOUND,
    408: Reason.TIMED_OUT,
    412: Reason.PRECONDITION,
    429: Reason.RATE_LIMITED,
}


class FlyError(McpctlError):
    """A request to Fly that was not fulfilled.

    `status` is that of HTTP, None when there was no answer; `detail` is Fly's own text; `retry_after_s` is what it
    asked to wait, None when it did not say.
    """

    def __init__(
        self,
        doing: str,
        reason: Reason,
        detail: str = "",
        *,
        status: int | None = None,
        request_id: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        asked = f" (request {request_id})" if request_id else ""
        said = detail or (f"status {status}" if status else str(reason).replace("_", " "))
        super().__init__(f"cannot {doing}: {said}{asked}; {_ADVICE[reason]}")
        self.kind = _KINDS[reason]
        self.doing = doing
        self.reason = reason
        self.detail = detail
        self.status = status
        self.request_id = request_id
        self.retry_after_s = retry_after_s


def explain(
    doing: str,
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    retry_after_s: float | None = None,
) -> FlyError:
    """What an answer with an error status means. `doing` completes "cannot ...". `headers` has lower-case names."""
    detail, code = read_body(body, headers.get("content-type", ""))
    return FlyError(
        doing,
        _reason(status, code, detail.lower()),
        detail,
        status=status,
        request_id=headers.get(REQUEST_ID),
        retry_after_s=retry_after_s,
    )


def read_body(body: bytes, media_type: str) -> tuple[str, str]:
    """The text of an error, and the word in `status`; both may be empty."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        page = "html" in media_type.lower()
        return ("" if page else _shorten(body.decode("utf-8", "replace"))), ""
    if not isinstance(found, dict):
        return "", ""
    text = next((v for v in (found.get("message"), found.get("error")) if isinstance(v, str)), "")
    code = found.get("status")
    return _shorten(text), code if isinstance(code, str) else ""


def _reason(status: int, code: str, text: str) -> Reason:
    if status in (401, 403):
        return Reason.DENIED
    if code in ("insufficient_capacity", "volume_placement_capacity") or _any(_CAPACITY, text):
        return Reason.INSUFFICIENT_CAPACITY
    if code == "name_taken" or _any(_TAKEN, text):
        return Reason.NAME_TAKEN
    if "lease currently held" in text:
        return Reason.LEASE_HELD
    if "could not find app" in text:  # 400, for an app that was destroyed
        return Reason.NOT_FOUND
    if status == 409:
        return Reason.STALE
    if status >= 500:
        return Reason.UNAVAILABLE
    return _BY_STATUS.get(status, Reason.INVALID)


def _any(parts: tuple[str, ...], text: str) -> bool:
    return any(part in text for part in parts)


def _shorten(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LONGEST_TEXT else line[: LONGEST_TEXT - 1] + "…"
