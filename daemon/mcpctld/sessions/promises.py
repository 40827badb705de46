"""What the client was promised to be told, and telling it: that a list which it was given early has changed."""

from collections.abc import Hashable
from dataclasses import dataclass

from mcpctld.protocols.jsonrpc import Message, id_key
from mcpctld.protocols.mcp.caching import (
    ALL_LISTS,
    Changes,
    change_notice,
    promised,
    subscription_of,
    wanted,
)
from mcpctld.upstreams import Downstream


@dataclass(slots=True)
class _Listen:
    """An open `subscriptions/listen`: its id (JSON text), what it asks for, and what of it the server agreed to."""

    id: bytes
    wanted: Changes
    granted: Changes = frozenset()


class Promises:
    """Of one session. What cannot be told yet is told as soon as it can be; what was not asked for, never.

    Legacy: after `notifications/initialized`, what `initialize` promised. Modern: on the client's subscriptions.
    """

    def __init__(self, downstream: Downstream) -> None:
        self._downstream = downstream
        self._promised: Changes = frozenset()
        self._initialized = False
        self._listens: dict[Hashable, _Listen] = {}
        self._due: Changes = frozenset()

    def changed(self, changes: Changes) -> None:
        """The client was given lists that are not true any more."""
        self._due |= changes & ALL_LISTS
        self._tell()

    def _tell(self) -> None:
        if self._initialized:
            self._say(self._due & self._promised)
            self._due = frozenset()
        for listen in self._listens.values():
            self._say(self._due & listen.granted, listen.id)
        told = [listen.granted for listen in self._listens.values()]
        self._due = self._due.difference(*told)

    def _say(self, changes: Changes, subscription: bytes = b"") -> None:
        for change in sorted(changes):
            self._downstream.deliver(change_notice(change, subscription))

    # ------------------------------------------------------------ legacy

    def begin(self, result: bytes) -> None:
        """The client got this answer to `initialize`."""
        self._promised, self._initialized = promised(result), False

    def initialized(self) -> None:
        """The client sent `notifications/initialized`: it may be told things."""
        self._initialized = True
        self._tell()

    # ------------------------------------------------------------ modern

    def listen(self, request: Message) -> None:
        """The client sent `subscriptions/listen`."""
        self._listens[id_key(request.id)] = _Listen(request.id, wanted(request.params))

    def acknowledged(self, notification: Message) -> None:
        """The server has agreed to some of it, and the client has been told so."""
        listen = self._listens.get(id_key(subscription_of(notification.params)))
        if listen is not None:
            listen.granted = listen.wanted & wanted(notification.params)
            self._tell()

    def ended(self, key: Hashable) -> None:
        """A request has ended (`key`: see `id_key`), maybe a subscription."""
        self._listens.pop(key, None)
