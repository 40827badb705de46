"""One request on one connection to a machine: there, and its answer back, both piece by piece as they come."""

from collections.abc import Awaitable, Callable

import trio

from mcpctld.localfly.edge import headers
from mcpctld.localfly.edge import replay as replays
from mcpctld.localfly.edge.client import CHUNK, Body, Client
from mcpctld.localfly.edge.headers import Field, Visit
from mcpctld.localfly.edge.link import Link, Lost
from mcpctld.localfly.edge.replay import BadReplay, Replay
from mcpctld.localfly.edge.settings import Service
from mcpctld.localfly.edge.ways import Unanswerable, Way
from mcpctld.protocols import http1
from mcpctld.protocols.http1_head import Head
from mcpctld.protocols.http1_server import LAST_CHUNK, encode_chunk


class Cut(Exception):
    """The client's connection ends here, in the middle of an answer, or before one. The text says why."""


class Attempt:
    """`kept`, once the answer is out: whether the client's connection takes another request.

    `release` gives the client's connection away: it ends the reading of what the client sends, and tells what had been
    read too much.
    """

    def __init__(
        self, client: Client, request: Head, body: Body, visit: Visit,
        release: Callable[[], Awaitable[bytes]],
    ) -> None:  # fmt: skip
        self.started = False
        """Some of the answer is with the client."""
        self.kept = False
        self._client = client
        self._request = request
        self._body = body
        self._visit = visit
        self._release = release

    async def run(
        self, nursery: trio.Nursery, link: Link, way: Way, service: Service, more: list[Field]
    ) -> Replay | None:
        """Send the request, and hand the answer on. What it says instead if it is not for the client.

        Raises `Unanswerable`, `Cut` and `Left`. `more` are fields of the answer.
        """
        request = headers.encode_request(
            self._request, self._visit, service, way.transform, way.fields
        )
        link.expect(self._request.method, upgrade=headers.wants_upgrade(self._request))
        sending = trio.CancelScope()

        async def send() -> None:
            with sending:
                await link.send(request, self._body, chunked=self._request.chunked)

        nursery.start_soon(send)
        try:
            with self._watch(link, service.idle_timeout_s):
                return await self._answer(link, service, more)
        finally:
            sending.cancel()
        raise Cut(f"not a byte came or went for {service.idle_timeout_s:g} s")

    def _watch(self, link: Link, idle_s: float) -> trio.CancelScope:
        """Ends what is in it when for so long nothing has come or gone."""
        scope = trio.CancelScope(deadline=trio.current_time() + idle_s)

        def touch() -> None:
            scope.deadline = trio.current_time() + idle_s

        self._client.touch = link.touch = touch
        return scope

    async def _answer(self, link: Link, service: Service, more: list[Field]) -> Replay | None:
        try:
            answer = await link.head()
            replay = await _read_replay(link, answer)
        except Lost as exc:
            raise Unanswerable(502, "PC03", f"the machine gave no answer: {exc}") from exc
        except BadReplay as exc:
            raise Unanswerable(502, "PA03", str(exc)) from exc
        if replay is not None:
            return replay
        try:
            await self._relay(link, answer, service, more)
        except Lost as exc:
            raise Cut(str(exc)) from exc
        return None

    async def _relay(
        self, link: Link, answer: http1.Head, service: Service, more: list[Field]
    ) -> None:
        framing = headers.frame(self._request, answer)
        keeps = self._request.keep_alive and self._body.ended and not framing.by_close
        head = headers.encode_answer(
            self._request, answer, framing, self._visit, service, keep_alive=keeps, more=more
        )
        self.started = True
        await self._client.send(head)
        while not isinstance(event := await link.next_event(), http1.End):
            if isinstance(event, http1.Switched):
                await self._tunnel(link, event.data)
                return
            if isinstance(event, http1.Data) and framing.has_body:
                piece = b"".join(encode_chunk(event.data)) if framing.chunked else event.data
                await self._client.send(piece)
        if framing.chunked:
            await self._client.send(LAST_CHUNK)
        self.kept = keeps

    async def _tunnel(self, link: Link, came: bytes) -> None:
        """Another protocol: bytes, until both sides have ended."""
        rest = await self._release()
        await self._client.send(came)
        await link.push(rest)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_pump, self._client.stream, link.stream, self._client.touch)
            await _pump(link.stream, self._client.stream, link.touch)


async def _read_replay(link: Link, answer: http1.Head) -> Replay | None:
    """What an answer says that is not for the client. Raises `BadReplay` and `Lost`."""
    if replays.is_instructions(answer.headers):
        return replays.read_body(await link.instructions())
    return replays.read_header(answer.headers)  # noqa: ASYNC910  (the head has been waited for)


async def _pump(
    source: trio.SocketStream, target: trio.SocketStream, touch: Callable[[], None]
) -> None:
    """All that comes from `source` until its end, which is passed on, too."""
    try:
        while data := await source.receive_some(CHUNK):
            await target.send_all(data)
            touch()
        await target.send_eof()
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        await trio.aclose_forcefully(source)
        await trio.aclose_forcefully(target)
