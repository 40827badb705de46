"""The keys of an authorization server: found through its metadata, fetched when they are needed, kept.

One fetch at a time, however many wait for it; within bounds of size and time; no redirects. What the
issuer may be asked for in vain (a key that does not exist) is asked for twice a minute at most.
"""

import json
import logging
import math
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import trio

from mcpctld.config.check import split_url
from mcpctld.errors import McpctlError, PeerError, TimedOut, Unreachable
from mcpctld.tunnels.tls import system_context
from mcpctld.wrap.options import is_loopback

if TYPE_CHECKING:
    import httpx

    from mcpctld.wrap.keys import Key

log = logging.getLogger("mcpctld.wrap")

FRESH_S = 900.0
"""After that the keys are fetched again, so that one that was withdrawn is not believed for long."""
USABLE_S = 24 * 3600.0
"""For so long they serve while the issuer cannot be reached."""
AGAIN_S = 30.0
"""The least time between two fetches."""
RETRY_S = 5.0
"""The same after one that has failed."""
TIMEOUT_S = 10.0
"""For one fetch as a whole."""
MAX_BYTES = 256 * 1024
"""Of a document; those of large issuers have some 20 KiB."""


class IssuerKeys:
    """The keys of one issuer.

    `clock` gives seconds and never goes back; `context` is whom TLS trusts, as the system does when None.
    """

    def __init__(
        self,
        issuer: str,
        *,
        clock: Callable[[], float] = trio.current_time,
        timeout_s: float = TIMEOUT_S,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self._issuer = issuer
        self._clock = clock
        self._timeout_s = timeout_s
        self._context = context
        self._keys: tuple[Key, ...] = ()
        self._fetched = -math.inf
        self._not_before = -math.inf
        self._lock = trio.Lock()

    async def find(self, alg: str, kid: str | None) -> tuple["Key", ...]:
        """The keys that a token with this head may be signed with, none if the issuer has no such key.

        Raises `Unreachable` when the issuer's keys are not to be had now.
        """
        await trio.lowlevel.checkpoint()
        if self._age() >= FRESH_S:
            await self._refresh()
        if self._age() >= USABLE_S:
            raise Unreachable(f"the keys of {self._issuer} are not to be had; try again later")
        if not (found := self._fitting(alg, kid)):
            await self._refresh()
            found = self._fitting(alg, kid)
        return found

    def _age(self) -> float:
        return self._clock() - self._fetched

    def _fitting(self, alg: str, kid: str | None) -> tuple["Key", ...]:
        return tuple(key for key in self._keys if key.fits(alg, kid))

    async def _refresh(self) -> None:
        """Fetch the keys, unless that was done a moment ago. Failures are logged."""
        async with self._lock:
            if self._clock() < self._not_before:
                return  # perhaps by somebody else, while we waited
            try:
                self._keys = await self._fetch()
                self._fetched = self._clock()
                self._not_before = self._fetched + AGAIN_S
            except McpctlError as exc:
                self._not_before = self._clock() + RETRY_S
                log.warning("issuer.failed", extra={"issuer": self._issuer, "reason": str(exc)})

    async def _fetch(self) -> tuple["Key", ...]:
        import httpx

        if self._context is None:
            self._context = await trio.to_thread.run_sync(system_context)
        try:
            with trio.fail_after(self._timeout_s):
                async with httpx.AsyncClient(
                    verify=self._context, timeout=self._timeout_s, mounts=_DIRECT
                ) as http:
                    return await self._fetch_with(http)
        except (trio.TooSlowError, httpx.TimeoutException) as exc:
            raise TimedOut(f"{self._issuer} took longer than {self._timeout_s:g} s") from exc
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as exc:
            raise Unreachable(f"{self._issuer} cannot be asked: {exc}") from exc

    async def _fetch_with(self, http: "httpx.AsyncClient") -> tuple["Key", ...]:
        from mcpctld.wrap.keys import parse_keys

        metadata = await self._find_metadata(http)
        url = self._keys_url(metadata)
        status, data = await _get(http, url)
        if status != _OK:
            raise PeerError(f"{url} answers {status} instead of keys")
        return parse_keys(_read_object(data, url))

    async def _find_metadata(self, http: "httpx.AsyncClient") -> dict[str, Any]:
        """The first document there is. Its issuer must be the one that was asked (RFC 8414 §3.3)."""
        await trio.lowlevel.checkpoint()
        answers = []
        for url in metadata_urls(self._issuer):
            status, data = await _get(http, url)
            if status == _OK:
                return self._check_metadata(_read_object(data, url))
            answers.append(f"{urlsplit(url).path} answers {status}")
        raise PeerError(f"{self._issuer} has no metadata: {', '.join(answers)}")

    def _check_metadata(self, metadata: dict[str, Any]) -> dict[str, Any]:
        if metadata.get("issuer") != self._issuer:
            raise PeerError(
                f"{self._issuer} calls itself {metadata.get('issuer')!r:.200}; "
                "give --oauth-issuer exactly that, if it is the one you mean"
            )
        return metadata

    def _keys_url(self, metadata: dict[str, Any]) -> str:
        """`jwks_uri`: https, or plain on this machine where the issuer is, too."""
        url = metadata.get("jwks_uri")
        parts = split_url(url) if isinstance(url, str) else None
        plain = self._issuer.startswith("http://")
        if parts is None or not (
            parts.scheme == "https" or (plain and is_loopback(parts.hostname or ""))
        ):
            raise PeerError(f"{self._issuer} does not say where its keys are (jwks_uri, https)")
        return str(url)


_OK = 200
_DIRECT = {f"all://{host}": None for host in ("localhost", "127.0.0.1", "[::1]")}
"""No proxy leads to this machine, whatever HTTPS_PROXY says of others."""


def metadata_urls(issuer: str) -> list[str]:
    """Where its metadata may be, in order: RFC 8414 §3.1, then OpenID Connect Discovery §4 in both spellings."""
    parts = urlsplit(issuer)
    base, path = f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/")
    urls = [
        f"{base}/.well-known/oauth-authorization-server{path}",
        f"{base}/.well-known/openid-configuration{path}",
    ]
    return [*urls, f"{base}{path}/.well-known/openid-configuration"] if path else urls


async def _get(http: "httpx.AsyncClient", url: str) -> tuple[int, bytes]:
    """Status and body; not unpacked, for what is small may unpack to anything."""
    data = bytearray()
    headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
    async with http.stream("GET", url, headers=headers) as response:
        if response.status_code != _OK:
            return response.status_code, b""
        with trio.CancelScope() as reading:
            async for piece in response.aiter_raw():
                data += piece
                if len(data) > MAX_BYTES:
                    reading.cancel()  # from within: leaving the loop would leave its generators open
    if len(data) > MAX_BYTES:
        raise PeerError(f"{url} is longer than {MAX_BYTES // 1024} KiB")
    return _OK, bytes(data)


def _read_object(data: bytes, url: str) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise PeerError(f"{url} is no JSON object")
    return document
