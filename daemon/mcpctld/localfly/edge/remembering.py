"""The replay cache: where requests were replayed to, so that the next ones go there at once.

Two ways to have something remembered: the answer that asks for a replay says so, for a path; or the service's
configuration does, for requests that carry the same cookie or header (`http_options.replay_cache`).
"""

from collections import OrderedDict
from collections.abc import Iterator
from http.cookies import CookieError, SimpleCookie
from typing import Literal, NamedTuple

from mcpctld.localfly.edge.replay import Replay
from mcpctld.localfly.edge.settings import Service, Sticky
from mcpctld.protocols.http1 import Headers
from mcpctld.protocols.http1_head import Head

MOST = 10_000
"""Entries; the oldest goes first."""
MOST_SEGMENTS = 64
"""Of a path that is looked up."""


class Source(NamedTuple):
    """Who had a request replayed."""

    machine: str
    region: str


class Entry(NamedTuple):
    """Where requests go, until when, and who had it so."""

    replay: Replay
    source: Source
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

    def add(self, key: Key, entry: Entry) -> None:
        """Requests with this key go there from now on."""
        self._entries[key] = entry
        self._entries.move_to_end(key)
        while len(self._entries) > MOST:
            self._entries.popitem(last=False)

    def forget(self, key: Key) -> None:
        """It leads nowhere any more."""
        self._entries.pop(key, None)

    def prefixes(self, app: str, path: str) -> list[Key]:
        """The keys that a path has in `app`, the longest prefix first."""
        ends = [at + 1 for at, sign in enumerate(path) if sign == "/"][:MOST_SEGMENTS]
        lengths = sorted({*ends, *(end - 1 for end in ends), len(path)} - {0}, reverse=True)
        return [Key(app, path[:length]) for length in lengths]


class Memory:
    """What the cache has to do with one request. `service` says the rules; None where there is no machine yet."""

    def __init__(self, cache: ReplayCache, app: str, service: Service | None, head: Head) -> None:
        self.status: Literal["", "miss", "hit", "bypass"] = ""
        """As the client is told; empty where nothing is said."""
        path = head.target.partition("?")[0]
        self._cache = cache
        self._app = app
        self._sticky = sticky_keys(app, service, path, head.headers) if service else []
        self._keys = [key for key, _ in self._sticky] + cache.prefixes(app, path)
        skips = (head.headers.get("fly-replay-cache-control") or "").lower() == "skip"
        self._skips = skips
        self._found: Key | None = None

    def fields(self) -> list[tuple[str, str]]:
        """What the answer says of it."""
        return [("fly-replay-cache-status", self.status)] if self.status else []

    def recall(self, now: float) -> Entry | None:
        """Where such requests go."""
        found = self._cache.find(self._keys, now)
        if found is None:
            self.status = "miss" if self._sticky else ""
            return None
        self._found, entry = found
        if self._skips and entry.allow_bypass:
            self.status = "bypass"
            return None
        self.status = "hit"
        return entry

    def forget(self) -> None:
        """What was recalled leads nowhere."""
        self.status = "miss"
        if self._found is not None:
            self._cache.forget(self._found)

    def remember(self, replay: Replay, source: Source, now: float) -> None:
        """Follow what an answer says, and the rules of the service."""
        asked = replay.remember
        if asked is not None and asked.invalidate:
            self._cache.forget(Key(self._app, asked.prefix))
            return
        if asked is not None:
            entry = Entry(replay, source, now + asked.ttl_s, asked.allow_bypass)
            self._cache.add(Key(self._app, asked.prefix), entry)
            self.status = self.status or "miss"
        for key, rule in self._sticky:
            self._cache.add(key, Entry(replay, source, now + rule.ttl_s, rule.allow_bypass))


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
