"""Streamable HTTP, revisions 2025-03-26 to 2026-07-28 (MCP, Transports, "Streamable HTTP").

Each message is a POST; its answer is one JSON body or a stream of events. Requests are under way side by side.
Whatever is not a request (and `initialize`, which makes the session) is waited for before the next message goes:
a server must not see `tools/list` before `notifications/initialized`.

Older revisions have a session (`Mcp-Session-Id`), a stream for what the server says unasked (GET), and streams that
can be taken up again (`Last-Event-ID`). From 2026-07-28 on there is none of it: each message says what it needs.
"""

from collections import deque
from collections.abc import Hashable

import trio

from mcpctld.errors import McpctlError
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
from mcpctld.upstreams import _http
from mcpctld.upstreams._base import Context, Upstream
from mcpctld.upstreams._listen import Listener
from mcpctld.upstreams._post import Post
from mcpctld.upstreams._stream import ask

ACCEPT = (("Accept", "application/json, text/event-stream"), ("Content-Type", "application/json"))
REPEATABLE = frozenset({
    "initialize", "ping", "server/discover", "tools/list", "prompts/list", "prompts/get", "resources/list",
    "resources/templates/list", "resources/read", "completion/complete", "logging/setLevel",
})  # fmt: skip
"""Methods that only read, or set what is set already: sent again when a resting connection turns out dead."""

CANCEL_GRACE_S = 5.0
"""A cancelled request may still be answered; after this its stream is closed, for many servers never end it."""

ORDER_BOUND_S = 30.0
"""How long one message may keep the next waiting."""

MAX_RESUMPTIONS = 5
FIRST_RETRY_S = 1.0


class StreamableHttp(Upstream):
    """A session over Streamable HTTP."""

    transport = "streamable-http"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.endpoint = _http.Endpoint(context, context.spec.url or "")
        self.max_message_bytes = context.max_message_bytes
        self.session_id: str | None = None
        self.version: str | None = None
        self._posts: dict[Hashable, Post] = {}
        self._queue: deque[Message | Batch] = deque()
        self._open: set[Post] = set()
        self._ahead: Post | None = None
        self._ahead_until = 0.0
        self._guarding = False
        self._closing = False
        self._initialized = trio.Event()

    async def run(self) -> None:
        """Hold the stream for what the server says unasked, once there is a session."""
        await self._initialized.wait()
        await Listener(self, self.endpoint, self.session_headers, self.max_message_bytes).run()
        await trio.sleep_forever()

    # ------------------------------------------------------------ sending

    def send(self, message: Message | Batch) -> None:
        """POST it, at once or when the one before it has arrived."""
        if self._ahead is not None:
            self._queue.append(message)
        else:
            self._post(message)

    def _post(self, message: Message | Batch) -> None:
        params = None if isinstance(message, Batch) else modern_params(message)
        if (
            not isinstance(message, Batch)
            and message.method == "notifications/cancelled"
            and self._cancel(message)
        ):
            return
        post = Post(self, message, modern=params is not None)
        for key in post.pending:
            self._posts[key] = post
        if not post.is_request or _method(message) == "initialize":
            self._hold_back(post)
        self._submit(
            post, standard_headers(message, params) if isinstance(message, Message) else ()
        )

    def _submit(self, post: Post, standard: tuple[tuple[str, str], ...]) -> None:
        session = () if post.modern else self.session_headers()
        self._open.add(post)
        post.exchange = self.endpoint.submit(
            "POST",
            (*ACCEPT, *standard, *session),
            post.message.raw,
            post,
            repeatable=_method(post.message) in REPEATABLE,
        )

    def session_headers(self) -> tuple[tuple[str, str], ...]:
        """What every request after `initialize` carries."""
        session = (("Mcp-Session-Id", self.session_id),) if self.session_id else ()
        version = (("MCP-Protocol-Version", self.version),) if self.version else ()
        return (*session, *version)

    def _hold_back(self, post: Post) -> None:
        self._ahead = post
        self._ahead_until = trio.current_time() + ORDER_BOUND_S
        if not self._guarding:
            self._guarding = True
            self.context.nursery.start_soon(self._guard)

    async def _guard(self) -> None:
        """Give up on a notification that is not accepted in time, so that what follows may go.

        One task, awake once in a while: not one for each notification.
        """
        while (post := self._ahead) is not None:
            await trio.sleep_until(self._ahead_until)
            if self._ahead is post and not post.is_request:
                self.log.warning(
                    "a message was not accepted in time", extra={"bound_s": ORDER_BOUND_S}
                )
                self._give_up(post)
            elif self._ahead is post:  # `initialize` has the bound of every call
                self._ahead_until = trio.current_time() + ORDER_BOUND_S
        self._guarding = False

    def _cancel(self, message: Message) -> bool:
        """The client gave up on a request. True when that has been dealt with and nothing is to be sent."""
        post = self._posts.get(id_key(read_params(message).request_id))
        if post is None:
            return False
        if post.modern:  # 2026-07-28: closing the stream is the cancellation
            self._give_up(post)
            return True
        self.context.nursery.start_soon(self._give_up_later, post)
        return False

    async def _give_up_later(self, post: Post) -> None:
        await trio.sleep(CANCEL_GRACE_S)
        self._give_up(post)

    def _give_up(self, post: Post) -> None:
        self._forget_keys(post)
        post.pending.clear()
        if post.exchange is not None:
            post.exchange.cancel()
        self.finished(post)

    def forget(self, id: bytes) -> None:
        """Stop waiting for the answer to request `id`."""
        post = self._posts.get(id_key(id))
        if post is not None:
            self._give_up(post)

    # ------------------------------------------------------------ what the POSTs report

    def accepted(self, post: Post, head: Head) -> None:
        """Keep the session's id, and cookies."""
        self.endpoint.remember_cookies(head.headers)
        if _method(post.message) == "initialize":
            self.session_id = head.headers.get("mcp-session-id")

    def answered(self, post: Post, message: Message) -> None:
        """Learn the revision from the answer to `initialize`; what waited behind it may go."""
        self._posts.pop(id_key(message.id), None)
        if _method(post.message) == "initialize" and message.kind is Kind.RESULT:
            self.version = read_initialize_result(message).protocol_version
        if self._ahead is post:
            self._next()

    def refused(self, post: Post, refusal: _http.Refusal) -> None:
        """Follow a redirect, relay a JSON-RPC error, or explain."""
        self.endpoint.remember_cookies(refusal.head.headers)
        if self.endpoint.redirect(refusal.head):
            self._queue.appendleft(post.message)
            self._forget_keys(post)
            if self._ahead is None:
                self._next()
            return
        self._forget_keys(post)
        server = self.context.server.name
        if error := _http.json_rpc_error(refusal.body):
            post.relay(error)
        elif refusal.status < 300:
            post.fail(_http.not_mcp(refusal.head, server, self.endpoint.url))
        else:
            post.fail(_http.explain(refusal, server, self.endpoint.url))
        if not post.is_request and refusal.status >= 400:
            self.log.warning(
                "a notification was refused",
                extra={"status": refusal.status, "method": _method(post.message)},
            )

    def broke(self, post: Post, error: McpctlError) -> None:
        """Take the stream up again where it broke, if the server numbers its events; else the requests have failed."""
        if post.modern or not post.can_resume(MAX_RESUMPTIONS):
            self._forget_keys(post)
            post.fail(error)
        else:
            self.context.nursery.start_soon(self._resume, post)

    async def _resume(self, post: Post) -> None:
        """Ask for the rest of a stream (2025-11-25, "Resumability and Redelivery"): always by GET, after `retry`."""
        await trio.sleep(post.retry_s(FIRST_RETRY_S))
        if not post.pending:  # cancelled meanwhile
            return
        headers = (
            ("Accept", "text/event-stream"),
            ("Last-Event-ID", post.resume()),
            *self.session_headers(),
        )
        self._open.add(post)
        post.exchange = self.endpoint.submit("GET", headers, None, post, repeatable=True)

    def finished(self, post: Post) -> None:
        """The POST is over: what waited behind it may go."""
        self._open.discard(post)
        if _method(post.message) == "notifications/initialized":
            self._initialized.set()
        if self._ahead is post:
            self._next()

    def _next(self) -> None:
        self._ahead = None
        while self._queue and self._ahead is None and not self._closing:
            self._post(self._queue.popleft())

    def _forget_keys(self, post: Post) -> None:
        for key in post.pending:
            self._posts.pop(key, None)

    # ------------------------------------------------------------ the end

    async def aclose(self) -> None:
        """Close what is open, and delete the session: a server should not have to guess that we are gone."""
        self._closing = True
        for post in tuple(self._open):
            self._give_up(post)
        if self.session_id is None:
            return
        try:
            status = await ask(self.endpoint, "DELETE", self.session_headers(), self.downstream)
        except McpctlError as exc:
            self.log.info("the session could not be deleted", extra={"error": str(exc)})
            return
        if status not in (200, 202, 204, 404, 405):  # 405: the server does not allow it
            self.log.info("the session was not deleted", extra={"status": status})


def _method(message: Message | Batch) -> str:
    return "" if isinstance(message, Batch) else message.method


UPSTREAM = StreamableHttp
