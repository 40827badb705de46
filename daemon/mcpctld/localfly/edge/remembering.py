"""The replay cache: where requests were replayed to, so that the next ones go there at once.

Two ways to have something remembered: the answer that asks for a replay says so, for a path; or the service's
configuration does, for requests that carry the same cookie or header (`http_options.replay_cache`).
"""

from collections import OrderedDict
from collections.abc import Iterator
from http.cookies import CookieError, SimpleCookie
from typing import NamedTuple

from mcpctld.localfly.edge.replay import Replay
from mcpctld.localfly.edge.settings import Service, Sticky
from mcpctld.protocols.http1 import Headers

MOST = 10_000
"""Entries; the oldest goes first."""


class Entry(NamedTuple):
    """Where requests go, until when, and who had it so."""

    replay: Replay
    source: str
    expires: float
    allow_bypass: bool


class Key(NamedTuple):
    """What requests have in common. `value` is that of the cookie or header of a rule; empty for a path alone."""

    app: str
    prefix: str
    value: str = ""


class ReplayCache:
    """Times are in seconds, of any one clock."""

    def __init__(self) -> None:
        self._entries: OrderedDict[Key, Entry] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, keys: list[Key], now: float) -> tuple[Key, Entry] | None:
        """The entry of the first of `keys` that has one."""
        for key in keys:
            entry = self._entries.get(key)
            if entry is not None and entry.expires > now:
                return key, entry
        return None

    def forget(self, key: Key) -> None:
        """It leads nowhere any more."""
        self._entries.pop(key, None)

    def remember(
        self, app: str, replay: Replay, source: str, sticky: list[tuple[Key, Sticky]], now: float
    ) -> None:
        """Follow what `replay` and the rules `sticky` of the service say."""
        told = replay.remember
        if told is not None and told.invalidate:
            self.forget(Key(app, told.prefix))
        elif told is not None:
            entry = Entry(replay, source, now + told.ttl_s, told.allow_bypass)
            self._add(Key(app, told.prefix), entry)
        for key, rule in sticky:
            self._add(key, Entry(replay, source, now + rule.ttl_s, rule.allow_bypass))

    def _add(self, key: Key, entry: Entry) -> None:
        self._entries[key] = entry
        self._entries.move_to_end(key)
        while len(self._entries) > MOST:
            self._entries.popitem(last=False)

    def keys(self, app: str, path: str) -> list[Key]:
        """The keys of `app` for a path, the longest prefix first."""
        found = [
            key
            for key in self._entries
            if key.app == app and not key.value and path.startswith(key.prefix)
        ]
        return sorted(found, key=lambda key: -len(key.prefix))


def sticky_keys(
    app: str, service: Service, path: str, headers: Headers
) -> list[tuple[Key, Sticky]]:
    """The keys that a service's rules give a request."""
    return list(_sticky(app, service, path, headers))


def _sticky(
    app: str, service: Service, path: str, headers: Headers
) -> Iterator[tuple[Key, Sticky]]:
    for rule in service.sticky:
        value = _value(rule, headers)
        if value and rule.ttl_s and path.startswith(rule.path_prefix):
            yield Key(app, rule.path_prefix, f"{rule.kind}:{rule.name.lower()}={value}"), rule


def _value(rule: Sticky, headers: Headers) -> str:
    if not rule.name:
        return ""
    if rule.kind == "header":
        return headers.get(rule.name) or ""
    try:
        morsel = SimpleCookie(headers.get("cookie") or "").get(rule.name)
    except CookieError:
        return ""
    return morsel.value if morsel is not None else ""
