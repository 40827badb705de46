"""Client to server: bytes of the client's stdin become messages, and go to the upstream."""

from mcpctld.drivers.streams import DescriptorStream
from mcpctld.errors import Conflict, McpctlError, UserError
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
from mcpctld.protocols.ndjson import HalfLine, LineReader, TooLong
from mcpctld.sessions.answers import Answers
from mcpctld.sessions.calls import Calls
from mcpctld.sessions.profile import Profile
from mcpctld.upstreams import Upstream

MAX_IN_FLIGHT = 2048
"""More, and we stop reading until some are answered."""


class Intake:
    """Reads until the client closes its end. What cannot be sent on is answered at once."""

    def __init__(
        self,
        io: DescriptorStream,
        upstream: Upstream,
        calls: Calls,
        answers: Answers,
        profile: Profile,
        max_message_bytes: int,
    ) -> None:
        self._io = io
        self._upstream = upstream
        self._calls = calls
        self._answers = answers
        self._profile = profile
        self._max_message_bytes = max_message_bytes
        self._lines = LineReader(max_message_bytes)
        self._closed: McpctlError | None = None

    async def run(self) -> None:
        """Carry messages to the upstream, no faster than it and the client's stdout take them."""
        while data := await self._io.receive():
            self._lines.receive_data(data)
            self._take_lines()
            if self._must_wait:
                await self._wait_room()
        self._lines.receive_eof()
        self._take_lines()

    def close(self) -> None:
        """Refuse new requests; answers and notifications, which calls in flight may need, still go through."""
        self._closed = Conflict("the daemon is stopping, and takes no new requests")

    @property
    def _must_wait(self) -> bool:
        """Who does not read our answers need not be read, either."""
        return self._upstream.full or self._answers.client_full or len(self._calls) > MAX_IN_FLIGHT

    async def _wait_room(self) -> None:
        await self._answers.wait_client()
        await self._upstream.wait_room()
        await self._calls.wait_at_most(MAX_IN_FLIGHT)

    # ------------------------------------------------------------ lines

    def _take_lines(self) -> None:
        while (line := self._lines.next_event()) is not None:
            match line:
                case bytes():
                    self._take(line)
                case TooLong():
                    self._refuse_long(line)
                case HalfLine(data=data):
                    self._take(data, whole=False)

    def _take(self, line: bytes, *, whole: bool = True) -> None:
        try:
            message = parse(line)
        except Malformed as exc:
            reason = exc.reason if whole else "the input ended within a line"
            self._profile.log.warning(
                "client.garbage", extra={"reason": reason, "bytes": len(line)}
            )
            self._answers.refuse(exc.id, exc.code, UserError(reason))
            return
        if isinstance(message, Batch):
            self._send_batch(message)
        else:
            self._send(message)

    def _refuse_long(self, line: TooLong) -> None:
        error = UserError(
            f"a message of {line.length} bytes is too long (the limit is {self._max_message_bytes}); "
            "raise max_message_bytes in config.toml"
        )
        self._profile.note(error)
        id = guess_id(line.head, line.tail) or b"null"
        self._answers.refuse(id, PARSE_ERROR, error)

    # ------------------------------------------------------------ messages

    def _send(self, message: Message) -> None:
        if message.kind is Kind.REQUEST:
            if not self._begin(message):
                return
        elif message.method == "notifications/cancelled":
            self._calls.cancel(read_params(message).request_id)
        self._upstream.send(message)

    def _begin(self, request: Message) -> bool:
        """Make a call of it; False when it was refused."""
        if self._closed is not None:
            self._answers.refuse(request.id, INTERNAL_ERROR, self._closed)
            return False
        if not self._calls.begin(request):
            error = UserError("this id is in use by a request in flight")
            self._answers.refuse(request.id, INVALID_REQUEST, error)
            return False
        self._profile.asked(request)
        return True

    def _send_batch(self, batch: Batch) -> None:
        """All of it or nothing: it is one text, and nothing can be taken out of it."""
        requests = [part for part in batch.messages if part.kind is Kind.REQUEST]
        begun = [request for request in requests if self._begin(request)]
        if len(begun) < len(requests):
            error = UserError("the batch was not sent: one of its requests was refused")
            for request in begun:
                self._answers.fail(request.id, error)
            return
        for part in batch.messages:
            if part.method == "notifications/cancelled":
                self._calls.cancel(read_params(part).request_id)
        self._upstream.send(batch)
