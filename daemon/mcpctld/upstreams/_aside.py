"""Requests of our own to a server of 2026-07-28: no client made them, and what comes back is for us."""

import logging
from collections.abc import Hashable
from dataclasses import dataclass

import trio

from mcpctld.drivers.http.client import HttpClient
from mcpctld.errors import McpctlError
from mcpctld.logs import FieldLogger
from mcpctld.protocols.http1 import Head
from mcpctld.protocols.jsonrpc import Batch, Kind, Message
from mcpctld.protocols.mcp.headers import modern_params, standard_headers
from mcpctld.protocols.mcp.methods import LASTING
from mcpctld.upstreams._base import Context, Downstream
from mcpctld.upstreams._http import ACCEPT, MAX_REDIRECTS, Endpoint
from mcpctld.upstreams._post import Post
from mcpctld.upstreams._refusals import Refusal, explain, json_rpc_error


@dataclass(frozen=True, slots=True)
class Outside:
    """The way to a server that outlives the session that found it."""

    http: HttpClient
    endpoint: Endpoint
    server: str
    max_message_bytes: int
    log: logging.LoggerAdapter[logging.Logger]

    @classmethod
    def of(cls, context: Context) -> "Outside":
        """To the server of a session."""
        name = context.server.name
        return cls(
            context.http,
            Endpoint(context, context.spec.url or ""),
            name,
            context.max_message_bytes,
            FieldLogger(logging.getLogger("mcpctld.upstream"), {"server": name}),
        )


class Aside:
    """One such request; it is the owner of its POST, and the `Downstream` of what that brings.

    For the subclass: `on_message` for each message, the response among them; `on_refused` or `on_broken` when there
    is no response, or no more of it. Nothing comes after `cancel`.
    """

    client_full = False

    def __init__(self, outside: Outside, message: Message) -> None:
        self.downstream: Downstream = self
        self.max_message_bytes = outside.max_message_bytes
        self.log = outside.log
        self._outside = outside
        headers = standard_headers(message, modern_params(message))
        self._post = Post(self, message, modern=True, headers=headers)
        self._over = False

    def begin(self) -> None:
        """Send it. A lasting one is cut when the network changes, for it is asked for again."""
        lasting = self._post.method in LASTING
        post, endpoint = self._post, self._outside.endpoint
        post.url = endpoint.url
        post.exchange = endpoint.submit(
            "POST",
            (*ACCEPT, *post.headers),
            post.message.raw,
            post,
            repeatable=True,
            lasting=lasting,
            renewable=lasting,
        )

    def cancel(self) -> None:
        """Give up, or stop listening."""
        self._over = True
        if self._post.exchange is not None:
            self._post.exchange.cancel()

    def on_message(self, message: Message) -> None:
        """The response, or what comes before it."""
        raise NotImplementedError

    def on_refused(self, refusal: Refusal) -> None:
        """The server answered with another status than success, or without the response."""
        raise NotImplementedError

    def on_broken(self, error: McpctlError) -> None:
        """The connection was lost, or the response cannot be read."""
        raise NotImplementedError

    # ------------------------------------------------------------ Owner

    def accepted(self, post: Post, head: Head) -> None:
        """Keep the cookies."""
        self._outside.endpoint.remember_cookies(head.headers)

    def answered(self, post: Post, message: Message) -> None:
        """It is delivered next."""

    def waits_for(self, key: Hashable) -> bool:
        """Nobody else is answered here."""
        return False

    def lingers(self, post: Post) -> None:
        """What else comes is not waited for."""
        self.cancel()

    def refused(self, post: Post, refusal: Refusal) -> None:
        """Follow a redirect, or tell."""
        endpoint = self._outside.endpoint
        endpoint.remember_cookies(refusal.head.headers)
        if post.redirects < MAX_REDIRECTS and endpoint.follow(refusal.head, post.url):
            post.redirects += 1
            self.begin()
        elif not self._over:
            self.on_refused(refusal)

    def broke(self, post: Post, error: McpctlError) -> None:
        """Tell."""
        if not self._over:
            self.on_broken(error)

    def finished(self, post: Post) -> None:
        """All was delivered."""

    # ------------------------------------------------------------ Downstream

    def deliver(self, message: Message | Batch) -> None:
        """Tell."""
        if isinstance(message, Message) and not self._over:
            self.on_message(message)

    def fail(self, id: bytes, error: McpctlError) -> None:
        """The response was too long, or garbage."""
        self.broke(self._post, error)

    def lost(self, message: Message | Batch | None, error: McpctlError) -> bool:
        """Never called: there is no session."""
        raise NotImplementedError

    def evidence(self, request: Message, status: int, error: Message | None) -> bool:
        """Never called: it is for the owner to ask."""
        raise NotImplementedError

    def stderr(self, data: bytes) -> None:
        """Never called: HTTP has no such thing."""
        raise NotImplementedError

    async def wait_client(self) -> None:
        """Never called."""
        raise NotImplementedError


class Question(Aside):
    """A request whose response is waited for."""

    def __init__(self, outside: Outside, message: Message) -> None:
        super().__init__(outside, message)
        self._decided = trio.Event()
        self._answer: Message | None = None
        self._error: McpctlError | None = None

    async def ask(self) -> Message:
        """Send it and wait for the response, a result or an error. Raises why there is none."""
        self.begin()
        try:
            await self._decided.wait()
        finally:
            self.cancel()
        if self._answer is None:
            assert self._error is not None
            raise self._error
        return self._answer

    def on_message(self, message: Message) -> None:
        """Keep the response."""
        if message.kind in (Kind.RESULT, Kind.ERROR):
            self._answer = message
            self._decided.set()

    def on_refused(self, refusal: Refusal) -> None:
        """A JSON-RPC error is a response; else say what it means."""
        if (error := json_rpc_error(refusal)) is not None:
            self.on_message(error)
        else:
            self.on_broken(explain(refusal, self._outside.server, self._outside.endpoint))

    def on_broken(self, error: McpctlError) -> None:
        """There is no response."""
        self._error = error
        self._decided.set()
