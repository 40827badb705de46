"""The API as an HTTP service: who may ask, which route answers, what failure was wanted."""

import hmac
import logging
import secrets
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec
import trio

from mcpctld.drivers.http.server import Answer, Reply, Request
from mcpctld.errors import McpctlError
from mcpctld.localfly import faults
from mcpctld.localfly.call import NONCE_HEADER, Call, Route
from mcpctld.localfly.errors import NOT_FOUND_TEXT, ApiError, unauthorized
from mcpctld.localfly.supervisor import Supervisor

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
SCHEMES = ("bearer", "flyv1")
SAFE = frozenset({"GET", "HEAD"})
JSON = "application/json; charset=utf-8"

_log = logging.getLogger("mcpctld.localfly")
Found = tuple[Route, dict[str, str]]


class Router:
    """Finds the route of a method and path."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._routes = [(route, route.path.split("/")) for route in routes]

    def find(self, method: str, path: str) -> Found | None:
        """The route, and its parameters, decoded; None if there is none."""
        parts = path.split("/")
        for route, pattern in self._routes:
            if route.method != method or len(pattern) != len(parts):
                continue
            params = {}
            for want, part in zip(pattern, parts, strict=True):
                if want.startswith("{") and part:
                    params[want[1:-1]] = unquote(part)
                elif want != part:
                    break
            else:
                return route, params
        return None


class Api:
    """Implements `drivers.http.server.Service`; requests are answered by tasks in `nursery`."""

    def __init__(
        self, nursery: trio.Nursery, supervisor: Supervisor, router: Router, token: str
    ) -> None:
        self._nursery = nursery
        self._supervisor = supervisor
        self._router = router
        self._token = token.encode()

    def admit(self, request: Request) -> Answer | None:
        """Refuse web pages (DNS rebinding), unknown routes, then wrong tokens."""
        headers = request.headers
        host = urlsplit(f"//{headers.get('host') or ''}").hostname
        if host not in LOOPBACK:
            return _answer(403, {"error": "Host is not this computer's loopback"})
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != headers.get("host"):
            return _answer(403, {"error": "web pages may not use this API"})
        found = self._router.find(request.method, request.path)
        if found is None:
            return Answer(404, _head("text/plain; charset=utf-8"), NOT_FOUND_TEXT)
        if not found[0].open and not self._knows(headers.get("authorization")):
            return _answer(401, unauthorized(found[0].style))
        return None

    def _knows(self, authorization: str | None) -> bool:
        words = (authorization or "").split()
        while words and words[0].lower() in SCHEMES:
            words.pop(0)
        return hmac.compare_digest(" ".join(words).encode(), self._token)

    def handle(self, request: Request, reply: Reply) -> None:
        """Answer a request that was admitted."""
        found = self._router.find(request.method, request.path)
        assert found is not None  # `admit` has looked
        self._nursery.start_soon(self._answer, request, reply, *found)

    async def _answer(
        self, request: Request, reply: Reply, route: Route, params: dict[str, str]
    ) -> None:
        await trio.lowlevel.checkpoint()
        fault = None
        if not request.path.startswith("/_localfly/"):
            fault = self._supervisor.faults.of_request(request.method, request.path)
        if fault is not None and fault.kind not in ("hang", "lost"):
            _send(reply, _of_error(faults.answer(fault)))
            return
        if fault is not None and fault.kind == "hang":
            return  # whoever asked has to give up
        answer = await self._carry_out(request, route, params)
        if fault is None:
            _send(reply, answer)

    async def _carry_out(self, request: Request, route: Route, params: dict[str, str]) -> Answer:
        await trio.lowlevel.checkpoint()
        call = Call(
            supervisor=self._supervisor,
            params=params,
            query=parse_qs(request.query, keep_blank_values=True),
            nonce=request.headers.get(NONCE_HEADER),
            body=request.body,
        )
        try:
            status, result = await route.handler(call)
            if request.method not in SAFE:
                await self._supervisor.world.flush()
        except ApiError as exc:
            return _of_error(exc)
        except McpctlError as exc:
            return _answer(500, {"error": exc.message})
        except Exception:
            _log.exception("localfly.failed", extra={"route": f"{route.method} {route.path}"})
            return _answer(500, {"error": "internal error of localfly; its log says more"})
        return _answer(status, result)


def _of_error(error: ApiError) -> Answer:
    return _answer(error.status, error.body())


def _answer(status: int, result: Any) -> Answer:
    if result is None:
        return Answer(status, _head(""))
    return Answer(status, _head(JSON), msgspec.json.encode(result))


def _head(kind: str) -> tuple[tuple[str, str], ...]:
    head = (("fly-request-id", secrets.token_hex(13)), ("Server", "localfly"))
    return (("Content-Type", kind), *head) if kind else head


def _send(reply: Reply, answer: Answer) -> None:
    reply.send(answer.status, answer.headers, answer.body)
