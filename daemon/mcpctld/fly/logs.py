"""The logs of an app, read page by page. Fly keeps them for about a week."""

from typing import Any
from urllib.parse import quote

import msgspec
import trio

from mcpctld.fly.errors import FlyError
from mcpctld.fly.http import Ask, Wire
from mcpctld.fly.lenient import read

FIRST_PAUSE_S = 0.064
LONGEST_PAUSE_S = 4.096
MOST_FAILURES = 9
"""After so many errors in a row following ends."""


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One line. `provider` is `app` for the machine's own output, `proxy`, or `runner` for what became of it."""

    timestamp: str = ""
    message: str = ""
    level: str = ""
    instance: str = ""
    region: str = ""
    provider: str = ""


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Some lines, the oldest first, and what to ask for next; None when Fly did not say."""

    lines: list[Line]
    next_token: str | None


class Logs:
    """`/api/v1/apps/APP/logs`"""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def poll(
        self,
        app: str,
        next_token: str | None = None,
        *,
        instance: str | None = None,
        region: str | None = None,
    ) -> Page:
        """The page after `next_token`; without one, the last hundred lines."""
        url = f"{self._wire.endpoints.logs}/apps/{quote(app, safe='')}/logs"
        query = {"next_token": next_token, "instance": instance, "region": region}
        asked = {name: value for name, value in query.items() if value}
        ask = Ask("GET", url, f"read the logs of {app}", "logs", app, asked)
        found = (await self._wire.send(ask)).mapping()
        rows = found.get("data")
        lines = [_line(row) for row in rows] if isinstance(rows, list) else []
        meta = found.get("meta")
        token = meta.get("next_token") if isinstance(meta, dict) else None
        return Page(lines=lines, next_token=str(token) if token else None)

    def follow(self, app: str, *, instance: str | None = None) -> "Follower":
        """All lines from the last hundred on."""
        return Follower(self, app, instance)


class Follower:
    """The logs of an app as they come."""

    def __init__(self, logs: Logs, app: str, instance: str | None) -> None:
        self._logs = logs
        self._app = app
        self._instance = instance
        self._token: str | None = None
        self._pause_s = FIRST_PAUSE_S
        self._failures = 0

    async def next(self) -> list[Line]:
        """Wait for the next lines, one at least. Raises `FlyError` after too many failures in a row."""
        while True:
            lines = await self._more()
            if lines:
                self._pause_s = FIRST_PAUSE_S
                return lines
            await trio.sleep(self._pause_s)
            self._pause_s = min(LONGEST_PAUSE_S, 2 * self._pause_s)

    async def _more(self) -> list[Line]:
        try:
            page = await self._logs.poll(self._app, self._token, instance=self._instance)
        except FlyError as exc:
            self._failures += 1
            if exc.kind in ("denied", "not-found") or self._failures > MOST_FAILURES:
                raise
            await trio.lowlevel.checkpoint()
            return []
        self._failures = 0
        self._token = page.next_token or self._token
        return page.lines


def _line(row: Any) -> Line:
    attributes = row.get("attributes") if isinstance(row, dict) else None
    members = attributes if isinstance(attributes, dict) else {}
    meta = members.get("meta")
    event = meta.get("event") if isinstance(meta, dict) else None
    provider = event.get("provider") if isinstance(event, dict) else None
    return read(Line, members, provider=provider if isinstance(provider, str) else "")
