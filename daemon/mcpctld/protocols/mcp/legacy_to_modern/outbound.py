"""How messages are put to either side.

Ids of requests are of three kinds. The client's own pass through to the server, where they cannot meet others: it has
one client, and no two requests in flight have the same. Requests that we make, and those of the client that look like
ours, get an id with our prefix and a number that is used once. So do our questions to the client.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress

from mcpctld.errors import McpctlError, PeerError, UserError
from mcpctld.protocols.jsonrpc import (
    INTERNAL_ERROR,
    Malformed,
    Message,
    error_line,
    id_key,
    parse,
    result_line,
)
from mcpctld.protocols.mcp.bridge import Event, Fail, GiveUp, ToClient, ToServer
from mcpctld.protocols.mcp.legacy_to_modern.batches import Batches
from mcpctld.protocols.mcp.legacy_to_modern.envelope import Envelope
from mcpctld.protocols.mcp.legacy_to_modern.initialize import Client
from mcpctld.protocols.mcp.objects import close_text

PREFIX = b'"mcpctl:'


class Outbound:
    """Makes messages and emits them; answers to the client's batches are collected."""

    def __init__(self, emit: Callable[[Event], None]) -> None:
        self._emit = emit
        self._count = 0
        self._envelope = Envelope(b"{}", b"")
        self.batches = Batches()

    def speak_for(self, client: Client) -> None:
        """Say in each request from now on what this client said of itself."""
        self._envelope = Envelope(client.capabilities, client.info)

    def set_level(self, level: str) -> None:
        """Ask for logs with each request from now on."""
        self._envelope.set_level(level)

    def new_id(self) -> bytes:
        """An id of ours that was never used."""
        self._count += 1
        return b'%b%d"' % (PREFIX, self._count)

    # ------------------------------------------------------------ to the server

    def id_for_server(self, id: bytes) -> bytes:
        """The id under which a request of the client goes on."""
        key = id_key(id)
        return self.new_id() if isinstance(key, bytes) and key.startswith(PREFIX) else id

    def ask_server(self, id: bytes, method: str, params: Mapping[str, bytes]) -> None:
        """A request, with all that 2026-07-28 wants in it. Raises `UserError` when it cannot be written."""
        self._emit(ToServer(_request(id, method, self._envelope.seal(params))))

    def tell_server(self, method: str, params: Mapping[str, bytes]) -> None:
        """A notification; dropped when it cannot be written."""
        with suppress(UserError):
            self._emit(ToServer(_notification(method, self._envelope.seal(params))))

    def give_up(self, id: bytes) -> None:
        """The server need not answer this any more."""
        self._emit(GiveUp(id))

    # ------------------------------------------------------------ to the client

    def answer(self, id: bytes, result: bytes) -> None:
        """A result (JSON text)."""
        self._answer(id, result_line(id, result))

    def relay_error(self, id: bytes, error: bytes) -> None:
        """An error of the server's (JSON text)."""
        self._answer(id, b'{"jsonrpc":"2.0","id":%b,"error":%b}' % (id, error))

    def refuse(self, id: bytes, code: int, text: str) -> None:
        """An error that the client's own request brought about."""
        self._answer(id, error_line(id, code, text))

    def fail(self, id: bytes, error: McpctlError) -> None:
        """An error of ours."""
        if self.batches.holds(id):
            details: dict[str, object] = {"source": "mcpctl", "kind": error.kind}
            self._answer(id, error_line(id, INTERNAL_ERROR, f"mcpctl: {error}", details))
        else:
            self._emit(Fail(id, error))

    def drop(self, id: bytes) -> None:
        """The client's request gets no answer from here any more."""
        if (batch := self.batches.forget(id)) is not None:
            self._emit(ToClient(batch))

    def _answer(self, id: bytes, line: bytes) -> None:
        try:
            answer = _parse(line, "the answer")
        except UserError as exc:
            self.fail(id, PeerError(str(exc)))
            return
        if not self.batches.holds(id):
            self._emit(ToClient(answer))
        elif (batch := self.batches.receive_answer(answer)) is not None:
            self._emit(ToClient(batch))

    def ask_client(self, id: bytes, method: str, params: bytes) -> None:
        """A request, as servers of old made them. Raises `UserError` when it cannot be written."""
        self._emit(ToClient(_request(id, method, params)))

    def tell_client(self, method: str, params: bytes = b"{}") -> None:
        """A notification; dropped when it cannot be written."""
        with suppress(UserError):
            self._emit(ToClient(_notification(method, params)))

    def relay(self, message: Message) -> None:
        """A message of the server's, as it is."""
        self._emit(ToClient(message))


def _request(id: bytes, method: str, params: bytes) -> Message:
    head = b'{"jsonrpc":"2.0","id":%b,"method":%b' % (id, close_text(method))
    return _parse(b'%b,"params":%b}' % (head, params), method)


def _notification(method: str, params: bytes) -> Message:
    head = b'{"jsonrpc":"2.0","method":%b' % close_text(method)
    return _parse(b'%b,"params":%b}' % (head, params), method)


def _parse(line: bytes, what: str) -> Message:
    """Made of texts that were parsed before; only how deep they stand has changed."""
    try:
        message = parse(line)
    except Malformed as exc:
        raise UserError(f"cannot write {what[:40]} on: {exc.reason}") from exc
    assert isinstance(message, Message)
    return message
