"""An authorization server as a wrapped server sees it: its metadata, its keys, and the tokens it signs."""

import contextlib
import functools
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

from fixtures import scripted
from fixtures.scripted import Exchange
from mcpctld.wrap.options import OAuth

NOW = 1_800_000_000.0
AUDIENCE = "https://p.example/mcp"
METADATA = "/.well-known/oauth-authorization-server"
OPENID = "/.well-known/openid-configuration"

_CURVES = {"ES256": ec.SECP256R1, "ES384": ec.SECP384R1, "ES512": ec.SECP521R1}


@functools.cache
def private_key(alg: str, name: str = "one") -> Any:
    """A key of the kind that `alg` wants; for each name another one."""
    if alg in _CURVES:
        return ec.generate_private_key(_CURVES[alg]())
    if alg == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    if alg == "Ed448":
        return ed448.Ed448PrivateKey.generate()
    return rsa_key(name)


@functools.cache
def rsa_key(name: str, bits: int = 2048) -> rsa.RSAPrivateKey:
    """Made once: it takes a tenth of a second."""
    return rsa.generate_private_key(65537, bits)


def public_jwk(alg: str, name: str = "one", **more: Any) -> dict[str, Any]:
    """What the issuer publishes of `private_key(alg, name)`."""
    public = private_key(alg, name).public_key()
    by_name = jwt.get_algorithm_by_name("EdDSA" if alg == "Ed448" else alg)
    shown: dict[str, Any] = by_name.to_jwk(public, as_dict=True)
    return shown | {"kid": name} | more


def claims(issuer: str, **changed: Any) -> dict[str, Any]:
    """Of a token that is in order; None takes a claim away."""
    usual = {
        "iss": issuer,
        "aud": AUDIENCE,
        "exp": NOW + 300,
        "iat": NOW,
        "sub": "alice",
        "scope": "tools:read tools:call",
    }
    return {name: value for name, value in (usual | changed).items() if value is not None}


def sign(said: dict[str, Any], alg: str = "ES256", name: str = "one", **named: Any) -> str:
    """A token that says so, whatever it is; `named` changes its head, None takes a member away."""
    head = {"typ": "JWT", "kid": name} | named
    data = json.dumps(said).encode()
    by_name = "EdDSA" if alg == "Ed448" else alg
    kept = {key: value for key, value in head.items() if value is not None}
    absent = {"typ": None} if "typ" not in kept else {}  # PyJWT adds its own
    return jwt.PyJWS().encode(data, private_key(alg, name), by_name, headers=kept | absent)


Handler = Callable[[Exchange], Awaitable[None]]


class Issuer:
    """The running server. What stands in `pages` is answered: JSON, bytes as they are, or a handler."""

    def __init__(self, upstream: scripted.Upstream, path: str) -> None:
        self.base = upstream.url.removesuffix("/mcp")
        self.url = self.base + path
        self.upstream = upstream
        self.pages: dict[str, object] = {METADATA + path: self.metadata()}
        self.publish(public_jwk("ES256"))
        upstream.on("GET")(self._answer)

    def metadata(self, **changed: Any) -> dict[str, Any]:
        """The document of RFC 8414."""
        return {"issuer": self.url, "jwks_uri": f"{self.base}/keys", **changed}

    def publish(self, *keys: dict[str, Any]) -> None:
        """Replace the keys."""
        self.pages["/keys"] = {"keys": list(keys)}

    def asked(self, path: str = "/keys") -> int:
        """How often a path was asked for."""
        return [exchange.target for exchange in self.upstream.seen].count(path)

    def oauth(self, *scopes: str, audience: str = AUDIENCE) -> OAuth:
        """What a server says that trusts it."""
        return OAuth(issuer=self.url, audience=audience, resource=AUDIENCE, scopes=scopes)

    def token(self, alg: str = "ES256", name: str = "one", **changed: Any) -> str:
        """A token that is in order but for the claims that are changed."""
        return sign(claims(self.url, **changed), alg, name)

    async def _answer(self, exchange: Exchange) -> None:
        page = self.pages.get(exchange.target)
        if page is None:
            await exchange.answer(404)
        elif isinstance(page, bytes):
            await exchange.answer(200, page, scripted.JSON)
        elif callable(page):
            await page(exchange)
        else:
            await exchange.answer(200, json.dumps(page).encode(), scripted.JSON)


@contextlib.asynccontextmanager
async def serve(path: str = "", **options: Any) -> AsyncIterator[Issuer]:
    """An issuer on loopback until the block ends."""
    async with scripted.serve(**options) as upstream:
        yield Issuer(upstream, path)


class Clock:
    """A clock that a test sets: seconds since 1970, and seconds that never go back."""

    def __init__(self) -> None:
        self.passed = 0.0

    def wall(self) -> float:
        """Seconds since 1970."""
        return NOW + self.passed

    def monotonic(self) -> float:
        """Seconds since anything."""
        return 50.0 + self.passed
