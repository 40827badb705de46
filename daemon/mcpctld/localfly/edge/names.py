"""Whom a request is for, by its `Host`.

| name | meaning |
|---|---|
| `APP.localhost`, `APP.fly.dev` | the app's public address |
| `APP.flycast.localhost`, `APP.flycast` | its private one |

Names that end in `.localhost` are loopback everywhere (RFC 6761 §6.3); the others are for who sets `Host` himself.
"""

import re
from typing import NamedTuple

from mcpctld.protocols.http1 import Headers

_PRIVATE = (".flycast.localhost", ".flycast")
_PUBLIC = (".localhost", ".fly.dev")
_APP = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")  # one DNS label (RFC 1035 §2.3.1)


class Named(NamedTuple):
    """An app, and by which of its addresses it is meant."""

    app: str
    private: bool


def read_host(host: str | None) -> Named | None:
    """What a `Host` names; None if that is no app's name."""
    name = (host or "").lower().rpartition("]")[2].partition(":")[0].removesuffix(".")
    for private, suffixes in ((True, _PRIVATE), (False, _PUBLIC)):
        for suffix in suffixes:
            if name.endswith(suffix) and _APP.fullmatch(app := name.removesuffix(suffix)):
                return Named(app, private)
    return None


def is_of_another_page(headers: Headers) -> bool:
    """Whether a web page from elsewhere makes a browser ask (Fetch §3.2; Fetch Metadata §2.3).

    On fly.io no page reaches the private network; the browser of this computer reaches all of loopback.
    """
    origin, host = headers.get("origin"), (headers.get("host") or "").lower()
    if origin is not None and origin.lower().partition("://")[2] != host:
        return True
    return headers.get("sec-fetch-site") not in (None, "same-origin", "none")
