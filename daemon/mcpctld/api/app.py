"""The Quart application: the table becomes views, every failure becomes an envelope."""

import logging
import re
from collections.abc import Awaitable, Callable
from typing import Any, cast

import msgspec
import trio
from hypercorn.typing import (
    ASGIReceiveCallable,
    ASGIReceiveEvent,
    ASGISendCallable,
    ASGISendEvent,
    HTTPScope,
)
from quart import Quart, Request, request
from quart.wrappers import Response
from quart_trio import QuartTrio
from quart_trio.asgi import TrioASGIHTTPConnection
from werkzeug.exceptions import (
    HTTPException,
    MethodNotAllowed,
    NotFound,
    RequestEntityTooLarge,
    RequestTimeout,
)

from mcpctld.api.engine import Engine
from mcpctld.api.envelope import Refused, close_to, did_you_mean, failure, success
from mcpctld.api.route import Access, Call, Route
from mcpctld.api.streams import EventStreams
from mcpctld.errors import InternalError, McpctlError, UserError

log = logging.getLogger("mcpctld.api")

MAX_BODY = 1024 * 1024
"""Bytes. The largest body that means anything is one secret."""

BODY_TIMEOUT_S = 30.0
"""For a body that was announced to arrive."""

HOSTS = frozenset({"localhost", "mcpctld"})
"""What our own clients, and curl as documented, call the daemon; a forwarder has a port in it."""

BROWSER_HEADERS = ("Origin", "Referer", "Sec-Fetch-Site")
"""Browsers add these and scripts in them cannot leave all of them out."""

_PLACEHOLDER = re.compile(r"\{(\w+)\}")


class ControlConnection(TrioASGIHTTPConnection):
    """One request, whose disconnect notice may not cut off the end of its own answer.

    When the last of a body is sent, hypercorn queues `http.disconnect` and then closes or recycles
    the connection, all within that send. quart-trio takes the notice for a client that left and
    cancels the sender, so the connection is neither closed nor timed out. Here a notice that
    follows a complete answer is let pass; one before it still cancels the handler.
    """

    def __init__(self, app: Quart, scope: HTTPScope) -> None:
        # RFC 9112 section 3.2.1 wants a path here; Quart fails on none, and "/" is nothing of ours.
        super().__init__(app, {**scope, "path": scope["path"] or "/"})
        self._complete = False

    async def __call__(self, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """Serve the request, taking note when its answer is complete."""

        async def watch(message: ASGISendEvent) -> None:
            if message["type"] == "http.response.body":
                self._complete = not message.get("more_body", False)
            await send(message)

        await super().__call__(receive, watch)

    async def handle_messages(  # type: ignore[override]
        self, nursery: trio.Nursery, request: Request, receive: ASGIReceiveCallable
    ) -> None:
        """Feed the body to the request, and cancel it when its client leaves before the end."""

        async def listen() -> ASGIReceiveEvent:
            message = await receive()
            if message["type"] == "http.disconnect" and self._complete:
                await trio.sleep_forever()  # until the request's nursery ends with its answer
            return message

        await super().handle_messages(nursery, request, listen)


class ControlApp(QuartTrio):
    """Quart without what a page for browsers would need."""

    asgi_http_class = ControlConnection
    logger = log  # Quart's own would write to stderr

    def __init__(self) -> None:
        super().__init__(__name__, static_folder=None, template_folder=None)
        self.debug = False  # whatever QUART_DEBUG says: it would put tracebacks into answers
        self.url_map.merge_slashes = False  # no redirects
        self.config["MAX_CONTENT_LENGTH"] = MAX_BODY
        self.config["BODY_TIMEOUT"] = BODY_TIMEOUT_S


def make_app(engine: Engine, routes: tuple[Route, ...], streams: EventStreams) -> ControlApp:
    """The application that serves `routes` on behalf of `engine`."""
    app = ControlApp()
    app.before_request(check_request)
    app.register_error_handler(Exception, _failure_handler(routes))
    for route in routes:
        app.add_url_rule(
            _PLACEHOLDER.sub(r"<\1>", route.path),
            f"{route.method} {route.path}".replace(".", "_"),
            _view(route, engine, routes, streams),
            methods=[route.method],
            provide_automatic_options=False,
        )
    return app


def _view(
    route: Route, engine: Engine, routes: tuple[Route, ...], streams: EventStreams
) -> Callable[..., Awaitable[Response]]:
    decoder = msgspec.json.Decoder(route.request) if route.request else None

    async def view(**arguments: str) -> Response:
        body = _decode(decoder, cast(bytes, await request.get_data())) if decoder else None
        if route.access is Access.WRITE:
            log.info("control request: %s %s", request.method, request.path)
        call = Call(engine, streams, routes, request.method, arguments, body)
        await trio.lowlevel.checkpoint()
        answer = route.handler(call)
        if isinstance(answer, Awaitable):
            answer = await answer
        return answer if isinstance(answer, Response) else success(answer)

    return view


def _decode(decoder: msgspec.json.Decoder[Any], body: bytes) -> Any:
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise UserError(f"cannot use the body of {request.method} {request.path}: {exc}") from exc


async def check_request() -> None:
    """Turn away what no route should ever see; runs before routing has its say."""
    await trio.lowlevel.checkpoint()  # async for Quart's sake, which gives all else a thread
    _refuse_browsers()
    if (request.content_length or 0) > MAX_BODY:  # also where no body is read
        raise RequestEntityTooLarge


def _refuse_browsers() -> None:
    """Turn away what a browser sent, even through a forwarder of the socket.

    A page that a user visits must not be able to drive the daemon: it can reach any local port,
    under a name of its choosing (DNS rebinding), but it cannot hide that it is a page.
    """
    for header in BROWSER_HEADERS:
        if header in request.headers:
            raise Refused("denied", f"cannot answer a browser, and only those send {header}")
    host = request.headers.get("Host", "")
    if host.lower() not in HOSTS:
        raise Refused(
            "denied", f"cannot answer for the host {host!r}; call http://localhost over the socket"
        )


def _failure_handler(
    routes: tuple[Route, ...],
) -> Callable[[Exception], Awaitable[Response]]:
    async def handle(error: Exception) -> Response:
        await trio.lowlevel.checkpoint()
        return answer_failure(error, routes)

    return handle


def answer_failure(error: Exception, routes: tuple[Route, ...]) -> Response:
    """The envelope for whatever went wrong; a bug is logged in full and answered in brief."""
    if isinstance(error, HTTPException):
        error = _translate(error, routes)
    if isinstance(error, McpctlError):
        return failure(error)
    log.error("control request failed: %s %s", request.method, request.path, exc_info=error)
    return failure(
        InternalError(
            f"cannot finish {request.method} {request.path}: a bug in mcpctld; see its log"
        )
    )


def _translate(error: HTTPException, routes: tuple[Route, ...]) -> McpctlError:
    asked = f"{request.method} {request.path}"
    match error:
        case NotFound():
            return _no_such_path(routes)
        case MethodNotAllowed():
            allowed = ", ".join(sorted(error.valid_methods or ()))
            message = f"cannot {asked}; it answers {allowed}"
            return Refused("bad-request", message, status=405, headers={"Allow": allowed})
        case RequestEntityTooLarge():
            message = f"cannot take the body of {asked}: longer than {MAX_BODY} bytes"
            return Refused("bad-request", message, status=413)
        case RequestTimeout():
            message = f"cannot wait for the body of {asked}: it took over {BODY_TIMEOUT_S:g} s"
            return Refused("timeout", message, status=408)
    return Refused("bad-request", f"cannot serve {asked}: {error.description or error.name}")


def _no_such_path(routes: tuple[Route, ...]) -> McpctlError:
    near = close_to(request.path, dict.fromkeys(route.path for route in routes))
    return Refused(
        "not-found",
        f"cannot find the path {request.path}{did_you_mean(near)}"
        "; GET /v1/openapi.json lists them all",
        details={"path": request.path, "suggestions": near},
    )
