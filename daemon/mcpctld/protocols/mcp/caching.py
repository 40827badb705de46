"""Which answers of a server may be given again: to whom, for how long, and what to say when they were wrong.

MCP 2026-07-28, Utilities, "Caching": a result says itself how long it is fresh (`ttlMs`). Older revisions say nothing
of it, so their answers are given only in place of a server that is not there yet, and are checked behind it.

Times are Unix times in seconds.
"""

import hashlib
import re
from typing import TypeAlias

import msgspec

from mcpctld.protocols.jsonrpc import Message, new_notification
from mcpctld.protocols.mcp.headers import modern_params
from mcpctld.protocols.mcp.objects import close_object, open_object, open_text

MAX_RESULT_BYTES = 4 * 1024 * 1024
"""Larger results are not kept: some of them would push everything else out."""
MAX_AGE_S = 30 * 24 * 3600.0
"""How long an answer without `ttlMs` is better than none; no `ttlMs` counts for longer."""
REWRITE_S = 3600.0
"""After so long an unchanged answer is worth keeping anew; those with a short `ttlMs` sooner."""

Changes: TypeAlias = frozenset[str]
"""Methods of notifications that a list has changed."""

TOOLS = "notifications/tools/list_changed"
PROMPTS = "notifications/prompts/list_changed"
RESOURCES = "notifications/resources/list_changed"
CAPABILITY = {TOOLS: "tools", PROMPTS: "prompts", RESOURCES: "resources"}
"""The server's capability (in it `listChanged`) that promises a notification."""
FILTER = {
    TOOLS: "toolsListChanged",
    PROMPTS: "promptsListChanged",
    RESOURCES: "resourcesListChanged",
}
"""The member of a `subscriptions/listen` filter that asks for a notification."""
ALL_LISTS: Changes = frozenset(CAPABILITY)
CHANGES: dict[str, Changes] = {
    "initialize": ALL_LISTS,
    "server/discover": ALL_LISTS,
    "tools/list": frozenset({TOOLS}),
    "prompts/list": frozenset({PROMPTS}),
    "resources/list": frozenset({RESOURCES}),
    "resources/templates/list": frozenset({RESOURCES}),
}
"""What a client hears when the answer to a method has changed; the same notifications make the answer stale."""

_PASSING = frozenset({"progressToken", "traceparent", "tracestate", "baggage"})
"""Of `_meta`: what belongs to one request and not to the question."""
_OF_A_RETRY = frozenset({"inputResponses", "requestState"})
"""Answers to such requests MUST NOT be cached."""
_VOLATILE = frozenset({"_meta", "resultType", "ttlMs", "cacheScope"})
"""Of a result: what does not concern its contents."""


# ---------------------------------------------------------------- the question


def digest(*parts: bytes) -> bytes:
    """One short value for several: different parts give different values."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(b"%d:" % len(part))
        whole.update(part)
    return whole.digest()


def question(request: Message, *scope: bytes) -> bytes:
    """A digest of what is asked and, by `scope`, of whom and on whose behalf; empty when the answer cannot be kept."""
    params = _opened(request.params)
    if params is None or not _OF_A_RETRY.isdisjoint(params):
        return b""
    meta = _opened(params.pop("_meta", b""))
    if meta is None:
        return b""
    kept = {name: value for name, value in sorted(meta.items()) if name not in _PASSING}
    texts = (close_object(dict(sorted(params.items()))), close_object(kept))
    return digest(*scope, request.method.encode(), *texts)


_EMPTY = re.compile(rb"\s*(?:\{\s*\}\s*)?")


def _opened(text: bytes) -> dict[str, bytes] | None:
    """The members of an object; None when it is something else, which must not pass for an empty one."""
    members = open_object(text)
    return members if members or _EMPTY.fullmatch(text) else None


# ---------------------------------------------------------------- the answer


class Answer(msgspec.Struct, frozen=True):
    """A result (JSON text), and what decides on its use."""

    result: bytes
    asked: float
    received: float
    ttl_s: float = 0.0
    """For how long it is fresh by the server's own word."""

    def __repr__(self) -> str:  # the result may hold secrets
        return f"<Answer of {len(self.result)} bytes>"

    @property
    def rewrite_s(self) -> float:
        """For how long it is good enough, should the same answer come again."""
        return min(self.ttl_s / 4, REWRITE_S) if self.ttl_s else REWRITE_S

    def to_bytes(self) -> bytes:
        """For `from_bytes`."""
        head = _Head(self.asked, self.received, self.ttl_s)
        return b"%b\n%b" % (msgspec.json.encode(head), self.result)


class _Head(msgspec.Struct, frozen=True):
    asked: float
    received: float
    ttl_s: float


_decode_head = msgspec.json.Decoder(_Head).decode


def from_bytes(data: bytes) -> Answer | None:
    """What `Answer.to_bytes` wrote; None when it is anything else."""
    line, _, result = data.partition(b"\n")
    try:
        head = _decode_head(line)
    except msgspec.DecodeError:
        return None
    return Answer(result, head.asked, head.received, head.ttl_s)


def keep(request: Message, result: bytes, asked: float, received: float) -> Answer | None:
    """The answer to `request`, if it is worth keeping. Of modern requests (see `is_modern`) `ttlMs` decides."""
    if len(result) > MAX_RESULT_BYTES or not result.startswith(b"{"):
        return None
    if request.method == "initialize":
        return Answer(result, asked, received) if revision_of(result) else None
    if not is_modern(request):
        return Answer(result, asked, received)
    members = open_object(result)
    ttl_s = _seconds(members.get("ttlMs", b""))
    complete = members.get("resultType", b'"complete"') == b'"complete"'
    return Answer(result, asked, received, ttl_s) if complete and ttl_s > 0 else None


def is_modern(request: Message) -> bool:
    """Whether a cacheable request is one of 2026-07-28, where each request names its revision."""
    return request.method == "server/discover" or modern_params(request) is not None


def usable(answer: Answer, request: Message, now: float, changed: float, *, down: bool) -> bool:
    """Whether `answer` may be given to `request`.

    `changed`: when the server last said that it has changed. `down`: the server is known not to be there, and an old
    answer better than none. A clock that went backwards leaves nothing fresh.
    """
    age, stale = now - answer.received, answer.asked <= changed
    if is_modern(request):
        return 0 <= age < answer.ttl_s and not stale
    return age < MAX_AGE_S and (down or not stale)


def _seconds(ttl_ms: bytes) -> float:
    """What is absent, negative or no number counts as 0."""
    try:
        return max(0.0, min(_decode_number(ttl_ms) / 1000, MAX_AGE_S))
    except msgspec.DecodeError:
        return 0.0


_decode_number = msgspec.json.Decoder(float).decode


# ---------------------------------------------------------------- when it was wrong


def differs(given: bytes, real: bytes) -> bool:
    """Whether two results tell different things."""
    if given == real:
        return False
    if len(real) > 2 * MAX_RESULT_BYTES:
        return True
    try:
        return _contents(given) != _contents(real)
    except (msgspec.DecodeError, RecursionError):  # lone surrogates, or very deep
        return True


def _contents(result: bytes) -> dict[str, object]:
    members = _decode_members(result)
    return {name: value for name, value in members.items() if name not in _VOLATILE}


_decode_members = msgspec.json.Decoder(dict[str, object]).decode


# ---------------------------------------------------------------- initialize


def revision_of(result: bytes) -> str:
    """`protocolVersion` of the answer to `initialize`; empty when there is none."""
    return open_text(open_object(result).get("protocolVersion", b"")) or ""


def promised(result: bytes) -> Changes:
    """What an answer to `initialize` promises to tell of."""
    capabilities = open_object(open_object(result).get("capabilities", b""))
    return frozenset(
        change
        for change, name in CAPABILITY.items()
        if open_object(capabilities.get(name, b"")).get("listChanged") == b"true"
    )


def with_promises(result: bytes) -> bytes:
    """An answer to `initialize` that promises to tell of every list: whoever gives old lists out must be able to."""
    members = open_object(result)
    capabilities = open_object(members.get("capabilities", b""))
    for name in CAPABILITY.values():
        if (text := capabilities.get(name, b"")).startswith(b"{"):
            capabilities[name] = close_object({**open_object(text), "listChanged": b"true"})
    if capabilities:
        members["capabilities"] = close_object(capabilities)
    return close_object(members)


# ---------------------------------------------------------------- subscriptions/listen


def wanted(params: bytes) -> Changes:
    """What the `params` of `subscriptions/listen`, or of its acknowledgement, name."""
    filters = open_object(open_object(params).get("notifications", b""))
    return frozenset(change for change, name in FILTER.items() if filters.get(name) == b"true")


def subscription_of(params: bytes) -> bytes:
    """The id (JSON text) of the subscription that a notification belongs to; `b""` when it names none."""
    meta = open_object(open_object(params).get("_meta", b""))
    return meta.get(SUBSCRIPTION_ID, b"")


SUBSCRIPTION_ID = "io.modelcontextprotocol/subscriptionId"


def change_notice(change: str, subscription: bytes = b"") -> Message:
    """A notification that a list has changed, on the subscription with this id (JSON text) or on none."""
    if not subscription:
        return new_notification(change)
    meta = close_object({SUBSCRIPTION_ID: subscription})
    return new_notification(change, close_object({"_meta": meta}))
