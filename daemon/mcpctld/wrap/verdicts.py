"""What the guard decides about a request, and how a refusal is written."""

from collections.abc import Iterable

import msgspec

from mcpctld.protocols import jsonrpc

Fields = tuple[tuple[str, str], ...]
"""Header fields, in order."""


class Pass(msgspec.Struct, frozen=True):
    """The request may be served.

    `principal` names who sends it: `anonymous`, `bearer`, `user:NAME` or `oauth:SUBJECT`. A session belongs to the
    principal that began it.
    """

    principal: str


class Refusal(msgspec.Struct, frozen=True):
    """The whole answer, given in place of serving the request; 204 to a browser that asks beforehand."""

    status: int
    headers: Fields = ()
    body: bytes = b""
    is_guess: bool = False
    """Whether it counts as a try to guess a token; one that has expired is none."""

    def plus(self, headers: Fields) -> "Refusal":
        """The same with more headers."""
        return msgspec.structs.replace(self, headers=(*self.headers, *headers))


class Pending(msgspec.Struct, frozen=True):
    """A bearer token that only its issuer's keys can tell about: ask them, then have the guard `settle` it."""

    token: str
    client: str
    """Whom a failure is counted against."""
    cors: Fields
    """What the answer needs for a browser to show it."""

    def __repr__(self) -> str:  # the token is a secret
        return f"<Pending of {self.client}>"


Verdict = Pass | Refusal | Pending

ANONYMOUS = Pass("anonymous")

_JSON = ("Content-Type", "application/json")


def refuse(status: int, reason: str, headers: Iterable[tuple[str, str]] = ()) -> Refusal:
    """A refusal whose body is a JSON-RPC error without an id, as 2025-11-25 (transports) has it for 403."""
    details: dict[str, object] = {"source": "mcpctl", "kind": "denied"}
    error = jsonrpc.error_text(jsonrpc.INTERNAL_ERROR, f"mcpctl: {reason}", details)
    return Refusal(status, (*headers, _JSON), b'{"jsonrpc":"2.0","error":%b}' % error)
