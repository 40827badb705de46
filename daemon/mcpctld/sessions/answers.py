"""Server to client: what is written to the client's stdout and stderr. Every request is answered exactly once."""

import select
from collections import deque
from collections.abc import Callable
from typing import Protocol

from mcpctld.drivers.outbox import ROOM
from mcpctld.drivers.streams import DescriptorStream
from mcpctld.errors import McpctlError
from mcpctld.protocols.checkpoint_format import Found
from mcpctld.protocols.jsonrpc import INTERNAL_ERROR, Batch, Kind, Message, error_line
from mcpctld.protocols.mcp.listening import ACKNOWLEDGED
from mcpctld.protocols.mcp.methods import PREFIX
from mcpctld.protocols.mcp.objects import open_object
from mcpctld.protocols.mcp.script import SETTLING
from mcpctld.sessions.calls import Call, Calls
from mcpctld.sessions.checkpoint import Logbook
from mcpctld.sessions.profile import Profile
from mcpctld.sessions.stderr import ClientStderr

ATOMIC = select.PIPE_BUF
"""So much goes into a pipe whole or not at all (POSIX, `write`)."""
INHERITED = -1
"""In place of a line: what the last daemon could not get rid of."""


class Aside(Protocol):
    """Who asks the server on our own account, beside the client."""

    def takes(self, message: Message) -> bool:
        """Whether an answer to nothing of the client's, or an acknowledgement, is not for the client."""

    def takes_failure(self, id: bytes, error: McpctlError) -> bool:
        """Whether the request that failed was none of the client's."""


class Answers:
    """The session as its upstream sees it. Implements `mcpctld.upstreams.Downstream`."""

    def __init__(
        self,
        io: DescriptorStream,
        client_stderr: ClientStderr,
        calls: Calls,
        profile: Profile,
        logbook: Logbook,
        client_left: Callable[[], None],
    ) -> None:
        self._io = io
        self._outbox = io.outbox
        self._stderr = client_stderr
        self._calls = calls
        self._profile = profile
        self._logbook = logbook
        self._lines = logbook.lines
        self._client_left = client_left
        self._backlog: deque[tuple[int, int]] = deque()
        """Where a message ends among the bytes that had to be kept, and the line that it answers."""
        self._boundary = 0
        """Where the last message ends that has been sent whole, counted likewise."""
        self._inherited_at = 0
        self.aside: Aside | None = None
        io.progress = self._on_progress
        io.surrenders = True

    # ------------------------------------------------------------ Downstream

    def deliver(self, message: Message | Batch) -> None:
        """Write a message of the server; answers that nobody waits for are dropped."""
        if isinstance(message, Batch):
            self._deliver_batch(message)
        elif not message.method:
            call = self._settle(message)
            if call is not None:
                self._write(message.raw, call.line)
            elif self._is_late(message):
                self._write(message.raw)
        elif message.method != ACKNOWLEDGED or not self._is_heard(message):
            self._write(message.raw)

    def _deliver_batch(self, batch: Batch) -> None:
        calls = [call for part in batch.messages if (call := self._settle(part)) is not None]
        others = [part for part in batch.messages if part.kind not in (Kind.RESULT, Kind.ERROR)]
        if calls or others or any(map(self._is_late, batch.messages)):
            self._write(batch.raw)
            for call in calls:
                self._written(call.line)

    def _settle(self, message: Message) -> Call | None:
        """The call that it answers."""
        call = self._calls.end(message.id, failed=message.kind is Kind.ERROR)
        if call is not None and call.method in SETTLING:
            self._profile.answered(call, message)
            if call.line and not self._io.broken:
                self._logbook.settle(call.line, message)
        return call

    def _is_late(self, answer: Message) -> bool:
        """Whether the client wants an answer that belongs to no call: one that it has cancelled."""
        if self.aside is not None and self.aside.takes(answer):
            return False
        if self._calls.was_cancelled(answer.id):
            return True
        self._profile.log.debug("server.unasked", extra={"bytes": len(answer.raw)})
        return False

    def _is_heard(self, acknowledgement: Message) -> bool:
        """Whether the client has got the acknowledgement of a subscription already: from another daemon."""
        if self.aside is not None and self.aside.takes(acknowledgement):
            return True
        call = self._calls.find(subscription_of(acknowledgement))
        if call is not None and call.line and not self._io.broken:
            self._lines.hear(call.line)
        return False

    def fail(self, id: bytes, error: McpctlError) -> None:
        """Answer a request with an error of ours, unless it was answered or cancelled."""
        if self._end(id, error):
            self._profile.note(error)
        elif self.aside is not None:
            self.aside.takes_failure(id, error)

    def lost(self, message: Message | Batch | None, error: McpctlError) -> bool:
        """Nothing is made again here."""
        return False

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
            self.refuse(call.id, error.rpc_code or INTERNAL_ERROR, error, call.line)
        return call is not None

    def refuse(self, id: bytes, code: int, error: McpctlError, line: int) -> None:
        """An error for something that never became a call, in that line; `id` is raw JSON."""
        details: dict[str, object] = {"source": "mcpctl", "kind": error.kind, **error.rpc_data}
        self._write(error_line(id, code, f"mcpctl: {error}", details), line)

    # ------------------------------------------------------------ writing

    def _write(self, text: bytes, line: int = 0) -> None:
        """Write a message; the line that it answers is finished when its last byte has gone."""
        outbox = self._outbox
        risky = len(text) >= ATOMIC
        if risky and not outbox.broken:
            self._lines.stand(midline=True)
        self._io.write(text, b"\n")
        if outbox.broken:
            self._client_left()
        elif outbox:
            self._keep_until_sent(line)
        else:
            if line:
                self._lines.finish(line)
            if risky:
                self._lines.stand(midline=False)

    def _written(self, line: int) -> None:
        """The message written last answers this line too."""
        if self._io.buffered:
            self._keep_until_sent(line)
        elif line and not self._io.broken:
            self._lines.finish(line)

    def _keep_until_sent(self, line: int) -> None:
        self._backlog.append((self._io.kept, line))
        self._on_progress()

    def _on_progress(self) -> None:
        """Some of what had to be kept has gone."""
        io, backlog = self._io, self._backlog
        if io.broken:
            return
        gone = io.kept - io.buffered
        if backlog and backlog[0][1] == INHERITED:
            self._lines.sent(gone - self._inherited_at)
        while backlog and backlog[0][0] <= gone:
            self._boundary, line = backlog.popleft()
            if line == INHERITED:
                self._logbook.sent()
            elif line:
                self._lines.finish(line)
        if not io.buffered:
            self._boundary = gone
        self._lines.stand(midline=gone != self._boundary)

    # ------------------------------------------------------------ from daemon to daemon

    def leave(self) -> None:
        """Leave to the next daemon what the client has not taken yet; from now on nothing is written."""
        if not self._io.broken:
            answered = [line for _, line in self._backlog if line > 0]
            self._logbook.leave(self._io.surrender(), answered)

    def take_over(self, found: Found) -> None:
        """Begin where the last daemon was cut off."""
        if rest := found.notes.output[found.sent :]:
            self._inherited_at = self._io.kept - found.sent
            self._io.write(rest)
            if self._io.buffered:
                self._keep_until_sent(INHERITED)
                return
            self._logbook.sent()
        elif found.midline:
            self._write(b"")
        self._lines.stand(midline=self._io.buffered > 0)


def subscription_of(notification: Message) -> bytes:
    """The id (JSON text) of the `subscriptions/listen` to which it belongs."""
    meta = open_object(open_object(notification.params).get("_meta", b""))
    return meta.get(f"{PREFIX}subscriptionId", b"")
