"""Streamable HTTP, revisions 2025-03-26 to 2026-07-28 (MCP, Transports, "Streamable HTTP").

Each message is a POST; its answer is one JSON body or a stream of events. Requests are under way side by side.
Whatever is not a request (and `initialize`, which makes the session) is waited for before the next message goes.

Older revisions have a session (`Mcp-Session-Id`), a stream for what the server says unasked (GET), and streams that
can be taken up again (`Last-Event-ID`). From 2026-07-28 on there is none of it: each message says what it needs.
"""

from collections.abc import Hashable

import trio

from mcpctld.errors import McpctlError, Unreachable
from mcpctld.protocols.http1 import Head
from mcpctld.protocols.jsonrpc import (
    Batch,
    Kind,
    Message,
    id_key,
    read_initialize_result,
    read_params,
)
from mcpctld.protocols.mcp.headers import modern_params, standard_headers
from mcpctld.protocols.mcp.methods import LASTING, REPEATABLE
from mcpctld.upstreams._base import Context, Upstream, give_back
from mcpctld.upstreams._deadlines import Deadlines
from mcpctld.upstreams._hearing import Hearing
from mcpctld.upstreams._http import ACCEPT, MAX_REDIRECTS, Endpoint, visible_text
from mcpctld.upstreams._hub import hubs_of
from mcpctld.upstreams._lane import Lane, Load, method_of
from mcpctld.upstreams._listen import Listener
from mcpctld.upstreams._modern import Duties
from mcpctld.upstreams._post import Post
from mcpctld.upstreams._refusals import (
    OF_A_PROXY,
    Refusal,
    explain,
    explain_loss,
    is_evidence,
    json_rpc_error,
)
from mcpctld.upstreams._stream import ask

LINGER_S = 5.0
"""How long a stream may go on after its last response, or after its request was cancelled: many never end."""

ORDER_BOUND_S = 30.0
"""How long a message that is not a request may keep the next waiting."""

DELETE_BOUND_S = 3.0


class StreamableHttp(Upstream):
    """A session over Streamable HTTP."""

    transport = "streamable-http"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.endpoint = Endpoint(context, context.spec.url or "")
        self.max_message_bytes = context.max_message_bytes
        self.session_id: str | None = None
        self.version: str | None = None
        self.lane = Lane(self._post)
        self._hearing = Hearing(self.lane, context.nursery)
        self._load = Load(context.max_message_bytes)
        self._deadlines: Deadlines[Post] = Deadlines(context.nursery)
        self._duties = Duties(context, self, self.submit)
        self._session = 0  # counts those that the server has opened
        self._suspected = False
        self._listens = False
        """The session has a stream, as far as is known."""
        self._rests = False
        """The streams were let go until something is sent."""
        self._posts: dict[Hashable, Post] = {}
        self._open: set[Post] = set()
        self._modern = False
        self._begun = trio.Event()
        self._listening = trio.CancelScope()

    async def run(self) -> None:
        """Hold the stream for what the server says unasked, as soon as there is a session and in each new one."""
        while True:
            await self._begun.wait()
            self._begun = trio.Event()
            with trio.CancelScope() as self._listening:
                await Listener(
                    self,
                    self.endpoint,
                    self._session_headers(),
                    self.max_message_bytes,
                    self._hearing.end,
                ).run()
                self._listens = False  # the server offers none

    def _begin_listening(self) -> None:
        """The session is complete."""
        self._listens = True
        self._begun.set()
        self._listening.cancel()

    def rest(self) -> None:
        """Let go of the streams, of the one that is shared with other sessions too: nobody calls in any of them."""
        for hub in hubs_of(self.context.shared):
            hub.rest()
        self._rests = True
        self._listening.cancel()

    def _take_up(self) -> None:
        """Ask for the streams again: what is called now may have the server ask back."""
        self._rests = False
        for hub in hubs_of(self.context.shared):
            hub.resume()
        if self._listens:
            self._hearing.begin()
            self._begin_listening()

    # ------------------------------------------------------------ sending

    def send(self, message: Message | Batch) -> None:
        """POST it, at once or when the one before it has arrived."""
        if self._rests:
            self._take_up()
        self._load.add(len(message.raw))
        self.lane.send(message)

    def _post(self, message: Message | Batch) -> None:
        if self._hearing.due and self._hearing.keeps(message):
            return
        params = None if isinstance(message, Batch) else modern_params(message)
        if method_of(message) == "notifications/cancelled" and self._cancel(message):
            self._load.remove(len(message.raw))
            return
        headers = standard_headers(message, params) if isinstance(message, Message) else ()
        post = Post(self, message, modern=params is not None, headers=headers)
        self._modern = self._modern or post.modern
        for key in post.pending:
            self._posts[key] = post
        if not post.is_request or post.method == "initialize":
            self.lane.hold(post)
        if not post.is_request:
            self._deadlines.set(post, ORDER_BOUND_S, self._not_accepted)
        self._open.add(post)
        if params is None or not self._duties.take(post, params):
            self.submit(post)

    def submit(self, post: Post) -> None:
        """Send a POST, or send it again."""
        outside = post.modern or post.method == "initialize"
        post.session = 0 if outside else self._session
        post.url = self.endpoint.url
        post.exchange = self.endpoint.submit(
            "POST",
            (*ACCEPT, *post.headers, *(() if outside else self._session_headers())),
            post.message.raw,
            post,
            repeatable=post.method in REPEATABLE,
            lasting=post.method in LASTING,
        )

    def _session_headers(self) -> tuple[tuple[str, str], ...]:
        """What every request after `initialize` carries."""
        session = (("Mcp-Session-Id", self.session_id),) if self.session_id else ()
        version = (("MCP-Protocol-Version", self.version),) if self.version else ()
        return (*session, *version)

    @property
    def full(self) -> bool:
        """True when the server does not accept what it is sent."""
        return self._load.full

    async def wait_room(self) -> None:
        """Wait until the server has accepted some of it."""
        await self._load.wait_room()

    # ------------------------------------------------------------ giving up

    def _cancel(self, message: Message | Batch) -> bool:
        """The client gave up on a request. True when that has been dealt with and nothing is to be sent."""
        assert isinstance(message, Message)
        post = self._posts.get(id_key(read_params(message).request_id))
        if post is None:  # 2026-07-28 has no such message over HTTP
            return self._modern or self._unqueue(read_params(message).request_id)
        if post.modern:  # there, closing the stream is the cancellation
            self._give_up(post)
            return True
        post.cancelled = True
        self._deadlines.set(post, LINGER_S, self._give_up)
        return False

    def forget(self, id: bytes) -> None:
        """Stop waiting for the answer to request `id`."""
        post = self._posts.get(id_key(id))
        if post is not None:
            self._give_up(post)
        else:
            self._unqueue(id)

    def _unqueue(self, id: bytes) -> bool:
        """Drop request `id` if it was not sent yet."""
        waiting = self.lane.forget(id_key(id))
        if waiting is not None:
            self._load.remove(len(waiting.raw))
        return waiting is not None

    def _not_accepted(self, post: Post) -> None:
        self.log.warning("server.not_accepted", extra={"bound_s": ORDER_BOUND_S})
        self._give_up(post)

    def _give_up(self, post: Post) -> None:
        if post.exchange is not None:
            post.exchange.cancel()
        self._close(post)

    def _close(self, post: Post) -> None:
        """The POST is over: what waited behind it may go."""
        self._lighten(post)
        self._deadlines.drop(post)
        self._open.discard(post)
        for key in post.keys:
            if self._posts.get(key) is post:
                del self._posts[key]
        post.pending = {}
        self.lane.release(post)

    def _lighten(self, post: Post) -> None:
        if not post.counted:
            post.counted = True
            self._load.remove(len(post.message.raw))

    # ------------------------------------------------------------ what the POSTs report

    def accepted(self, post: Post, head: Head) -> None:
        """Keep the session's id and cookies; what waited behind a notification may go."""
        self._lighten(post)
        self._suspected = False
        self.endpoint.remember_cookies(head.headers)
        if post.method == "initialize" and post.trouble is None:
            self.session_id = visible_text(head.headers.get("mcp-session-id"))
        if post.method == "notifications/initialized":
            self._hearing.begin()
        if not post.is_request:
            self._deadlines.drop(post)
            self.lane.release(post)

    def answered(self, post: Post, message: Message) -> None:
        """Learn the revision from the answer to `initialize`; what waited behind it may go."""
        self._posts.pop(id_key(message.id), None)
        if post.method == "initialize" and message.kind is Kind.RESULT:
            self._begin_session(message)
        self.lane.release(post)

    def _begin_session(self, answer: Message) -> None:
        """Keep the revision that the server chose; whatever was listened to belongs to the session before."""
        self.version = visible_text(read_initialize_result(answer).protocol_version)
        self._session += 1
        self._listens = False
        self._listening.cancel()

    def waits_for(self, key: Hashable) -> bool:
        """Whether a request with this id is under way."""
        return key in self._posts

    def lingers(self, post: Post) -> None:
        """Close the stream if the server does not end it soon."""
        self._deadlines.set(post, LINGER_S, self._give_up)

    def refused(self, post: Post, refusal: Refusal) -> None:
        """Follow a redirect, tell of a lost session, relay a JSON-RPC error, or explain."""
        self.endpoint.remember_cookies(refusal.head.headers)
        if self._follow(post, refusal) or self._loses_session(post, refusal):
            return
        if self._duties.take_refusal(post, refusal) or self._is_evidence(post, refusal):
            return
        if post.trouble is not None:
            post.fail(_not_resumed(post.trouble, refusal))
        elif (error := json_rpc_error(refusal)) and refusal.status != 401:
            post.relay(error)
        reason = explain(refusal, self.context.server.name, self.endpoint)
        post.fail(reason)
        self._finish_refused(post, refusal)
        if refusal.status in OF_A_PROXY:
            self._suspect(post, reason)

    def _follow(self, post: Post, refusal: Refusal) -> bool:
        if post.trouble is not None or post.redirects >= MAX_REDIRECTS:
            return False
        if not self.endpoint.follow(refusal.head, post.url):
            return False
        post.redirects += 1
        self.submit(post)
        return True

    def _loses_session(self, post: Post, refusal: Refusal) -> bool:
        """Whether it means that the server has forgotten the session: then the message can be sent in another one."""
        name = self.context.server.name
        named = self.session_id is not None
        error = explain_loss(refusal, name, self.endpoint, named=named) if post.session else None
        if error is None:
            return False
        pending = tuple(post.pending.values())
        unread = post.trouble is None and not post.cancelled
        current = post.session == self._session
        if current and not self.downstream.lost(post.message if unread else None, error):
            return False
        self.log.info("upstream.session_lost", extra={"status": refusal.status})
        for waiting in self._hearing.give_back() if current else ():
            self._load.remove(len(waiting.raw))
            give_back(self.downstream, waiting, error)
        if post.trouble is not None:  # an answer had begun: what was done must not be done twice
            post.fail(_not_resumed(post.trouble, refusal))
        self._close(post)
        if unread and not current:  # there is another session already, and that one is not lost
            for id in pending:
                self.downstream.fail(id, error)
        return True

    def _is_evidence(self, post: Post, refusal: Refusal) -> bool:
        """Whether the refusal was dealt with above; an answer that had begun is no matter of eras."""
        if post.trouble is not None or not post.pending:
            return False
        if not is_evidence(post.message, refusal, self.downstream):
            return False
        self._close(post)
        return True

    def _suspect(self, post: Post, error: McpctlError) -> None:
        """Something failed that may have taken the session along: told once, until something succeeds."""
        if 0 < post.session == self._session and not self._suspected:
            self._suspected = True
            self.downstream.lost(None, error)
            self._hearing.end()

    def _finish_refused(self, post: Post, refusal: Refusal) -> None:
        if not post.is_request:
            extra = {"status": refusal.status, "method": post.method}
            self.log.warning("server.refused_notification", extra=extra)
        self.finished(post)

    def broke(self, post: Post, error: McpctlError) -> None:
        """Take the stream up again where it broke, if the server numbers its events; else the requests have failed."""
        if post.pending and not post.modern and not post.cancelled and post.can_resume():
            post.trouble = error
            self._deadlines.set(post, post.retry_s(), self._resume)
            return
        if not post.is_request:
            extra = {"error": str(error), "method": post.method}
            self.log.warning("server.lost_notification", extra=extra)
        post.fail(error)
        self._close(post)
        if post.method == "notifications/initialized" and 0 < post.session == self._session:
            self.downstream.lost(post.message, error)  # a session that was never complete is none
        else:
            self._suspect(post, error)

    def _resume(self, post: Post) -> None:
        """Ask for the rest of a stream (2025-11-25, "Resumability and Redelivery"): always by GET, after `retry`."""
        headers = (
            ("Accept", "text/event-stream"),
            ("Last-Event-ID", post.resume()),
            *self._session_headers(),
        )
        post.exchange = self.endpoint.submit(
            "GET", headers, None, post, repeatable=True, renewable=True
        )

    def finished(self, post: Post) -> None:
        """The answer is complete."""
        if post.method == "notifications/initialized":
            self._begin_listening()
        self._close(post)

    # ------------------------------------------------------------ the end

    def surrender(self) -> list[Message | Batch]:
        """Stop at once; what was not sent."""
        queued = self.lane.close()
        for post in tuple(self._open):
            post.fail(Unreachable("the session with the server has ended"))
            self._give_up(post)
        self._deadlines.clear()
        return queued

    def abandon(self) -> None:
        """Close what is open, and let the server find out by itself."""
        self.surrender()
        self._listening.cancel()

    async def aclose(self) -> None:
        """Close what is open, and delete the session: a server should not have to guess that we are gone."""
        self.surrender()
        self._listening.cancel()
        await trio.lowlevel.checkpoint()
        headers, self.session_id = self._session_headers(), None
        if "Mcp-Session-Id" not in dict(headers):
            return
        try:
            with trio.fail_after(DELETE_BOUND_S):
                status = await ask(self.endpoint, "DELETE", headers, self.downstream)
        except (McpctlError, trio.TooSlowError) as exc:
            self.log.info("upstream.not_deleted", extra={"error": str(exc) or "no answer in time"})
            return
        if status not in (200, 202, 204, 404, 405):  # 405: the server does not allow it
            self.log.info("upstream.not_deleted", extra={"status": status})


def _not_resumed(trouble: McpctlError, refusal: Refusal) -> McpctlError:
    error = type(trouble)(f"{trouble}; the rest was asked for, and answered {refusal.status}")
    error.interrupted = True
    return error


UPSTREAM = StreamableHttp
