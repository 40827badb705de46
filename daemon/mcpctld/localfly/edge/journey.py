"""One request's way: to a machine, on to others where answers say `fly-replay`, and its answer's way back.

A request has a connection of its own to a machine, so connections and requests are the same number.
"""

import secrets
import time
from dataclasses import replace
from typing import Literal

import trio

from mcpctld.localfly.edge import headers
from mcpctld.localfly.edge.attempt import Attempt, Cut
from mcpctld.localfly.edge.client import Body, Client, Left
from mcpctld.localfly.edge.finding import Finder, Place
from mcpctld.localfly.edge.headers import Visit
from mcpctld.localfly.edge.link import Link
from mcpctld.localfly.edge.names import Named, is_of_another_page, read_host
from mcpctld.localfly.edge.remembering import Memory, ReplayCache, Source
from mcpctld.localfly.edge.replay import MOST_REPLAYS, Replay
from mcpctld.localfly.edge.settings import Service, find_service
from mcpctld.localfly.edge.ways import (
    Nowhere,
    Unanswerable,
    Way,
    fall_back,
    follow,
    read_wish,
    told,
)
from mcpctld.localfly.fleet import Fleet
from mcpctld.protocols.http1_head import Head
from mcpctld.protocols.http1_server import encode_response

INTERNET = "203.0.113.1"
"""The client's address for apps: one on loopback stands for one on the Internet (RFC 5737)."""
NEIGHBOUR = "fdaa:0:1::2"
"""And one that comes over flycast is on the private network."""

Ending = Literal["keep", "finish", "cut"]
"""What becomes of the client's connection."""
_TEXT = (("Content-Type", "text/plain; charset=utf-8"), ("Server", headers.SERVER))


class Journey:
    """A request of a client. `travel` once."""

    def __init__(
        self, fleet: Fleet, finder: Finder, cache: ReplayCache, region: str, client: Client, head: Head
    ) -> None:  # fmt: skip
        self._fleet = fleet
        self._finder = finder
        self._cache = cache
        self._client = client
        self._head = head
        self._body = Body(head)
        self._named = read_host(head.headers.get("host")) or Named("", private=False)
        self._visit = _visit(region, private=self._named.private)
        self._attempt = Attempt(client, head, self._body, self._visit, self._release)
        self._watching = trio.CancelScope()
        self._watched = trio.Event()

    async def travel(self) -> Ending:
        """Have it answered."""
        ending: Ending = "cut"
        self._body.read(self._client.reader)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch, nursery.cancel_scope)
            ending = await self._answer(nursery)
            nursery.cancel_scope.cancel()
        if self._body.broken is not None and not self._attempt.started:
            return await self._refuse(self._body.broken.status, self._body.broken.reason)
        return ending

    async def _watch(self, all_: trio.CancelScope) -> None:  # noqa: ASYNC910  (a task of its own)
        """Read what the client sends; when it leaves, nobody needs an answer."""
        with self._watching:
            try:
                await self._body.fill(self._client)
            except Left:
                pass
            all_.cancel()
        self._watched.set()

    async def _release(self) -> bytes:
        """Read nothing more of the client: what was read too much. Raises `Cut` if the request is not complete."""
        self._watching.cancel()
        await self._watched.wait()
        if not self._body.ended:
            raise Cut("the machine switched protocols before the request was complete")
        return self._client.reader.take_rest()

    # ------------------------------------------------------------ the answer

    async def _answer(self, nursery: trio.Nursery) -> Ending:
        """The answer, or why there is none."""
        try:
            await self._travel(nursery, self._first_way())
            return "keep" if self._attempt.kept else "finish"
        except Unanswerable as exc:
            self._log("error", exc.line)
            return await self._refuse(exc.status, str(exc))
        except Cut as exc:
            self._log("warning", f"the connection was cut: {exc}")
        except Left:
            pass
        return "cut"  # noqa: ASYNC910  (what failed, or ended, has waited)

    async def _refuse(self, status: int, text: str) -> Ending:
        keep = self._head.keep_alive and self._body.ended
        parts = encode_response(
            status, (*_TEXT, ("Fly-Request-Id", self._visit.id)), f"localfly: {text}\n".encode(),
            minor=self._head.minor, keep_alive=keep, head_only=self._head.method == "HEAD",
        )  # fmt: skip
        try:
            await self._client.send(b"".join(parts))
        except Left:
            return "cut"  # noqa: ASYNC910  (what failed, or ended, has waited)
        return "keep" if keep else "finish"

    def _log(self, level: Literal["warning", "error"], message: str) -> None:
        if self._fleet.app(self._named.app) is not None:
            self._fleet.log(self._named.app, "", "proxy", level, message)

    # ------------------------------------------------------------ the way

    def _first_way(self) -> Way:
        app = self._fleet.app(self._named.app)
        if app is None or not (app.private if self._named.private else app.public):
            kind = "private" if self._named.private else "public"
            raise Unanswerable(404, "", f"no app with a {kind} address has this name")
        if self._named.private and is_of_another_page(self._head.headers):
            raise Unanswerable(403, "", "web pages do not reach the private network")
        return Way(app.name, read_wish(self._head.headers))

    async def _travel(self, nursery: trio.Nursery, first: Way) -> None:
        """Go from machine to machine until one answers. Raises `Unanswerable`, `Cut`, `Left`."""
        memory = Memory(self._cache, first.app, self._any_service(first.app), self._head)
        way: Way | None = _recalled(memory, first.app) or first
        for _ in range(MOST_REPLAYS + 1):
            way = await self._go(nursery, way or first, memory)
            if way is None:
                return
        raise Unanswerable(502, "PA02", f"the request was replayed more than {MOST_REPLAYS} times")

    async def _go(self, nursery: trio.Nursery, way: Way, memory: Memory) -> Way | None:
        """Try one way: where it leads from there, None once the answer has come."""
        began = trio.current_time()
        try:
            async with self._finder.place(way, private=self._named.private) as place:
                link, status = Link(place.stream), memory.fields()
                asked = told(way, place.machine)
                replay = await self._attempt.run(nursery, link, asked, place.service, status)
        except Nowhere as exc:
            return self._go_back(way, memory, exc, trio.current_time() - began)  # noqa: ASYNC910  (what failed, or ended, has waited)
        return None if replay is None else self._follow(replay, way, place, memory)

    def _go_back(self, way: Way, memory: Memory, exc: Nowhere, elapsed_s: float) -> Way:
        """There is nobody that way: the way without what was remembered, or back to who wanted it."""
        self._log("warning", exc.line)
        if way.recalled:
            memory.forget()
            return self._first_way()
        back = fall_back(way, exc.reason, elapsed_s)
        if back is None:
            raise exc
        return back

    def _follow(self, replay: Replay, way: Way, place: Place, memory: Memory) -> Way:
        if not self._body.can_be_replayed:
            raise Unanswerable(502, "PA01", "a request with more than 1 MB cannot be replayed")
        source = Source(place.machine, place.region)
        if way.replay is None:
            memory.remember(replay, source, trio.current_time())
        return follow(replay, way.app, source, _now_us())

    def _any_service(self, app: str) -> Service | None:
        """The service of one of its machines: what they have in common is read from it."""
        private = self._named.private
        machines = self._fleet.machines(app)
        found = (find_service(each.config, private=private) for each in machines)
        return next((service for service in found if service is not None), None)


def _recalled(memory: Memory, app: str) -> Way | None:
    """The way that such requests have gone before."""
    entry = memory.recall(trio.current_time())
    if entry is None:
        return None
    return replace(follow(entry.replay, app, entry.source, _now_us()), recalled=True)


def _now_us() -> int:
    return time.time_ns() // 1000


def _visit(region: str, *, private: bool) -> Visit:
    client = NEIGHBOUR if private else INTERNET
    return Visit(f"{secrets.token_hex(13).upper()}-{region}", client, region, private)
