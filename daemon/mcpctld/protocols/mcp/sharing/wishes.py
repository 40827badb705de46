"""What several clients of one legacy session want to be told: log messages from a level on, changes of resources.

MCP 2025-11-25, Logging, and Resources, "Subscriptions". The server knows of one client, so it is asked for all that
any of them wants, and what it tells is handed to those who wanted it.
"""

from collections import defaultdict
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

LEVELS = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
"""Of RFC 5424, the most verbose first."""
UNASKED = LEVELS.index("info")
"""What a client hears that named no level, once another has: what the server would send it by itself is not known."""


class Wishes(Generic[K]):
    """Of all clients, each known by a key."""

    def __init__(self) -> None:
        self._levels: dict[K, int] = {}
        self._subscribers: defaultdict[str, set[K]] = defaultdict(set)

    # ------------------------------------------------------------ log messages

    def want_level(self, client: K, level: str | None) -> None:
        """The client wants log messages from this level on; a level that MCP does not have changes nothing."""
        if level in LEVELS:
            self._levels[client] = LEVELS.index(level)

    @property
    def level(self) -> str | None:
        """The most verbose of all that was asked for; None while nobody has."""
        return LEVELS[min(self._levels.values())] if self._levels else None

    def hears(self, client: K, level: str | None) -> bool:
        """Whether a log message of this level is for the client."""
        if not self._levels or level not in LEVELS:
            return True
        return LEVELS.index(level) >= self._levels.get(client, UNASKED)

    # ------------------------------------------------------------ resources

    @property
    def uris(self) -> list[str]:
        """All that is subscribed to."""
        return list(self._subscribers)

    def subscribe(self, client: K, uri: str) -> None:
        """The client wants to hear of changes of a resource."""
        self._subscribers[uri].add(client)

    def unsubscribe(self, client: K, uri: str) -> bool:
        """It does not any more. True when nobody does."""
        self._subscribers[uri].discard(client)
        if self._subscribers[uri]:
            return False
        del self._subscribers[uri]
        return True

    def subscribers(self, uri: str) -> set[K]:
        """Who is to hear that a resource has changed.

        "This might be a sub-resource of the one that the client actually subscribed to": so whoever subscribed to the
        beginning of its URI; if nobody did, all that subscribed to anything.
        """
        by_uri = self._subscribers.items()
        found = {client for known, clients in by_uri if uri.startswith(known) for client in clients}
        return found or {client for _, clients in by_uri for client in clients}

    # ------------------------------------------------------------ the end

    def drop(self, client: K) -> list[str]:
        """The client has gone: the resources of which nobody wants to hear any more."""
        self._levels.pop(client, None)
        return [uri for uri in self.uris if self.unsubscribe(client, uri)]
