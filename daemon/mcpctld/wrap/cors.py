"""Answers for web pages: a browser shows them to the page that asked only where their headers say so (Fetch, CORS)."""

from collections.abc import Callable

from mcpctld.drivers.http.server import Fields, Reply


class CorsReply:
    """A `Reply` that adds headers, for a browser to show the answer to the page that asked."""

    def __init__(self, reply: Reply, headers: Fields) -> None:
        self._reply = reply
        self._headers = headers
        self.write = reply.write
        self.end = reply.end
        self.wait_room = reply.wait_room

    def send(self, status: int, headers: Fields, body: bytes = b"") -> None:
        """The whole answer."""
        self._reply.send(status, (*headers, *self._headers), body)

    def start(self, status: int, headers: Fields) -> None:
        """The answer begins."""
        self._reply.start(status, (*headers, *self._headers))

    @property
    def full(self) -> bool:
        """As of the reply."""
        return self._reply.full

    @property
    def gone(self) -> bool:
        """As of the reply."""
        return self._reply.gone

    @gone.setter
    def gone(self, value: bool) -> None:
        self._reply.gone = value

    @property
    def on_gone(self) -> Callable[[], None]:
        """As of the reply."""
        return self._reply.on_gone

    @on_gone.setter
    def on_gone(self, callback: Callable[[], None]) -> None:
        self._reply.on_gone = callback
