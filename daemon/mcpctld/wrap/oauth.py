"""OAuth 2.1, the side of the resource server: what clients are told, and whose tokens are good.

The metadata is that of RFC 9728, the challenges are those of RFC 6750 §3 with its addition. PyJWT and
httpx are loaded with the first token, and not at all where there is no issuer.
"""

import json
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec
import trio

from mcpctld.errors import Unreachable
from mcpctld.wrap.credentials import digest
from mcpctld.wrap.guard import RESOURCE_METADATA
from mcpctld.wrap.issuer import RETRY_S, IssuerKeys
from mcpctld.wrap.options import OAuth
from mcpctld.wrap.verdicts import Pass, Refusal, refuse

if TYPE_CHECKING:
    from mcpctld.wrap import tokens

MAX_KNOWN = 4096
KNOWN_S = 600.0
"""For so long a token is not examined again, so that a key that was withdrawn is noticed."""


class _Known(msgspec.Struct, frozen=True):
    verdict: Pass
    until: float


class ResourceServer:
    """Judges the access tokens for one server; the `Tokens` of the guard.

    `wall_clock` gives seconds since 1970: what is written in tokens.
    """

    def __init__(
        self,
        oauth: OAuth,
        keys: IssuerKeys | None = None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._oauth = oauth
        self._keys = keys or IssuerKeys(oauth.issuer)
        self._wall_clock = wall_clock
        self._known: OrderedDict[bytes, _Known] = OrderedDict()
        self._path = urlsplit(oauth.resource).path.rstrip("/")

    # ------------------------------------------------------------ what clients are told

    def metadata(self, path: str) -> bytes | None:
        """The document at a path of RFC 9728 §3.1, as JSON; None where it is not.

        It is at the root, and under the path of every URL that the resource covers.
        """
        if not path.startswith(RESOURCE_METADATA):
            return None
        of = path.removeprefix(RESOURCE_METADATA)
        if of and not f"{of}/".startswith(f"{self._path}/"):
            return None
        return json.dumps(self._document()).encode()

    def challenge(self) -> str:
        """The value of `WWW-Authenticate` for a request without a token."""
        return self._challenge()

    def _document(self) -> dict[str, object]:
        document: dict[str, object] = {
            "resource": self._oauth.resource,
            "authorization_servers": [self._oauth.issuer],
            "bearer_methods_supported": ["header"],
        }
        if self._oauth.scopes:
            document["scopes_supported"] = list(self._oauth.scopes)
        return document

    def _challenge(self, error: str = "", reason: str = "") -> str:
        parts = urlsplit(self._oauth.resource)
        told = {
            "error": error,
            "error_description": reason,
            "resource_metadata": f"{parts.scheme}://{parts.netloc}{RESOURCE_METADATA}{self._path}",
            "scope": " ".join(self._oauth.scopes),
        }
        return "Bearer " + ", ".join(f'{name}="{value}"' for name, value in told.items() if value)

    # ------------------------------------------------------------ whose tokens are good

    def known(self, token: str) -> Pass | None:
        """Whose token this is, if it was found good a short while ago; never waits."""
        key = digest(token)
        known = self._known.get(key)
        if known is None:
            return None
        if known.until <= self._wall_clock():
            del self._known[key]
            return None
        self._known.move_to_end(key)
        return known.verdict

    async def principal(self, token: str) -> Pass | Refusal:
        """Whose token this is, or what to answer; asks the issuer for its keys when they are not here.

        401 for a bad token, 403 for one without the scopes that are wanted, 503 while the keys are not to be had.
        """
        from mcpctld.wrap import tokens

        await trio.lowlevel.checkpoint()
        try:
            head = tokens.read_head(token)
            keys = await self._keys.find(head.alg, head.kid)
            grant = tokens.read_token(token, head, keys, self._oauth, self._wall_clock())
        except tokens.Untrusted as exc:
            return self._refuse(exc)
        except Unreachable as exc:
            return refuse(503, str(exc), [("Retry-After", f"{RETRY_S:.0f}")])
        return self._remember(token, grant)

    def _refuse(self, why: "tokens.Untrusted") -> Refusal:
        error = "insufficient_scope" if why.lacks_scope else "invalid_token"
        challenge = ("WWW-Authenticate", self._challenge(error, why.reason))
        refusal = refuse(403 if why.lacks_scope else 401, why.reason, [challenge])
        return msgspec.structs.replace(refusal, is_guess=why.is_forged)

    def _remember(self, token: str, grant: "tokens.Grant") -> Pass:
        verdict = Pass(f"oauth:{grant.subject}")
        until = min(grant.expires, self._wall_clock() + KNOWN_S)
        while len(self._known) >= MAX_KNOWN:
            self._known.popitem(last=False)
        self._known[digest(token)] = _Known(verdict, until)
        return verdict
