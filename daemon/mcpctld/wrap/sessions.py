"""The legacy sessions that there are."""

import secrets
from collections.abc import Iterator

import trio

from mcpctld.wrap.session import Session
from mcpctld.wrap.world import World

EVICT_AFTER_S = 30.0
"""A session that nobody has used for so long gives its place to a new one: its client can begin again."""


class Sessions:
    """By id."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._by_id: dict[str, Session] = {}

    def __iter__(self) -> Iterator[Session]:
        return iter(tuple(self._by_id.values()))

    def __len__(self) -> int:
        return len(self._by_id)

    def new_id(self) -> str:
        """For a session of this machine."""
        return self._world.affinity.new_id()

    def add(self, session: Session) -> None:
        """A session begins."""
        self._by_id[session.id] = session

    def find(self, id: str, principal: str) -> Session | None:
        """An open session of this caller."""
        session = self._by_id.get(id)
        if session is None or session.closed:
            return None
        same = secrets.compare_digest(session.principal.encode(), principal.encode())
        return session if same else None

    def on_beat(self, now: float) -> None:
        """Keep connections alive; forget what has ended, and end what nobody uses."""
        for session in self:
            if session.closed:
                del self._by_id[session.id]
                continue
            if session.busy:
                session.touch()  # it counts from the end of that
            if now - session.used_at > self._world.idle_timeout_s:
                session.close()
            else:
                session.on_beat(now)

    def evict(self) -> bool:
        """End the session that was used the longest ago, if nobody seems to miss it."""
        now = trio.current_time()
        unused = [
            session
            for session in self
            if not session.closed and not session.busy and now - session.used_at > EVICT_AFTER_S
        ]
        if unused:
            min(unused, key=lambda session: session.used_at).close()
        return bool(unused)

    @property
    def busy(self) -> bool:
        """Whether a call is under way, or somebody listens."""
        return any(session.busy for session in self if not session.closed)

    def close(self) -> None:
        """End all of them."""
        for session in self:
            session.close()
