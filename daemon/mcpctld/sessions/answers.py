"""Server to client: what is written to the client's stdout and stderr. Every request is answered exactly once."""

from collections.abc import Callable

from mcpctld.drivers.outbox import ROOM
from mcpctld.drivers.streams import DescriptorStream
from mcpctld.errors import McpctlError
from mcpctld.protocols.jsonrpc import INTERNAL_ERROR, Batch, Kind, Message, error_line
from mcpctld.sessions.calls import Calls
from mcpctld.sessions.profile import Profile
from mcpctld.sessions.stderr import ClientStderr


class Answers:
    """The session as its upstream sees it. Implements `mcpctld.upstreams.Downstream`."""

    def __init__(
        self,
        io: DescriptorStream,
        client_stderr: ClientStderr,
        calls: Calls,
        profile: Profile,
        client_left: Callable[[], None],
    ) -> None:
        self._io = io
        self._stderr = client_stderr
        self._calls = calls
        self._profile = profile
        self._client_left = client_left

    # ------------------------------------------------------------ Downstream

    def deliver(self, message: Message | Batch) -> None:
        """Write a message of the server; answers that nobody waits for are dropped."""
        parts = message.messages if isinstance(message, Batch) else (message,)
        wanted = [self._settle(part) for part in parts]
        if any(wanted):
            self._write(message.raw)
        else:
            self._profile.log.debug("server.unasked", extra={"bytes": len(message.raw)})

    def _settle(self, message: Message) -> bool:
        """Whether the client wants it."""
        if message.kind not in (Kind.RESULT, Kind.ERROR):
            return True
        call = self._calls.end(message.id, failed=message.kind is Kind.ERROR)
        if call is None:
            return self._calls.was_cancelled(message.id)
        self._profile.answered(call, message)
        return True

    def fail(self, id: bytes, error: McpctlError) -> None:
        """Answer a request with an error of ours, unless it was answered or cancelled."""
        if self._end(id, error):
            self._profile.note(error)

    def lost(self, message: Message | Batch | None, error: McpctlError) -> None:
        """Nobody below could help it: the requests have failed."""
        for request in (
            ()
            if message is None
            else (message.messages if isinstance(message, Batch) else (message,))
        ):
            if request.kind is Kind.REQUEST:
                self.fail(request.id, error)

    def evidence(self, request: Message, status: int, error: Message | None) -> bool:
        """Nothing is left to be done about it here."""
        return False

    def stderr(self, data: bytes) -> None:
        """Pass on what the server's process said."""
        self._stderr.write(data)

    @property
    def client_full(self) -> bool:
        """True when the client does not read what it is sent."""
        return self._io.buffered > ROOM

    async def wait_client(self) -> None:
        """Wait until the client has read on."""
        await self._io.wait_room()

    # ------------------------------------------------------------ our own answers

    def fail_all(self, error: McpctlError) -> None:
        """The same for all requests in flight; what went wrong is noted by whoever knows it."""
        for call in self._calls:
            self._end(call.id, error)

    def _end(self, id: bytes, error: McpctlError) -> bool:
        call = self._calls.end(id, failed=True)
        if call is not None:
            self.refuse(call.id, INTERNAL_ERROR, error)
        return call is not None

    def refuse(self, id: bytes, code: int, error: McpctlError) -> None:
        """An error for something that never became a call; `id` is raw JSON."""
        details: dict[str, object] = {"source": "mcpctl", "kind": error.kind}
        self._write(error_line(id, code, f"mcpctl: {error}", details))

    def _write(self, line: bytes) -> None:
        self._io.write(line, b"\n")
        if self._io.broken:
            self._client_left()
