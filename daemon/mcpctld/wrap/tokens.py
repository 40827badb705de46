"""Access tokens in the form of a JWT (RFC 9068): what they must say, and who must have signed them.

PyJWT checks signature, issuer and audience. Times are checked here, because it would look at a clock.
"""

from typing import Any

import jwt
import msgspec

from mcpctld.wrap.keys import ALGORITHMS, Key
from mcpctld.wrap.options import OAuth

LEEWAY_S = 30.0
"""By how much the clocks of issuer and server may differ."""
MAX_TOKEN = 16 * 1024

TYPES = frozenset({"at+jwt", "application/at+jwt", "jwt", "application/jwt"})
"""RFC 9068 §2.1, and what issuers wrote before it. None at all is common, too; other types are other things."""

_REQUIRED = ["iss", "aud", "exp"]
_OPTIONS: Any = {
    "require": _REQUIRED,
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
    "enforce_minimum_key_length": True,
}


class Untrusted(Exception):
    """A token that opens nothing. The text may be shown: it repeats nothing of the token.

    `is_forged`: no key of the issuer has signed it. `lacks_scope`: it is in order, and for less than was wanted.
    """

    def __init__(self, reason: str, *, is_forged: bool = False, lacks_scope: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_forged = is_forged
        self.lacks_scope = lacks_scope


class Head(msgspec.Struct, frozen=True):
    """How a token says that it is signed; nothing of it is proved."""

    alg: str
    kid: str | None


class Grant(msgspec.Struct, frozen=True):
    """What a token proves: for whom, and until when (seconds since 1970)."""

    subject: str
    expires: float


def read_head(token: str) -> Head:
    """Read the head of a token. Raises `Untrusted` for one that no key could prove."""
    if len(token) > MAX_TOKEN:
        raise Untrusted("the token is too long", is_forged=True)
    try:
        head = jwt.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as exc:
        raise Untrusted("the token is no JWT", is_forged=True) from exc
    alg, typ = head.get("alg"), head.get("typ")
    if not isinstance(alg, str) or alg not in ALGORITHMS:
        raise Untrusted("the token is signed in a way that is not accepted", is_forged=True)
    if typ is not None and not (isinstance(typ, str) and typ.lower() in TYPES):
        raise Untrusted("the JWT is not an access token", is_forged=True)
    return Head(alg, head.get("kid"))


def read_token(token: str, head: Head, keys: tuple[Key, ...], wanted: OAuth, now: float) -> Grant:
    """What a token proves, `now` in seconds since 1970. Raises `Untrusted`."""
    for key in keys:
        try:
            claims = _verify(token, head, key, wanted)
        except jwt.InvalidSignatureError:
            continue
        _check_times(claims, now)
        _check_scopes(claims, wanted.scopes)
        return Grant(_subject(claims), float(claims["exp"]))
    raise Untrusted("the token is not signed by its issuer", is_forged=True)


def _verify(token: str, head: Head, key: Key, wanted: OAuth) -> dict[str, Any]:
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            key.public,
            algorithms=[head.alg],  # from a fixed list, and the key is of its kind
            issuer=wanted.issuer,
            audience=_spellings(wanted.audience),
            options=_OPTIONS,
        )
    except jwt.InvalidSignatureError:
        raise
    except (jwt.InvalidIssuerError, jwt.InvalidAudienceError) as exc:
        raise Untrusted("the token is of another issuer, or for another server") from exc
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as exc:
        raise Untrusted("the token lacks what an access token must say") from exc
    return claims


def _spellings(audience: str) -> list[str]:
    """An empty path and `/` are the same URL (RFC 3986 §6.2.3), and many clients write the latter."""
    scheme, separator, rest = audience.partition("://")
    host, _, path = rest.partition("/")
    return [audience] if path or not separator else [f"{scheme}://{host}", f"{scheme}://{host}/"]


def _check_times(claims: dict[str, Any], now: float) -> None:
    """RFC 7519 §4.1.4 to §4.1.6."""
    times = {name: claims[name] for name in ("exp", "nbf", "iat") if name in claims}
    if not all(_is_time(value) for value in times.values()):
        raise Untrusted("a time in the token is no number")
    if times["exp"] <= now - LEEWAY_S:
        raise Untrusted("the token has expired")
    if max(times.get("nbf", 0), times.get("iat", 0)) > now + LEEWAY_S:
        raise Untrusted("the token is not valid yet")


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _FOREVER


_FOREVER = 1 << 53  # beyond that, an infinity or no number at all


def _check_scopes(claims: dict[str, Any], wanted: tuple[str, ...]) -> None:
    granted = {*_words(claims.get("scope")), *_words(claims.get("scp"))}
    if not granted.issuperset(wanted):
        raise Untrusted("the token does not grant all that is wanted here", lacks_scope=True)


def _words(value: object) -> list[str]:
    """Scopes separated by spaces (RFC 9068 §2.2.3), or in a list as some issuers have it."""
    if isinstance(value, list):
        return [word for word in value if isinstance(word, str)]
    return value.split(" ") if isinstance(value, str) else []


def _subject(claims: dict[str, Any]) -> str:
    for name in ("sub", "client_id", "azp"):
        value = claims.get(name)
        if isinstance(value, str) and value:
            return value
    raise Untrusted("the token does not say whose it is")
