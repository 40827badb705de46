"""Requests to Fly over HTTP: the one place that knows httpx, which is loaded with the first request."""

import json
import random
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote, urlsplit

import trio

from mcpctld.fly.endpoints import Endpoints
from mcpctld.fly.errors import REQUEST_ID, FlyError, Reason, explain
from mcpctld.fly.limits import Limits
from mcpctld.fly.retries import IDEMPOTENT, Failure, read_retry_after, wait_before_next

if TYPE_CHECKING:
    import httpx

CONNECT_S = 10.0
ANSWER_S = 30.0
"""How long an answer may take, unless the request says otherwise."""
CLOSE_S = 2.0
LARGEST_ANSWER = 32 * 1024 * 1024
LEASE_NONCE = "fly-machine-lease-nonce"

Query = Mapping[str, str | list[str]]


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, with a status below 400. `headers` has lower-case names."""

    doing: str
    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    def value(self) -> Any:
        """The JSON in the body; None when it is empty. Raises `FlyError` for what is no JSON."""
        if not self.body.strip():
            return None
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            raise self.broken("the answer is no JSON") from None

    def mapping(self) -> dict[str, Any]:
        """The JSON object in the body, empty when there is none."""
        value = self.value()
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise self.broken("the answer is no JSON object")
        return value

    def rows(self) -> list[Any]:
        """The JSON array in the body, empty when there is none."""
        value = self.value()
        if value is None:
            return []
        if not isinstance(value, list):
            raise self.broken("the answer is no JSON array")
        return value

    def broken(self, detail: str) -> FlyError:
        """The error to raise for an answer that makes no sense."""
        return FlyError(
            self.doing,
            Reason.BROKEN,
            detail,
            status=self.status,
            request_id=self.headers.get(REQUEST_ID),
        )


@dataclass(frozen=True, slots=True)
class Ask:
    """One request.

    `doing` completes "cannot ...". `action` and `thing` name the budget that it counts against (`limits`).
    `repeatable` says that doing it twice is the same as doing it once; None: as its method says.
    """

    method: str
    url: str
    doing: str
    action: str
    thing: str
    query: Query = field(default_factory=dict)
    body: object = field(default=None, repr=False)
    lease: str | None = field(default=None, repr=False)
    repeatable: bool | None = None
    answer_s: float = ANSWER_S
    graphql: bool = False

    @property
    def may_repeat(self) -> bool:
        """Whether it may be made again when nobody knows what became of it."""
        return self.method in IDEMPOTENT if self.repeatable is None else self.repeatable


class Wire:
    """Connections to one Fly, its rate limits kept. `async with` closes them."""

    def __init__(
        self,
        endpoints: Endpoints,
        *,
        agent: str = "mcpctl",
        context: Callable[[], ssl.SSLContext] = ssl.create_default_context,
        limits: Limits | None = None,
        patient: bool = True,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.endpoints = endpoints
        self.limits = Limits() if limits is None else limits
        self._agent = agent
        self._context = context
        self._patient = patient
        self._jitter = jitter
        self._client: httpx.AsyncClient | None = None
        self._opening = trio.Lock()

    async def __aenter__(self) -> Self:
        await trio.lowlevel.checkpoint()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._client is not None:
            with trio.CancelScope(shield=True), trio.move_on_after(CLOSE_S):
                await self._client.aclose()
        await trio.lowlevel.checkpoint_if_cancelled()

    def path(self, *parts: str) -> str:
        """The URL below `/v1` of the Machines API; each part is quoted."""
        return f"{self.endpoints.machines}/v1/" + "/".join(quote(part, safe="") for part in parts)

    async def send(self, ask: Ask) -> Answer:
        """Send `ask`, again where that is safe, and return its answer. Raises `FlyError`."""
        attempt = 1
        while True:
            await self._wait_for_turn(ask)
            try:
                return await self._once(ask)
            except FlyError as exc:
                wait_s = self._before_next(ask, exc, attempt)
                if wait_s is None:
                    raise
            await trio.sleep(wait_s)
            attempt += 1

    async def find(self, ask: Ask) -> Answer | None:
        """The same; None when what it asks for is not there."""
        try:
            return await self.send(ask)
        except FlyError as exc:
            if exc.reason is not Reason.NOT_FOUND:
                raise
        await trio.lowlevel.checkpoint()
        return None

    async def _wait_for_turn(self, ask: Ask) -> None:
        await trio.sleep(self.limits.reserve(ask.action, ask.thing, trio.current_time()))

    def _before_next(self, ask: Ask, exc: FlyError, attempt: int) -> float | None:
        sent = not (exc.status is None and exc.unprocessed)
        failure = Failure(exc.reason, exc.status, sent, exc.retry_after_s)
        wait_s = wait_before_next(
            failure, repeatable=ask.may_repeat, attempt=attempt, jitter=self._jitter()
        )
        if exc.reason is Reason.RATE_LIMITED:
            pause = exc.retry_after_s if exc.retry_after_s is not None else wait_s or 0.0
            self.limits.hold(ask.action, ask.thing, trio.current_time() + pause)
        return wait_s if self._patient else None

    async def _once(self, ask: Ask) -> Answer:
        client = await self._open()
        try:
            with trio.fail_after(ask.answer_s + CONNECT_S):
                status, headers, body = await self._exchange(client, ask)
        except trio.TooSlowError:
            raise FlyError(ask.doing, Reason.TIMED_OUT, "no answer in time") from None
        if status < 400:
            return Answer(ask.doing, status, headers, body)
        retry_after_s = read_retry_after(headers.get("retry-after"), time.time())
        raise explain(ask.doing, status, headers, body, retry_after_s=retry_after_s)

    async def _exchange(
        self, client: "httpx.AsyncClient", ask: Ask
    ) -> tuple[int, dict[str, str], bytes]:
        import httpx

        try:
            async with client.stream(
                ask.method,
                ask.url,
                params=ask.query,
                headers=self._headers(ask),
                content=None if ask.body is None else json.dumps(ask.body).encode(),
                timeout=httpx.Timeout(ask.answer_s, connect=CONNECT_S),
            ) as response:
                body = await _read(ask, response)
                return response.status_code, dict(response.headers), body
        except httpx.TimeoutException as exc:
            raise _lost(ask, Reason.TIMED_OUT, "no answer in time", exc) from exc
        except (httpx.TransportError, httpx.InvalidURL) as exc:
            text = f"{urlsplit(ask.url).netloc}: {str(exc) or type(exc).__name__}"
            raise _lost(ask, Reason.UNREACHABLE, text, exc) from exc

    def _headers(self, ask: Ask) -> dict[str, str]:
        token = self.endpoints.token
        headers = {
            "authorization": token.graphql_header() if ask.graphql else token.header(),
            "user-agent": self._agent,
            "accept": "application/json",
        }
        if ask.body is not None:
            headers["content-type"] = "application/json"
        if ask.lease is not None:
            headers[LEASE_NONCE] = ask.lease
        return headers

    async def _open(self) -> "httpx.AsyncClient":
        async with self._opening:
            if self._client is None:
                self._client = await trio.to_thread.run_sync(self._make)
            return self._client

    def _make(self) -> "httpx.AsyncClient":
        import httpx

        host = urlsplit(self.endpoints.machines).hostname
        local = host in ("127.0.0.1", "::1", "localhost")
        return httpx.AsyncClient(
            verify=False if local else self._context(),
            trust_env=not local,
            follow_redirects=False,
        )


async def _read(ask: Ask, response: "httpx.Response") -> bytes:
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > LARGEST_ANSWER:
            raise FlyError(ask.doing, Reason.BROKEN, "the answer is too large")
    return bytes(body)


def _lost(ask: Ask, reason: Reason, text: str, exc: Exception) -> FlyError:
    error = FlyError(ask.doing, reason, text)
    error.unprocessed = type(exc).__name__ in ("ConnectError", "ConnectTimeout", "PoolTimeout")
    return error
