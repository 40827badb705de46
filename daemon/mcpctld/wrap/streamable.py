"""Streamable HTTP of 2025-03-26 to 2025-11-25: `initialize` makes a session, and a header names it from then on."""

from collections.abc import Hashable

import trio

from mcpctld.drivers.http.server import Reply
from mcpctld.errors import McpctlError, TimedOut
from mcpctld.protocols.jsonrpc import (
    Batch,
    Kind,
    Message,
    id_key,
    read_initialize_result,
    read_params,
)
from mcpctld.protocols.mcp.paths import value_at
from mcpctld.wrap.answers import SESSION, failure_line, failure_status
from mcpctld.wrap.exchanges import Exchange, Exchanges, make_exchange
from mcpctld.wrap.session import Session, parts_of, requests_of
from mcpctld.wrap.streams import EventLog, Stream, read_id
from mcpctld.wrap.world import World

GET_STREAM = 0
STREAM_AFTER_S = 15.0
"""An answer that takes longer becomes a stream: proxies give up on what is silent for a minute."""
MAX_ASKED = 1024
"""Questions of the server without an answer; of older ones it is not known any more where they went."""
MAX_OVER = 64
"""Streams that are over are kept, for who lost the end of one."""
POLLING = "2025-11-25"
"""From this revision on, clients know that a stream may end before it is over."""


class StreamableSession(Session):
    """One client, one process, any number of connections."""

    way = "streamable-http"

    def __init__(self, world: World, id: str, principal: str, initialize: Message) -> None:
        super().__init__(world, id, principal)
        self._log = EventLog()
        self._exchanges = Exchanges()
        self._streams: dict[int, Stream] = {}
        self._numbers = GET_STREAM
        self._asked: dict[Hashable, Exchange | None] = {}
        """On which POST a question of the server went, by its id; None: on the GET."""
        self._initialize: Hashable = id_key(initialize.id)
        self._primes = (read_params(initialize).requested_version or "") >= POLLING
        self._get = Stream(GET_STREAM, self._log, primes=self._primes)
        self._streams[GET_STREAM] = self._get

    # ------------------------------------------------------------ from the client

    def post(self, message: Message | Batch, reply: Reply, accept: str) -> bool:
        """A POST; False when it uses an id that is in use."""
        if not requests_of(message):
            for part in parts_of(message):
                self._take_back(part)
            self.say(message)
            reply.send(202, ())
            return True
        if self._exchanges.in_use(message):
            return False
        self._numbers += 1
        stream = Stream(self._numbers, self._log, primes=self._primes)
        exchange = make_exchange(stream, reply, message, accept, trio.current_time())
        begins = self._initialize in [id_key(request.id) for request in requests_of(message)]
        if begins:
            exchange.headers = ((SESSION, self.id),)
        self._exchanges.begin(exchange, message)
        self._keep(stream)
        if self._primes and not begins:  # it may yet be told to come back, with a status
            self.world.soon.note(exchange, exchange.began)
        self.say(message)
        return True

    def _take_back(self, message: Message) -> None:
        """A request that the client cancels gets no answer (MCP, "Cancellation"), and its POST has to end somehow."""
        if message.method == "notifications/cancelled":
            id = read_params(message).request_id
            exchange = self._exchanges.of_id(id) if id else None
            if exchange is not None:
                exchange.withdraw(id)
                self._settle(exchange, id)
        elif not message.method:
            self._asked.pop(id_key(message.id), None)

    def _keep(self, stream: Stream) -> None:
        self._streams[stream.number] = stream
        if len(self._streams) > MAX_OVER:
            over = (one for one in self._streams.values() if one.over)
            oldest = next(over, None)
            if oldest is not None:
                del self._streams[oldest.number]

    def listen(self, reply: Reply, last_event_id: str | None) -> None:
        """A GET: what belongs to no request, or the rest of a stream that broke off."""
        self.touch()
        found = read_id(last_event_id) if last_event_id is not None else None
        stream = self._streams.get(found[0]) if found is not None else None
        if found is None or stream is None:
            self._get.attach(reply, ())
        else:
            stream.attach(reply, (), after=found[1])

    # ------------------------------------------------------------ from the server

    def deliver(self, message: Message | Batch) -> None:
        """To the POST that it belongs to, else to the GET."""
        for part in parts_of(message):
            self._deliver(part)

    def _deliver(self, message: Message) -> None:
        match message.kind:
            case Kind.RESULT | Kind.ERROR:
                self._answer(message.id, message.raw)
                self._look_at(message)
            case Kind.REQUEST:
                self._ask(message)
            case _:
                self._tell(message)

    def _answer(self, id: bytes, data: bytes, status: int = 200) -> None:
        exchange = self._exchanges.of_id(id)
        if exchange is not None:
            exchange.answer(id, data, status)
            self._settle(exchange, id)

    def _settle(self, exchange: Exchange, id: bytes) -> None:
        self._exchanges.answered(exchange, id)
        if exchange.over and not exchange.streaming:
            del self._streams[exchange.stream.number]  # there is nothing to come back for

    def _look_at(self, answer: Message) -> None:
        """The answer to `initialize` makes the session, or there is none."""
        if id_key(answer.id) != self._initialize:
            return
        self._initialize = None
        if answer.kind is Kind.ERROR or read_initialize_result(answer).protocol_version is None:
            self.close()

    def _ask(self, question: Message) -> None:
        exchange = self._exchanges.likely()
        self._asked[id_key(question.id)] = exchange
        if len(self._asked) > MAX_ASKED:
            del self._asked[next(iter(self._asked))]
        self._say_on(exchange, question.raw)

    def _tell(self, message: Message) -> None:
        match message.method:
            case "notifications/progress":
                exchange = self._exchanges.of_token(value_at(message.params, ("progressToken",)))
            case "notifications/cancelled":
                exchange = self._asked.pop(id_key(read_params(message).request_id), None)
            case "notifications/message":
                exchange = self._exchanges.likely()
            case _:
                exchange = None if self._get.attached else self._exchanges.likely()
        self._say_on(exchange, message.raw)

    def _say_on(self, exchange: Exchange | None, data: bytes) -> None:
        if exchange is not None and exchange.hears:
            exchange.tell(data)
        else:
            self._get.say(data)

    def fail(self, id: bytes, error: McpctlError) -> None:
        """Answer a request with an error of ours."""
        self._answer(id, failure_line(id, error), failure_status(error))
        if id_key(id) == self._initialize:
            self.close()

    # ------------------------------------------------------------ life

    @property
    def busy(self) -> bool:
        """Whether a call is under way, or the client listens."""
        return len(self._exchanges) > 0 or self._get.attached

    def ended(self, error: McpctlError | None) -> None:
        """The process is gone for good: so is everything that waits for it."""
        reason = error or TimedOut("the session was closed")
        for exchange in self._exchanges:
            for id in tuple(exchange.open.values()):
                self._answer(id, failure_line(id, reason), failure_status(reason))
        for stream in self._streams.values():
            stream.finish()
        super().ended(error)

    def on_beat(self, now: float) -> None:
        """Keep connections alive, and give up on what takes too long."""
        for exchange in self._exchanges:
            waited_s = now - exchange.began
            if waited_s > self.world.call_timeout_s:
                self._give_up(exchange)
            elif waited_s > STREAM_AFTER_S:
                exchange.stream_now()
        for stream in self._streams.values():
            stream.keep_alive()

    def _give_up(self, exchange: Exchange) -> None:
        for id in tuple(exchange.open.values()):
            bound_s = self.world.call_timeout_s
            self.conversation.forget(id)
            self.fail(id, TimedOut(f"the server did not answer within {bound_s:g} s"))

    def drain(self) -> None:
        """Streams on which nothing is under way end; who listened is told to come back."""
        self._get.leave()

    @property
    def full(self) -> bool:
        """Whether one of the client's connections is not read."""
        return any(_is_full(stream) for stream in self._streams.values())

    async def wait_room(self) -> None:
        """Wait for that connection."""
        for stream in tuple(self._streams.values()):
            if _is_full(stream) and stream.reply is not None:
                await stream.reply.wait_room()
                return
        await trio.lowlevel.checkpoint()


def _is_full(stream: Stream) -> bool:
    return stream.reply is not None and not stream.reply.gone and stream.reply.full
