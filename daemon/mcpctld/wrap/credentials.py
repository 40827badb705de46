"""Whether an `Authorization` header is the one that was agreed on.

Digests are compared, and in constant time (`hmac.compare_digest`): how long that takes tells nothing
about where a guess goes wrong, nor how long the secret is.
"""

import base64
import hashlib
import hmac

import msgspec

from mcpctld.wrap.options import Credentials
from mcpctld.wrap.verdicts import Pass

STRONG_LENGTH = 20
"""Nobody guesses a secret of so many characters: who has it is let in even while its address is locked."""


class Match(msgspec.Struct, frozen=True):
    """Right credentials."""

    verdict: Pass
    strong: bool


class _Expected(msgspec.Struct, frozen=True):
    digest: bytes
    match: Match


def digest(value: str) -> bytes:
    """The SHA-256 of a header's value."""
    return hashlib.sha256(value.encode("latin-1", "replace")).digest()


class Expected:
    """The header values that are right, as digests; the secrets themselves are not kept."""

    def __init__(self, credentials: Credentials) -> None:
        self._all = tuple(_bearer(credentials) + _basic(credentials))

    def find(self, authorization: str) -> Match | None:
        """What the value of an `Authorization` header stands for; None when it is wrong."""
        return self._compare(digest(authorization)) or self._compare(digest(_usual(authorization)))

    def _compare(self, found: bytes) -> Match | None:
        match = None
        for expected in self._all:
            if hmac.compare_digest(expected.digest, found):
                match = expected.match
        return match


def bearer_token(authorization: str) -> str | None:
    """The token of a `Bearer` header (RFC 6750 §2.1), None for other schemes."""
    scheme, _, token = _usual(authorization).partition(" ")
    return token if scheme == "Bearer" and token else None


def _usual(authorization: str) -> str:
    """Schemes are case-insensitive, and more than one space may follow (RFC 9110 §11.4)."""
    scheme, _, rest = authorization.partition(" ")
    return f"{scheme.capitalize()} {rest.strip(' ')}"


def _bearer(credentials: Credentials) -> list[_Expected]:
    """Both tokens stand for the same client: its sessions stay while the token is being changed."""
    return [
        _Expected(digest(f"Bearer {token}"), Match(Pass("bearer"), len(token) >= STRONG_LENGTH))
        for token in (credentials.bearer_token, credentials.bearer_token_also)
        if token
    ]


def _basic(credentials: Credentials) -> list[_Expected]:
    """UTF-8 is announced (RFC 7617 §2.1), and yet some clients send Latin-1."""
    if not credentials.user:
        return []
    text = f"{credentials.user}:{credentials.password}"
    match = Match(Pass(f"user:{credentials.user}"), len(credentials.password) >= STRONG_LENGTH)
    charsets = ["utf-8", "latin-1"] if max(text) < "\u0100" else ["utf-8"]
    forms = {text.encode(charset) for charset in charsets}
    return [_Expected(digest(f"Basic {base64.b64encode(form).decode()}"), match) for form in forms]
