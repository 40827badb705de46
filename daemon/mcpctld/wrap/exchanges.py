"""The POSTs of a streamable session that are not answered yet, and which of them a message of the server belongs to.

On stdio nothing but an id or a progress token ties a message to a request. What the server asks or logs goes, as a
guess that no client can tell from the truth, on the oldest POST in whose course it may ask (MCP 2025-11-25,
Transports, "Sending Messages to the Server": messages on a POST's stream SHOULD relate to its request).
"""

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field

from mcpctld.drivers.http.server import Reply
from mcpctld.protocols.jsonrpc import Batch, Message, id_key, read_params
from mcpctld.protocols.mcp.methods import ASKING
from mcpctld.protocols.mcp.objects import close_array
from mcpctld.wrap.answers import JSON, Headers, head_of
from mcpctld.wrap.session import requests_of
from mcpctld.wrap.streams import Stream


@dataclass(slots=True, eq=False)
class Exchange:
    """One POST with requests in it."""

    stream: Stream
    reply: Reply
    began: float
    """trio's time."""
    headers: Headers
    """Of the answer, beside its type."""
    whole: bool
    """The client takes an answer in one piece, and there is one request only."""
    events: bool
    """The client takes a stream."""
    asking: bool
    open: dict[Hashable, bytes] = field(default_factory=dict)
    """The ids (raw JSON) that have no answer yet."""
    tokens: set[Hashable] = field(default_factory=set)
    answers: list[bytes] = field(default_factory=list)
    streaming: bool = False
    over: bool = False
    """Everything is answered."""

    @property
    def hears(self) -> bool:
        """Whether what is no answer can be said on it."""
        return self.events and not self.over and (self.streaming or not self.reply.gone)

    def stream_now(self) -> None:
        """Begin the stream, if that is not done and something is still to be said."""
        if not self.streaming and self.events and not self.over:
            self.streaming = True
            self.stream.attach(self.reply, self.headers)

    def tell(self, data: bytes) -> None:
        """Say something that is no answer."""
        self.stream_now()
        self.stream.say(data)

    def answer(self, id: bytes, data: bytes, status: int = 200) -> None:
        """The answer to one of its requests."""
        self.open.pop(id_key(id), None)
        if self.events and not (self.streaming or self.whole):
            self.stream_now()
        self.over = not self.open
        if self.streaming:
            self.stream.say(data)
            if self.over:
                self.stream.finish()
        elif self.whole:
            self.reply.send(status, (*head_of(status), *self.headers), data)
        else:
            self._collect(data)

    def _collect(self, data: bytes) -> None:
        """The answers to a batch, for a client that takes them in one piece only."""
        self.answers.append(data)
        if self.over:
            self._send_collected()

    def _send_collected(self) -> None:
        self.reply.send(200, (*JSON, *self.headers), close_array(self.answers))

    def withdraw(self, id: bytes) -> None:
        """One of its requests gets no answer."""
        self.open.pop(id_key(id), None)
        if self.open:
            return
        self.stream_now()
        self.over = True
        if self.streaming:
            self.stream.finish()
        elif self.answers:
            self._send_collected()
        else:
            self.reply.send(202, self.headers)


class Exchanges:
    """Of one session."""

    def __init__(self) -> None:
        self._open: dict[Exchange, None] = {}  # the oldest first
        self._by_id: dict[Hashable, Exchange] = {}
        self._by_token: dict[Hashable, Exchange] = {}

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[Exchange]:
        return iter(tuple(self._open))

    def begin(self, exchange: Exchange, message: Message | Batch) -> None:
        """A POST has come."""
        self._open[exchange] = None
        for request in requests_of(message):
            key = id_key(request.id)
            exchange.open[key] = request.id
            self._by_id[key] = exchange
            if b"progressToken" in request.raw:
                token = id_key(read_params(request).progress_token or b"null")
                exchange.tokens.add(token)
                self._by_token[token] = exchange

    def in_use(self, message: Message | Batch) -> bool:
        """Whether one of the ids belongs to a request that is not answered yet (MUST NOT, base protocol)."""
        keys = [id_key(request.id) for request in requests_of(message)]
        return len(set(keys)) < len(keys) or any(key in self._by_id for key in keys)

    def of_id(self, id: bytes) -> Exchange | None:
        """The one that has the request with this id (raw JSON)."""
        return self._by_id.get(id_key(id))

    def of_token(self, token: bytes) -> Exchange | None:
        """The one whose progress is reported under this token (raw JSON)."""
        return self._by_token.get(id_key(token)) if token else None

    def likely(self) -> Exchange | None:
        """The one that a message without an id most likely belongs to."""
        hearing = [exchange for exchange in self._open if exchange.hears]
        return next((exchange for exchange in hearing if exchange.asking), None)

    def answered(self, exchange: Exchange, id: bytes) -> None:
        """One of its requests has an answer; the last one ends it."""
        self._by_id.pop(id_key(id), None)
        if not exchange.open:
            self._open.pop(exchange, None)
            for token in exchange.tokens:
                self._by_token.pop(token, None)


def make_exchange(
    stream: Stream, reply: Reply, message: Message | Batch, accept: str, now: float
) -> Exchange:
    """For a POST; `accept` is its header."""
    requests = requests_of(message)
    takes_json, takes_events = (
        accepts(accept, "application/json"),
        accepts(accept, "text/event-stream"),
    )
    return Exchange(
        stream=stream,
        reply=reply,
        began=now,
        headers=(),
        whole=not isinstance(message, Batch) and (takes_json or not takes_events),
        events=takes_events,
        asking=any(request.method in ASKING for request in requests),
    )


def accepts(header: str, media_type: str) -> bool:
    """Whether an `Accept` header allows a type (RFC 9110 §12.5.1); weights do not matter here, but for none at all."""
    kind = media_type.partition("/")[0]
    for item in header.split(","):
        name, _, parameters = item.partition(";")
        if name.strip().lower() in (media_type, f"{kind}/*", "*/*"):
            return "q=0" not in parameters.replace(" ", "").split(";")
    return False
