"""The two sides of the bridge, as its parts see them: what is open there, and how to speak to it."""

from collections.abc import Callable, Hashable

from mcpctld.errors import McpctlError, UserError
from mcpctld.protocols.jsonrpc import (
    Message,
    error_text,
    id_key,
    new_error,
    new_notification,
    new_request,
    new_result,
)
from mcpctld.protocols.mcp.bridge import Event, Fail, GiveUp, ToClient, ToServer
from mcpctld.protocols.mcp.modern_to_legacy.requests import Refusal
from mcpctld.protocols.mcp.objects import close_object

Answer = Message | McpctlError
"""A result or error of the server, or why none comes."""
Then = Callable[[Answer, float], None]
"""Takes an answer, and the time."""
Emit = Callable[[Event], None]


class ClientSide:
    """Answers each request of the client at most once: who answers one that is not open says nothing."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._open: set[Hashable] = set()
        self.proven = False
        """The server is of the era that the bridge is for; before, nothing may be given to the client."""

    def begin(self, id: bytes) -> bool:
        """The client asks; False when the id is in use."""
        key = id_key(id)
        if key in self._open:
            return False
        self._open.add(key)
        return True

    def leave(self, id: bytes) -> None:
        """The client does not wait for the answer any more."""
        self._open.discard(id_key(id))

    def answer(self, id: bytes, result: bytes) -> None:
        """Answer with a result (JSON text)."""
        if self._close(id):
            self._emit(ToClient(new_result(id, result)))

    def relay_error(self, id: bytes, error: bytes) -> None:
        """Answer with an error of the server (JSON text)."""
        if self._close(id):
            self._emit(ToClient(new_error(id, error)))

    def refuse(self, id: bytes, refusal: Refusal) -> None:
        """Answer with an error of ours that has a code."""
        if not self.proven:
            error = UserError(refusal.text)
            error.rpc_code, error.rpc_data = refusal.code, refusal.data
            self.fail(id, error)
            return
        data: dict[str, object] = {"source": "mcpctl", **refusal.data}
        self.relay_error(id, error_text(refusal.code, f"mcpctl: {refusal.text}", data))

    def fail(self, id: bytes, error: McpctlError) -> None:
        """Answer with an error of ours."""
        if self._close(id):
            self._emit(Fail(id, error))

    def tell(self, method: str, params: bytes) -> None:
        """Send a notification; `params` is JSON text."""
        self._emit(ToClient(new_notification(method, params)))

    def _close(self, id: bytes) -> bool:
        key = id_key(id)
        if key not in self._open:
            return False
        self._open.remove(key)
        return True


class ServerSide:
    """Asks under ids of the bridge's own, so that a request can outlive the id that the client gave it."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._asked: dict[Hashable, Then] = {}
        self._count = 0

    def new_id(self) -> bytes:
        """An id for `ask`, used as a progress token, too.

        The prefix keeps it apart from ids of the client, which the same transport may have seen.
        """
        self._count += 1
        return b'"mcpctl:bridge:%d"' % self._count

    def ask(self, id: bytes, method: str, params: bytes, then: Then) -> None:
        """Make a request; `params` is JSON text or empty."""
        self._asked[id] = then
        self._emit(ToServer(new_request(id, method, params)))

    def answered(self, id: bytes, answer: Answer, now: float) -> None:
        """An answer came, or none will; one to what was not asked is dropped."""
        then = self._asked.pop(id_key(id), None)
        if then is not None:
            then(answer, now)

    def tell(self, method: str, params: bytes = b"") -> None:
        """Send a notification; `params` is JSON text or empty."""
        self._emit(ToServer(new_notification(method, params)))

    def give_up(self, id: bytes) -> None:
        """Cancel a request. To a legacy server a closed stream says nothing (MCP 2025-11-25, Transports)."""
        if self._asked.pop(id, None) is not None:
            self.tell("notifications/cancelled", close_object({"requestId": id}))
            self._emit(GiveUp(id))

    def answer(self, id: bytes, result: bytes) -> None:
        """Answer a request of the server with a result (JSON text)."""
        self._emit(ToServer(new_result(id, result)))

    def refuse(self, id: bytes, code: int, text: str) -> None:
        """Answer a request of the server with an error."""
        self._emit(ToServer(new_error(id, error_text(code, text))))
