"""Answers before the server is up: what it said before is said again, and set right when it turns out to be old.

A request goes down in any case. When the server has not shown up in this session, or not since it failed, the client
gets what is in the cache: after a moment's grace for the server, or at once when that has passed. The server's own
answer is kept when it comes, and compared; where it differs, the client hears `list_changed`. A server that is up
answers for itself: the cache steps in only when it fails.

Messages of a session whose server is up pass with one look at the method.
"""

import math
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace

import trio

from mcpctld.errors import McpctlError, PeerError, TimedOut, Unreachable
from mcpctld.protocols.jsonrpc import (
    Batch,
    Kind,
    Message,
    id_key,
    new_notification,
    new_result,
    read_params,
)
from mcpctld.protocols.mcp import caching
from mcpctld.protocols.mcp.caching import Answer
from mcpctld.protocols.mcp.methods import CACHEABLE, LASTING
from mcpctld.sessions.layer import Layer
from mcpctld.sessions.patience import Patience
from mcpctld.sessions.promises import Promises
from mcpctld.sessions.recall import Recall
from mcpctld.sessions.shelf import Shelf
from mcpctld.upstreams import Context, Upstream

GRACE_S = 0.015
"""A server that is near and awake has said something by then."""
DOWN_AFTER_S = 1.0
"""A server that has said nothing for so long is not there: what it has called out of date is better than nothing."""

LOOKED_AT = (
    CACHEABLE | LASTING | frozenset({"notifications/initialized", "notifications/cancelled"})
)
"""What the client may say that matters here even when the server is up."""
SAYS_NOTHING = frozenset({"ping", "logging/setLevel"})
"""Requests that a layer below may answer itself: no sign that the server is there."""
UNAFFECTED = frozenset({"ping", "initialize"})
"""Requests that still make sense when the server has turned out to be another than was promised."""


@dataclass(slots=True, eq=False)
class _Asked:
    """A request of the client that is under way below."""

    request: Message
    key: Hashable
    label: bytes
    """Of its answer in the cache; empty when that cannot be there."""
    at: float
    """Unix time."""
    given: Answer | None = None
    """The answer that the client got early; the one from below is not passed on."""
    error: McpctlError | None = None
    """It has failed, and the cache is being asked."""

    @property
    def open(self) -> bool:
        """Whether the client still waits for the server."""
        return self.given is None and self.error is None


class Early(Layer):
    """Answers from the cache, and tells a client that waits. The first layer below the client.

    `clock` tells the Unix time.
    """

    def __init__(
        self,
        context: Context,
        shelf: Shelf,
        make_below: Callable[[Context], Upstream],
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(context)
        self._clock = clock
        self._recall = Recall(context, shelf, clock)
        self._promises = Promises(self.above)
        self._patience = Patience(context, self._give_up)
        self._asked: dict[Hashable, _Asked] = {}
        self._refreshing: dict[bytes, Answer] = {}  # by label: given early, the real one is due
        self._client_name: str | None = None
        self._up = False
        self._silent_since = (
            math.inf
        )  # trio's clock: when a request began to wait for a server that was not up
        self._passing = False
        self._broken: McpctlError | None = None
        self._told = False
        self.below = make_below(replace(context, downstream=self))

    # ------------------------------------------------------------ from the client

    def send(self, message: Message | Batch) -> None:
        """Hand it down, and see to it that the client need not wait."""
        if self._passing and message.__class__ is Message and message.method not in LOOKED_AT:
            self.below.send(message)
        elif isinstance(message, Batch):
            self._send_batch(message)
        elif message.kind is Kind.REQUEST:
            self._ask(message)
        elif message.method == "notifications/cancelled":
            self._cancel(message)
        else:
            self.below.send(message)
            if message.method == "notifications/initialized":
                self._promises.initialized()

    def _send_batch(self, batch: Batch) -> None:
        """A batch is one text: nothing in it is answered early."""
        if self._broken is None:
            self.below.send(batch)
            return
        for part in batch.messages:
            if part.kind is Kind.REQUEST:
                self.above.fail(part.id, self._broken)

    def _ask(self, request: Message) -> None:
        method, key = request.method, id_key(request.id)
        if self._broken is not None and method not in UNAFFECTED:
            self.above.fail(request.id, self._broken)
            return
        if key in self._asked:  # an early answer has set the id free, and the client uses it again
            self.forget(request.id)
        self._learn_client(request)
        asked = _Asked(request, key, self._recall.label(request), self._clock())
        if self._join(asked):
            return
        self._asked[key] = asked
        if method in LASTING:
            self._promises.listen(request)
        self.below.send(request)
        self._wait_for(asked)

    def _join(self, asked: _Asked) -> bool:
        """The same was answered early, and its real answer is due: that is not asked for twice."""
        answer = self._refreshing.get(asked.label)
        if answer is None or self._up:
            return False
        usable = self._recall.usable(answer, asked.request, down=self._down)
        if usable:
            self._give(asked, answer)
        return usable

    def _learn_client(self, request: Message) -> None:
        if request.method == "initialize":
            self._broken = None
            self._recall.meet(request)
            self._client_name = read_params(request).client_name
            self._update_passing()
        elif self._client_name is None:
            self._client_name = read_params(request).client_name

    def _wait_for(self, asked: _Asked) -> None:
        """While the server is not up: set the clocks."""
        if self._up or self._asked.get(asked.key) is not asked or not asked.open:
            return
        self._silent_since = min(self._silent_since, trio.current_time())
        self._patience.begin(asked.request, self._client_name)
        if asked.label:
            self.context.nursery.start_soon(self._answer_early, asked, self._silent_since)

    def _cancel(self, message: Message) -> None:
        """What was answered early cannot be cancelled any more; its refresh goes on."""
        asked = self._asked.get(id_key(read_params(message).request_id))
        if asked is not None and asked.given is not None:
            return
        if asked is not None:
            self._drop(asked)
        self.below.send(message)

    def forget(self, id: bytes) -> None:
        """It took too long; or the client has used its id for something else."""
        asked = self._asked.get(id_key(id))
        if asked is not None:
            self._drop(asked)
        self.below.forget(id)

    def _drop(self, asked: _Asked) -> None:
        self._asked.pop(asked.key, None)
        if asked.given is not None:
            self._refreshing.pop(asked.label, None)
        self._patience.end(asked.key)
        self._promises.ended(asked.key)

    def _give_up(self, request: Message, error: TimedOut) -> None:
        """The client's patience is about to end; the server should not do what nobody waits for."""
        self.above.fail(request.id, error)
        if request.method != "initialize":  # which MUST NOT be cancelled (MCP, "Cancellation")
            params = b'{"requestId":%b,"reason":"it took too long"}' % request.id
            self.below.send(new_notification("notifications/cancelled", params))
        self.forget(request.id)

    # ------------------------------------------------------------ from the cache

    async def _answer_early(self, asked: _Asked, silent_since: float) -> None:
        """Give the cached answer when its time has come, if nothing else has happened until then."""
        for silence_s in (GRACE_S, DOWN_AFTER_S):
            await trio.sleep_until(silent_since + silence_s)
            if not self._is_open(asked):
                return
            answer = await self._recall.find(asked.request, asked.label, down=self._down)
            if answer is not None and self._is_open(asked):
                self._give(asked, answer)
                self._refreshing[asked.label] = answer

    def _is_open(self, asked: _Asked) -> bool:
        """Whether the client waits for a server that is not up."""
        return asked.open and not self._up and self._asked.get(asked.key) is asked

    def _give(self, asked: _Asked, answer: Answer) -> None:
        result = answer.result
        if asked.request.method == "initialize":
            result = caching.with_promises(result)
            self._begun(result)
        asked.given = answer
        self._patience.end(asked.key)
        self.log.debug("early.answered", extra={"method": asked.request.method})
        self.above.deliver(new_result(asked.request.id, result))

    def _begun(self, result: bytes) -> None:
        """The client has got this answer to its `initialize`."""
        self._promises.begin(result)
        self._recall.agree(result)

    # ------------------------------------------------------------ from the server

    def deliver(self, message: Message | Batch) -> None:
        """Hand it up, unless the client has been answered already; keep it, if it is worth that."""
        if isinstance(message, Batch):
            self._came_up()
            self._deliver_batch(message)
        elif message.method:
            self._came_up()
            self.above.deliver(message)
            self._notice(message)
        elif self._asked:
            self._settle(message)
        else:
            self.above.deliver(message)

    def _deliver_batch(self, batch: Batch) -> None:
        keys = [id_key(part.id) for part in batch.messages if not part.method]
        if any(key in self._asked for key in keys):  # an early answer may have been given
            for part in batch.messages:
                self.deliver(part)
        else:
            self.above.deliver(batch)

    def _notice(self, message: Message) -> None:
        """What the server said unasked: an answer in the cache may be stale now."""
        if message.method in caching.ALL_LISTS:
            self._recall.note_change(message.method)
        elif message.method == "notifications/subscriptions/acknowledged":
            self._promises.acknowledged(message)
        elif message.method == "notifications/cancelled":
            self._promises.ended(id_key(read_params(message).request_id))

    def _settle(self, message: Message) -> None:
        """A request is answered. The client hears of it before we learn from it, unless it was answered early."""
        asked = self._asked.get(id_key(message.id))
        if asked is None:
            self.above.deliver(message)
            return
        self._drop(asked)
        if asked.request.method not in SAYS_NOTHING:
            self._came_up()
        if asked.given is None:
            self.above.deliver(message)
        if message.kind is Kind.RESULT:
            self._learn(asked, message.result)
        elif asked.given is not None:
            self.log.info("early.refused", extra={"method": asked.request.method})

    def _learn(self, asked: _Asked, result: bytes) -> None:
        if asked.label:
            self._recall.keep(asked.request, asked.label, result, asked.at)
        if asked.given is not None:
            self._compare(asked.request.method, asked.given.result, result)
        elif asked.request.method == "initialize":
            self._begun(result)

    def _compare(self, method: str, given: bytes, real: bytes) -> None:
        old, new = caching.revision_of(given), caching.revision_of(real)
        if method == "initialize" and old != new:
            self._break(old, new)
        elif caching.differs(given, real):
            self.log.info("early.differed", extra={"method": method})
            self._promises.changed(caching.CHANGES[method])

    def _break(self, old: str, new: str) -> None:
        """The client speaks a revision that the server does not: whatever it asks would be misunderstood."""
        name = self.context.server.name
        text = f"{name} speaks revision {new or 'unknown'} now, not {old}; start the client again"
        self._broken = error = PeerError(text)
        self._update_passing()
        for asked in tuple(self._asked.values()):
            if asked.given is None and asked.request.method not in UNAFFECTED:
                self.above.fail(asked.request.id, error)
                self.forget(asked.request.id)

    # ------------------------------------------------------------ up and down

    def rest(self) -> None:
        """The server's machine may sleep from now on: what comes next finds it down, as at the beginning."""
        self._up, self._silent_since = False, math.inf
        self._update_passing()
        self.below.rest()

    def _came_up(self) -> None:
        if not self._up:
            self._up, self._silent_since = True, math.inf
            self._patience.clear()
            self._update_passing()

    @property
    def _down(self) -> bool:
        """Whether the server has been silent for so long, or has failed."""
        return trio.current_time() >= self._silent_since + DOWN_AFTER_S

    def _update_passing(self) -> None:
        """Decide whether messages pass unseen."""
        self._passing = self._up and self._broken is None

    def fail(self, id: bytes, error: McpctlError) -> None:
        """A request has failed below: the client hears of it if it still waits and the cache has no answer."""
        gone = isinstance(error, Unreachable | TimedOut)
        if gone:
            self._up, self._silent_since, self._passing = False, -math.inf, False
        asked = self._asked.get(id_key(id))
        if asked is None:
            self.above.fail(id, error)
        elif asked.given is not None:
            self._not_refreshed(asked, error)
        elif gone and asked.label and asked.error is None:
            asked.error = error
            self._patience.end(asked.key)
            self.context.nursery.start_soon(self._answer_failed, asked, error)
        elif asked.error is None:
            self._drop(asked)
            self.above.fail(id, error)

    async def _answer_failed(self, asked: _Asked, error: McpctlError) -> None:
        answer = await self._recall.find(asked.request, asked.label, down=True)
        if self._asked.get(asked.key) is not asked:
            return
        if answer is None:
            self._drop(asked)
            self.above.fail(asked.request.id, error)
        else:
            self._give(asked, answer)
            self._not_refreshed(asked, error)

    def _not_refreshed(self, asked: _Asked, error: McpctlError) -> None:
        """An `initialize` stays known: the layers below make the session when it is needed, and then answer it."""
        if not self._told:
            self.log.info("early.not_refreshed", extra={"error": str(error)})
        self._told = True
        self._drop(asked)
        if asked.request.method == "initialize":
            self._asked[asked.key] = asked
