"""POSTs of messages whose answers come elsewhere, on the stream of HTTP+SSE."""

from collections.abc import Callable, Hashable

from mcpctld.errors import McpctlError
from mcpctld.protocols.jsonrpc import Batch, Message, id_key
from mcpctld.upstreams._base import Context, give_back, never_sent
from mcpctld.upstreams._deadlines import Deadlines
from mcpctld.upstreams._http import Endpoint
from mcpctld.upstreams._lane import Lane, Load, method_of, requests_in
from mcpctld.upstreams._refusals import (
    Refusal,
    explain,
    is_evidence,
    json_rpc_error,
)
from mcpctld.upstreams._unanswered import UnansweredPost

Header = tuple[str, str]


class Deliveries:
    """Sends the client's messages in order; a refused request is answered with why, through `fail`.

    Nothing goes before `open_gate`: the stream for the answers must stand first. After a message that `goes_first`
    the next one waits until it was accepted, at most `bound_s`.
    """

    def __init__(
        self,
        context: Context,
        *,
        goes_first: Callable[[Message | Batch], bool],
        fail: Callable[[bytes, McpctlError], None],
        bound_s: float,
        takes: Callable[[Message | Batch, Refusal], bool] = lambda message, refusal: False,
    ) -> None:
        """`takes` is asked first what a refusal means; True when that is dealt with."""
        self.lane = Lane(self._post)
        self.load = Load(context.max_message_bytes)
        self._context = context
        self._goes_first = goes_first
        self._fail = fail
        self._bound_s = bound_s
        self._takes = takes
        self._deadlines: Deadlines[_Delivery] = Deadlines(context.nursery)
        self._open: dict[_Delivery, None] = {}
        self._endpoint: Endpoint | None = None
        self._headers: tuple[Header, ...] = ()
        self.lane.hold(self)

    def send(self, message: Message | Batch) -> None:
        """Send it when its turn comes."""
        self.load.add(len(message.raw))
        self.lane.send(message)

    def forget(self, key: Hashable) -> None:
        """The request with this id (as `id_key`) need not be sent any more, if it was not."""
        if (waiting := self.lane.forget(key)) is not None:
            self.load.remove(len(waiting.raw))

    def open_gate(self, endpoint: Endpoint, headers: tuple[Header, ...]) -> None:
        """Begin, or go on, at this endpoint."""
        self._endpoint, self._headers = endpoint, headers
        self.lane.release(self)

    def close(self) -> list[Message | Batch]:
        """Stop; what has not been sent."""
        queued = self.lane.close()
        unsent = [delivery.message for delivery in self._open if not delivery.is_sent]
        for delivery in tuple(self._open):
            delivery.cancel()
            self._close(delivery)
        self._deadlines.clear()
        return [*unsent, *queued]

    def give_back(self, error: McpctlError) -> None:
        """Stop, because of `error`: what has not been sent can be sent in another session."""
        for message in self.close():
            give_back(self._context.downstream, message, never_sent(error))

    def _post(self, message: Message | Batch) -> None:
        assert self._endpoint is not None
        delivery = _Delivery(self, message, self._endpoint)
        self._open[delivery] = None
        if self._goes_first(message):
            self.lane.hold(delivery)
            self._deadlines.set(delivery, self._bound_s, self._overdue)
        delivery.submit(self._headers, message.raw)

    def _overdue(self, delivery: "_Delivery") -> None:
        self._context.log.warning(
            "server.not_accepted",
            extra={"bound_s": self._bound_s, "method": method_of(delivery.message)},
        )
        if requests_in(delivery.message):  # it may be answered before it is accepted
            self.lane.release(delivery)
        else:
            delivery.cancel()
            self._close(delivery)

    def _close(self, delivery: "_Delivery") -> None:
        self._open.pop(delivery, None)
        self._deadlines.drop(delivery)
        self.load.remove(len(delivery.message.raw))
        self.lane.release(delivery)

    def _fail_all(self, message: Message | Batch, error: McpctlError) -> None:
        for request in requests_in(message):
            self._fail(request.id, error)

    # ------------------------------------------------------------ what the deliveries report

    def accepted(self, delivery: "_Delivery") -> None:
        """The server has taken the message; the answer comes elsewhere."""
        self._close(delivery)

    def refused(self, delivery: "_Delivery", refusal: Refusal) -> None:
        """The server has not taken it."""
        message, endpoint = delivery.message, delivery.endpoint
        downstream = self._context.downstream
        if self._takes(message, refusal) or is_evidence(message, refusal, downstream):
            self._close(delivery)
            return
        error = json_rpc_error(refusal)
        requests = requests_in(message)
        if error is not None and len(requests) == 1 and id_key(error.id) == id_key(requests[0].id):
            self._context.downstream.deliver(error)
        else:
            self._fail_all(message, explain(refusal, self._context.server.name, endpoint))
        self._close(delivery)

    def lost(self, delivery: "_Delivery", error: McpctlError) -> None:
        """Not delivered, or nobody knows."""
        self._fail_all(delivery.message, error)
        self._close(delivery)


class _Delivery(UnansweredPost):
    """One of them, under way."""

    def __init__(self, owner: Deliveries, message: Message | Batch, endpoint: Endpoint) -> None:
        super().__init__()
        self.message = message
        self.endpoint = endpoint
        self._owner = owner

    def submit(self, headers: tuple[Header, ...], body: bytes) -> None:
        """Send it."""
        self._exchange = self.endpoint.submit("POST", headers, body, self)

    @property
    def is_sent(self) -> bool:
        """Whether a connection was there for it."""
        return self._exchange is None or self._exchange.attempts > 0

    def accepted(self) -> None:
        """Tell the owner."""
        self._owner.accepted(self)

    def refused(self, refusal: Refusal) -> None:
        """Tell the owner."""
        self._owner.refused(self, refusal)

    def lost(self, error: McpctlError) -> None:
        """Tell the owner."""
        self._owner.lost(self, error)
