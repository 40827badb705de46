"""The requests that a shared process has, and whose they are: ids and progress tokens that are used once."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from mcpctld.protocols.jsonrpc import Message, id_key, read_params
from mcpctld.protocols.mcp.methods import PREFIX

MAX_LATE = 256
"""So many requests that are over are remembered, for something may yet come for them."""

_LOGS = f"{PREFIX}logLevel".encode()


@dataclass(slots=True, eq=False)
class Member:
    """One of the clients: a handle, compared by identity."""

    capabilities: frozenset[str] | None = None
    """What it declared in `initialize`; None when it has not said."""
    answered: bool = False
    """It has had an answer: so its handshake, if it makes one, is over."""


class Call(NamedTuple):
    """A request that the process has."""

    member: Member | None
    """None: nobody waits for the answer."""
    id: bytes
    """The client's own (raw JSON); `b""` when it was answered."""
    method: str
    token: bytes = b""
    """The client's own progress token (raw JSON)."""
    uri: str = ""
    """What `resources/subscribe` is about."""
    logs: bool = False
    """It asks for log messages (2026-07-28)."""
    asked: bool = False
    """The process has asked something, most likely on its behalf."""


class Calls:
    """By the id under which the process has them, the oldest first.

    Ids are numbers, as the clients of today use, for a server may read them as such only. None is ever used again,
    so that an answer that comes late is not taken for that to another request. A progress token is the request's id.
    """

    def __init__(self, first_id: int) -> None:
        self._next_id = first_id
        self._open: dict[bytes, Call] = {}
        self._late: dict[bytes, Call] = {}

    def __iter__(self) -> Iterator[Call]:
        """Those in flight that a client waits for."""
        return (call for _, call in self.items())

    def items(self) -> Iterator[tuple[bytes, Call]]:
        """The same, with their ids."""
        return (found for found in self._open.items() if found[1].member is not None)

    def begin(self, member: Member, request: Message) -> bytes:
        """A client's request goes out: the id that it gets."""
        token, uri = b"", ""
        if b"progressToken" in request.raw:
            token = read_params(request).progress_token
        if request.method == "resources/subscribe":
            uri = read_params(request).uri or ""
        logs = _LOGS in request.raw
        return self._add(Call(member, request.id, request.method, token, uri, logs))

    def begin_own(self, method: str) -> bytes:
        """A request of ours goes out."""
        return self._add(Call(None, b"", method))

    def _add(self, call: Call) -> bytes:
        id = b"%d" % self._next_id
        self._next_id += 1
        self._open[id] = call
        return id

    # ------------------------------------------------------------ looking

    def find(self, member: Member, id: bytes) -> bytes | None:
        """A request in flight by the client's own id."""
        wanted = id_key(id)
        for key, call in self._open.items():
            if call.member is member and id_key(call.id) == wanted:
                return key
        return None

    def of(self, member: Member) -> list[bytes]:
        """All that a client has in flight."""
        return [key for key, call in self._open.items() if call.member is member]

    def __getitem__(self, id: bytes) -> Call:
        """One that is in flight, by an id that came from here."""
        return self._open[id]

    def open(self, id: bytes) -> Call | None:
        """One that is in flight, if it is."""
        return self._open.get(id)

    def by_token(self, token: bytes) -> Call | None:
        """The one that progress is reported for: in flight, or over."""
        call = self._open.get(token) or self._late.get(token)
        return call if call is not None and call.token else None

    # ------------------------------------------------------------ ends

    def end(self, id: bytes) -> Call | None:
        """It is over, if it was in flight, and nothing more is expected."""
        return self._open.pop(id, None)

    def answer(self, id: bytes) -> Call | None:
        """An answer has come; None when it belongs to nothing, or to what was answered before.

        Progress may go on after the answer: of a task (2025-11-25), or of a server that is late.
        """
        call = self._open.pop(id, None) or self._late.pop(id, None)
        if call is None:
            return None
        if call.token:
            self._remember(id, call._replace(id=b""))
        return call if call.id or call.member is None else None

    def cancel(self, id: bytes) -> None:
        """The client has given it up; an answer may still come, and would then be the client's."""
        self._remember(id, self._open.pop(id))

    def orphan(self, id: bytes) -> None:
        """Nobody waits for the answer, but it matters."""
        self._open[id] = self._open[id]._replace(member=None)

    def note_asked(self, id: bytes) -> Member:
        """The process asks something, most likely on behalf of this call: whose it is."""
        call = self._open[id]
        assert call.member is not None
        self._open[id] = call._replace(asked=True)
        return call.member

    def clear(self) -> list[Call]:
        """Nothing will be answered any more: what was in flight, for clients."""
        lost = list(self)
        self._open.clear()
        self._late.clear()
        return lost

    def _remember(self, id: bytes, call: Call) -> None:
        self._late[id] = call
        if len(self._late) > MAX_LATE:
            del self._late[next(iter(self._late))]


def as_ours(id: bytes) -> bytes:
    """The id, or token, of the process's words (raw JSON) as we spell it, if it is one of ours."""
    if id.isdigit():
        return id
    key = id_key(id)
    return key if isinstance(key, bytes) else b""
