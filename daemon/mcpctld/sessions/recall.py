"""The cache as one session sees it: what its server has answered to a client like its own."""

from collections.abc import Callable

from mcpctld.protocols.jsonrpc import Message
from mcpctld.protocols.mcp import caching
from mcpctld.protocols.mcp.caching import Answer
from mcpctld.protocols.mcp.methods import CACHEABLE
from mcpctld.sessions.shelf import Shelf
from mcpctld.upstreams import Context

LASTING_FACTS = frozenset({"initialize", "server/discover"})
"""Answers that no notification takes back."""


class Recall:
    """Finds and keeps answers. `clock` tells the Unix time.

    A label names a question, whom it is asked (`Shared.key`: server and credentials) and who asks. Clients of
    2026-07-28 say in each request who they are, what they can do and which revision they speak; of the others that
    stands in `initialize` and its answer. What their roots are nobody knows before the server has asked; where a list
    depends on them, the comparison with the real one finds it out.
    """

    def __init__(self, context: Context, shelf: Shelf, clock: Callable[[], float]) -> None:
        self._shared = context.shared
        self._enabled = context.spec.cache
        self._shelf = shelf
        self._clock = clock
        self._scope = context.shared.key.encode()
        self._client = b""

    def meet(self, initialize: Message) -> None:
        """The client says who it is."""
        self._client = caching.question(initialize)

    def agree(self, result: bytes) -> None:
        """The client got this answer to `initialize`."""
        if self._client:
            self._client = caching.digest(self._client, caching.revision_of(result).encode())

    def label(self, request: Message) -> bytes:
        """The label of the answer; empty when it cannot be in the cache."""
        if request.method not in CACHEABLE or not self._enabled:
            return b""
        if request.method == "initialize" or caching.is_modern(request):
            return caching.question(request, self._scope)
        return caching.question(request, self._scope, self._client) if self._client else b""

    async def find(self, request: Message, label: bytes, *, down: bool) -> Answer | None:
        """The answer, if there is one that may be given now."""
        data = await self._shelf.read(label)
        answer = caching.from_bytes(data) if data is not None else None
        return answer if answer and self.usable(answer, request, down=down) else None

    def usable(self, answer: Answer, request: Message, *, down: bool) -> bool:
        """Whether the answer may be given to the request now; `down`: the server is known not to be there."""
        changed = self._changed(request.method)
        return caching.usable(answer, request, self._clock(), changed, down=down)

    def keep(self, request: Message, label: bytes, result: bytes, asked: float) -> None:
        """The server has answered a request that was made at `asked` (Unix time)."""
        answer = caching.keep(request, result, asked, self._clock())
        if answer is not None:
            mark = caching.digest(result, b"%r" % self._changed(request.method))
            self._shelf.write(label, answer.to_bytes(), mark=mark, lasts_s=answer.rewrite_s)

    def note_change(self, notification: str) -> None:
        """The server said that a list has changed."""
        self._shared.learn_change(notification, self._clock())

    def _changed(self, method: str) -> float:
        """When the server last said that the answer to `method` has changed."""
        changes = frozenset() if method in LASTING_FACTS else caching.CHANGES[method]
        known = self._shared.facts.lists_changed
        return max((known.get(change, 0.0) for change in changes), default=0.0)
