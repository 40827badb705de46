"""Who may speak to the wrapped server. Pure: a request's head and the time go in, a verdict comes out.

The order: where it comes from (`--private`), what it calls us and which page sends it (`origins`),
whether a browser only asks beforehand, then credentials. The usual case, the same header as before,
costs one digest and its comparison.
"""

import math
from typing import Protocol

from mcpctld.protocols.http1 import Headers
from mcpctld.wrap import callers
from mcpctld.wrap.attempts import Attempts
from mcpctld.wrap.callers import Callers
from mcpctld.wrap.credentials import Expected, bearer_token, digest
from mcpctld.wrap.options import Options
from mcpctld.wrap.origins import Origins
from mcpctld.wrap.verdicts import ANONYMOUS, Fields, Pass, Pending, Refusal, Verdict, refuse

__all__ = [
    "Guard",
    "Pass",
    "Pending",
    "Refusal",
    "Tokens",
    "Verdict",
    "HEALTH",
    "RESOURCE_METADATA",
]

HEALTH = "/health"
RESOURCE_METADATA = "/.well-known/oauth-protected-resource"
"""RFC 9728 §3."""

_READING = ("GET", "HEAD")


class Tokens(Protocol):
    """What the guard needs of the access tokens of OAuth; `oauth.ResourceServer` implements it."""

    def known(self, token: str) -> Pass | None:
        """Whose token this is, if that was found out before; never waits."""

    def challenge(self) -> str:
        """The value of `WWW-Authenticate` for a request without a token."""


class Guard:
    """The rules of one server.

    Call `check` for every request, before its body is read; where it is `Pending`, await
    `ResourceServer.principal` of its token and pass the outcome through `settle`. Refusals carry all
    their headers; an answer to a request that passed needs `cors_headers`.
    """

    def __init__(self, options: Options, tokens: Tokens | None = None) -> None:
        self._is_private = options.private
        self._is_guarded = options.is_guarded
        self._health = frozenset({HEALTH, options.path_prefix + HEALTH})
        self._callers = Callers(
            on_fly=bool(options.machine_id), trust_forwarded=options.trust_forwarded
        )
        self._origins = Origins(options)
        self._expected = Expected(options.credentials)
        self._tokens = tokens
        self._challenges = _challenges(options, tokens)
        self._attempts = Attempts()

    def check(self, method: str, path: str, headers: Headers, peer: str, now: float) -> Verdict:
        """The verdict on one request.

        `path` is as requested, without the query; `peer` the address at the other end of the connection, empty if it
        has none; `now` in seconds of a clock that never goes back.
        """
        if path in self._health and method in _READING:
            return ANONYMOUS  # whoever checks it comes from anywhere, and learns nothing
        if refusal := self._misplaced(headers, peer):
            return refusal
        cors = self.cors_headers(headers.get("origin"))
        if method == "OPTIONS" and (answer := self._origins.preflight(headers)):
            return answer
        if not self._is_guarded or _is_metadata(method, path):
            return ANONYMOUS
        return self._identify(headers, peer, now, cors)

    def settle(self, pending: Pending, outcome: Pass | Refusal, now: float) -> Pass | Refusal:
        """What comes of a token, now that its issuer's keys have told: failures are counted."""
        if isinstance(outcome, Pass):
            return outcome
        if outcome.is_guess:
            guess = digest(f"Bearer {pending.token}")
            outcome = self._failed(pending.client, guess, outcome, now)
        return outcome.plus(pending.cors)

    def cors_headers(self, origin: str | None) -> Fields:
        """What an answer needs for the web page at `origin` (the request's header) to read it."""
        return self._origins.cors(origin)

    def _misplaced(self, headers: Headers, peer: str) -> Refusal | None:
        if self._is_private and not callers.is_private(self._callers.client(headers, peer)):
            return refuse(403, "this server is reached over its private network only")
        return self._origins.check(headers, forwarded=self._callers.believes(peer))

    # ------------------------------------------------------------ credentials

    def _identify(self, headers: Headers, peer: str, now: float, cors: Fields) -> Verdict:
        sent = headers.get_all("authorization")
        if len(sent) != 1:
            return self._unidentified(several=bool(sent)).plus(cors)
        match = self._expected.find(sent[0])
        if match is not None and match.strong:
            return match.verdict
        client = callers.client_key(self._callers.client(headers, peer))
        if match is not None:
            locked = self._locked(client, now)
            return locked.plus(cors) if locked else match.verdict
        if self._tokens is not None and (token := bearer_token(sent[0])):
            return self._tokens.known(token) or Pending(token, client, cors)
        wrong = refuse(401, "these credentials are wrong", self._challenges)
        return self._failed(client, digest(sent[0]), wrong, now).plus(cors)

    def _unidentified(self, *, several: bool) -> Refusal:
        if several:  # which one counts is what smuggling plays with
            return refuse(400, "the request has more than one Authorization header")
        return refuse(401, "this server wants credentials", self._challenges)

    def _failed(self, client: str, guess: bytes, refusal: Refusal, now: float) -> Refusal:
        if locked := self._locked(client, now):
            return locked
        self._attempts.add(client, guess, now)
        return refusal

    def _locked(self, client: str, now: float) -> Refusal | None:
        wait_s = self._attempts.wait_s(client, now)
        if wait_s == 0:
            return None
        retry = ("Retry-After", str(math.ceil(wait_s)))
        return refuse(429, "too many wrong credentials from this address; try again later", [retry])


def _challenges(options: Options, tokens: Tokens | None) -> Fields:
    """One `WWW-Authenticate` for each scheme (RFC 9110 §11.6.1)."""
    values = []
    if tokens is not None:
        values.append(tokens.challenge())
    elif "Bearer" in options.credentials.kinds:
        values.append('Bearer realm="mcpctl"')
    if "Basic" in options.credentials.kinds:
        values.append('Basic realm="mcpctl", charset="UTF-8"')
    return tuple(("WWW-Authenticate", value) for value in values)


def _is_metadata(method: str, path: str) -> bool:
    return method in _READING and (
        path == RESOURCE_METADATA or path.startswith(f"{RESOURCE_METADATA}/")
    )
