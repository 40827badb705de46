"""What a shared process asks, and which of the clients is to answer.

Nothing in a question says to which call it belongs (MCP 2025-11-25: over stdio requests of both sides are not tied to
each other), so it has to be guessed, or refused.
"""

from collections.abc import Collection, Hashable
from typing import NamedTuple

from mcpctld.protocols.jsonrpc import Message, id_key
from mcpctld.protocols.mcp.methods import ASKING, LASTING
from mcpctld.protocols.mcp.sharing.calls import Calls, Member
from mcpctld.protocols.mcp.sharing.handshake import Handshake

CAPABILITY = {
    "sampling/createMessage": "sampling",
    "elicitation/create": "elicitation",
    "roots/list": "roots",
}
"""What a client must have declared to be asked, by the server's method."""
MAX_QUESTIONS = 1024
"""A server that asks more before the clients have answered is refused."""


class Asked(NamedTuple):
    """Who is to answer a question of the process, and its id (raw JSON)."""

    member: Member
    id: bytes


class Questions:
    """Those that no client has answered yet."""

    def __init__(self, calls: Calls, handshake: Handshake) -> None:
        self._calls = calls
        self._handshake = handshake
        self._open: dict[Hashable, Asked] = {}
        self.rooted: Member | None = None
        """The client after whose words the process may ask for the roots."""

    def ask(self, question: Message, members: Collection[Member]) -> Member | str:
        """The client that is to answer; or why nobody can be asked."""
        member = self._whom(question.method, members)
        if member is None:
            return "no client has a call in flight to which this could belong"
        if not self._can_answer(member, question.method):
            return f"the client does not support {question.method}"
        if len(self._open) >= MAX_QUESTIONS:
            return "too many questions are open"
        self._open[id_key(question.id)] = Asked(member, question.id)
        return member

    def _whom(self, method: str, members: Collection[Member]) -> Member | None:
        """The client whose call a question most likely belongs to.

        Of several calls in flight that is the oldest, of those that have not asked yet if there are such: most ask
        once. Calls that do not ask as a rule count only when there is no other. A client that is alone is asked anyway.
        """
        calls = [id for id, call in self._calls.items() if call.method not in LASTING]
        asking = [id for id in calls if self._calls[id].method in ASKING]
        if method == "roots/list" and not asking and self.rooted is not None:
            return self.rooted
        candidates = asking or calls
        for id in [*(id for id in candidates if not self._calls[id].asked), *candidates]:
            return self._calls.note_asked(id)
        return next(iter(members)) if len(members) == 1 else None

    def _can_answer(self, member: Member, method: str) -> bool:
        """The process was told what the founder declared; of the others it does not know."""
        if member.capabilities is None or member is self._handshake.founder:
            return True
        needed = CAPABILITY.get(method)
        return needed is None or needed in member.capabilities

    def answer(self, member: Member, id: bytes) -> bool:
        """A client answers: whether it was asked, and has not answered yet."""
        key = id_key(id)
        asked = self._open.get(key)
        if asked is None or asked.member is not member:
            return False
        del self._open[key]
        return True

    def cancel(self, id: bytes) -> Member | None:
        """The process gives a question up: who was asked."""
        asked = self._open.pop(id_key(id), None)
        return asked.member if asked is not None else None

    def drop(self, member: Member) -> list[bytes]:
        """A client has gone: the ids of what it will not answer."""
        if self.rooted is member:
            self.rooted = None
        left = {key: asked for key, asked in self._open.items() if asked.member is member}
        for key in left:
            del self._open[key]
        return [asked.id for asked in left.values()]

    def clear(self) -> list[Asked]:
        """No answer can be given any more: what was open."""
        asked, self._open = self._open, {}
        return list(asked.values())
