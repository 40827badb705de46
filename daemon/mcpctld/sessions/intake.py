"""Client to server: bytes of the client's stdin become messages, and go to the upstream.

What has become of each line is noted in the checkpoint before it happens.
"""

import trio

from mcpctld.drivers.streams import DescriptorStream
from mcpctld.errors import McpctlError, UserError
from mcpctld.protocols.jsonrpc import (
    INTERNAL_ERROR,
    INVALID_REQUEST,
    PARSE_ERROR,
    Batch,
    Kind,
    Malformed,
    Message,
    guess_id,
    parse,
    read_params,
)
from mcpctld.protocols.ndjson import HalfLine, TooLong
from mcpctld.sessions.answers import Answers
from mcpctld.sessions.calls import Calls
from mcpctld.sessions.checkpoint import INITIALIZED, Logbook
from mcpctld.sessions.profile import Profile
from mcpctld.upstreams import Upstream

MAX_IN_FLIGHT = 2048
"""More, and we stop reading until some are answered."""
MAX_HELD = 2048
"""So many lines are read ahead for the next daemon."""
REST_AFTER_S = 1.0
"""So long after a big message its memory is kept for the next one."""
CANCELLED = "notifications/cancelled"
OF_CALLS_IN_FLIGHT = (CANCELLED, "notifications/progress")


class Intake:
    """Reads until the client closes its end. What cannot be sent on is answered at once."""

    def __init__(
        self,
        io: DescriptorStream,
        upstream: Upstream,
        calls: Calls,
        answers: Answers,
        profile: Profile,
        logbook: Logbook,
        max_message_bytes: int,
    ) -> None:
        self._io = io
        self._upstream = upstream
        self._calls = calls
        self._answers = answers
        self._profile = profile
        self._logbook = logbook
        self._lines = logbook.lines
        self._max_message_bytes = max_message_bytes
        self._closed: McpctlError | None = None
        self._holding = False
        self._held = 0

    async def run(self) -> None:
        """Carry messages to the upstream, no faster than it and the client's stdout take them."""
        self._take_lines()  # what the last daemon had read
        lines, receive = self._lines, self._io.receive_into
        while count := await (self._receive_or_rest() if lines.big else receive(lines.room)):
            line = lines.receive(count)
            if line is not None:
                self._take(line, lines.number)
            else:
                self._take_lines()
            if self._must_wait:
                await self._wait_room()
        self._lines.receive_eof()
        self._take_lines()

    async def _receive_or_rest(self) -> int:
        with trio.move_on_after(REST_AFTER_S):
            return await self._io.receive_into(self._lines.room)
        self._lines.rest()
        return await self._io.receive_into(self._lines.room)

    def close(self, error: McpctlError) -> None:
        """Refuse new requests; answers and notifications, which calls in flight may need, still go through."""
        self._closed = error

    def hold(self) -> None:
        """Leave what comes to the next daemon, but for what calls in flight may need."""
        self._holding = True

    @property
    def _must_wait(self) -> bool:
        """Who does not read our answers need not be read, either."""
        return (
            self._upstream.full
            or self._answers.client_full
            or len(self._calls) > MAX_IN_FLIGHT
            or self._held > MAX_HELD
        )

    async def _wait_room(self) -> None:
        await self._answers.wait_client()
        await self._upstream.wait_room()
        await self._calls.wait_at_most(MAX_IN_FLIGHT)
        if self._held > MAX_HELD:
            await trio.sleep_forever()  # the next daemon reads on

    # ------------------------------------------------------------ lines

    def _take_lines(self) -> None:
        lines = self._lines
        while (line := lines.next_event()) is not None:
            match line:
                case bytes():
                    self._take(line, lines.number)
                case TooLong():
                    self._refuse_long(line, lines.number)
                case HalfLine(data=data):
                    self._take(data, lines.number, whole=False)

    def _take(self, line: bytes, number: int, *, whole: bool = True) -> None:
        try:
            message = parse(line)
        except Malformed as exc:
            reason = exc.reason if whole else "the input ended within a line"
            self._profile.log.warning(
                "client.garbage", extra={"reason": reason, "bytes": len(line)}
            )
            self._answers.refuse(exc.id, exc.code, UserError(reason), number)
            return
        if self._holding and not self._is_needed(message):
            self._held += 1
        elif isinstance(message, Batch):
            self._send_batch(message, number)
        else:
            self._send(message, number)

    def _is_needed(self, message: Message | Batch) -> bool:
        """Whether a call in flight may wait for it."""
        if isinstance(message, Batch) or message.kind is Kind.REQUEST:
            return False
        if message.method == CANCELLED:  # of a request that is held: the next daemon is to see both
            return self._calls.find(read_params(message).request_id) is not None
        return not message.method or message.method in OF_CALLS_IN_FLIGHT

    def _refuse_long(self, line: TooLong, number: int) -> None:
        error = UserError(
            f"a message of {line.length} bytes is too long (the limit is {self._max_message_bytes}); "
            "raise max_message_bytes in config.toml"
        )
        self._profile.note(error)
        id = guess_id(line.head, line.tail) or b"null"
        self._answers.refuse(id, PARSE_ERROR, error, number)

    # ------------------------------------------------------------ messages

    def _send(self, message: Message, number: int) -> None:
        if message.kind is Kind.REQUEST:
            if not self._begin(message, number):
                return
            self._lines.hand(number)
        else:
            self._note(message)
            if message.method == INITIALIZED:
                self._logbook.initialized(number)
            self._lines.finish(number)
        self._upstream.send(message)

    def _note(self, message: Message) -> None:
        if message.method == CANCELLED:
            call = self._calls.cancel(read_params(message).request_id)
            if call is not None:
                self._lines.finish(call.line)

    def _begin(self, request: Message, number: int) -> bool:
        """Make a call of it; False when it was refused."""
        if self._closed is not None:
            self._answers.refuse(request.id, INTERNAL_ERROR, self._closed, number)
            return False
        if not self._calls.begin(request, number):
            error = UserError("this id is in use by a request in flight")
            self._answers.refuse(request.id, INVALID_REQUEST, error, number)
            return False
        self._profile.asked(request)
        return True

    def _send_batch(self, batch: Batch, number: int) -> None:
        """All of it or nothing: it is one text, and nothing can be taken out of it."""
        requests = [part for part in batch.messages if part.kind is Kind.REQUEST]
        numbers = self._lines.divide(number, [request.raw for request in requests])
        begun = [
            request
            for request, line in zip(requests, numbers, strict=True)
            if self._begin(request, line)
        ]
        if len(begun) < len(requests):
            error = UserError("the batch was not sent: one of its requests was refused")
            for request in begun:
                self._answers.fail(request.id, error)
            return
        for part in batch.messages:
            self._note(part)
        self._upstream.send(batch)
