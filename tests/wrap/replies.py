"""The client's end of one HTTP answer, kept in memory. As strict as the server's own: calls in another order fail."""

import json
from collections.abc import Callable
from typing import Any, NamedTuple

import trio


class Heard(NamedTuple):
    """One server-sent event."""

    id: str
    data: str

    @property
    def message(self) -> Any:
        """What it says, as JSON."""
        return json.loads(self.data)


def nobody() -> None:
    """Nobody wants to know."""


class Ear:
    """A `mcpctld.drivers.http.server.Reply`, and what a test can see of it."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.ended = False
        self.gone = False
        self.lagging = False
        """The client does not read."""
        self.on_gone: Callable[[], None] = nobody
        self._changed = trio.Event()
        self._room = trio.Event()

    # ------------------------------------------------------------ what the front calls

    def send(self, status: int, headers: tuple[tuple[str, str], ...], body: bytes = b"") -> None:
        """The whole answer."""
        self.start(status, headers)
        self.write(body)
        self.end()

    def start(self, status: int, headers: tuple[tuple[str, str], ...]) -> None:
        """The answer begins."""
        if self.gone:
            return
        self._expect(begun=False)
        assert 200 <= status < 600
        self.status = status
        self.headers = {name.lower(): value for name, value in headers}
        once = [name for name, _ in headers if name != "WWW-Authenticate"]
        assert len(set(once)) == len(once), "a header is said twice"
        self._wake()

    def write(self, data: bytes) -> None:
        """A piece of its body."""
        if not self.gone:
            self._expect(begun=True)
            self.body += data
            self._wake()

    def end(self) -> None:
        """The answer is complete."""
        if not self.gone:
            self._expect(begun=True)
            self.ended = True
            self._wake()

    @property
    def full(self) -> bool:
        """Whether the client reads more slowly than we write."""
        return self.lagging

    async def wait_room(self) -> None:
        """Wait until it has read on, or is gone."""
        await trio.lowlevel.checkpoint()
        while self.lagging and not self.gone:
            await self._room.wait()

    def _expect(self, *, begun: bool) -> None:
        if self.ended or bool(self.status) is not begun:
            raise RuntimeError(f"the answer is {self.status}, ended: {self.ended}")

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    # ------------------------------------------------------------ what a client does

    def leave(self) -> None:
        """The connection breaks."""
        assert not self.ended
        self.gone = True
        self._room.set()
        self.on_gone()
        self._wake()

    def read_on(self) -> None:
        """The client reads again."""
        self.lagging = False
        self._room.set()

    # ------------------------------------------------------------ what a test sees

    async def until(self, found: Callable[["Ear"], object]) -> None:
        """Wait for something to be true of it."""
        while not found(self):
            await self._changed.wait()

    async def wait(self) -> "Ear":
        """Wait for the end of the answer."""
        await self.until(lambda ear: ear.ended)
        return self

    async def heard(self, count: int) -> list[Any]:
        """Wait for so many messages: all that have come."""
        await self.until(lambda ear: len(ear.messages) >= count)
        return self.messages

    @property
    def json(self) -> Any:
        """The body in one piece."""
        assert self.ended
        assert self.headers["content-type"] == "application/json"
        return json.loads(self.body)

    @property
    def streams(self) -> bool:
        """Whether the answer is a stream of events."""
        return self.headers.get("content-type") == "text/event-stream"

    @property
    def events(self) -> list[Heard]:
        """The events so far that have data, even none to speak of: comments and bare fields are left out."""
        assert self.streams
        blocks = self.body.decode().split("\n\n")[:-1]
        return [_event(block) for block in blocks if "data:" in block]

    @property
    def messages(self) -> list[Any]:
        """The messages in the stream so far."""
        return [event.message for event in self.events if event.data] if self.streams else []

    @property
    def error(self) -> dict[str, Any]:
        """The error that the answer is."""
        return (self.messages[-1] if self.streams else self.json)["error"]


def _event(block: str) -> Heard:
    fields = dict(line.partition(": ")[::2] for line in block.split("\n"))
    return Heard(fields.get("id", ""), fields.get("data", "").strip())
