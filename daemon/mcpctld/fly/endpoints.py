"""Which Fly is spoken to: fly.io, or the one of this computer."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from mcpctld.errors import Unreachable, UserError
from mcpctld.fly.tokens import Token, find_token

MACHINES = "https://api.machines.dev"
PLATFORM = "https://api.fly.io"

At = Literal["fly.io", "local"]


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Base URLs, without a slash at the end, and what is sent along."""

    machines: str
    """`/v1/...` follows."""
    graphql: str
    """The URL itself."""
    logs: str
    """`/apps/APP/logs` follows."""
    token: Token
    edge: str | None = None
    """The proxy of a local Fly, where its apps are reached: `http://127.0.0.1:PORT`. None for fly.io."""

    def app_url(self, app: str, *, private: bool = False) -> str:
        """Where the HTTP of an app is reached, without a slash at the end."""
        if self.edge is not None:
            middle = ".flycast" if private else ""
            return f"http://{app}{middle}.localhost:{urlsplit(self.edge).port}"
        return f"http://{app}.flycast" if private else f"https://{app}.fly.dev"


def find_endpoints(at: At, environ: Mapping[str, str], state_dir: str) -> Endpoints:
    """Where to go, by the environment as flyctl reads it, or by the place file of the local Fly; blocking.

    Raises `Denied` without a token, `Unreachable` while no local Fly runs, `UserError` for addresses that are none.
    """
    if at == "local":
        return _local(os.path.join(state_dir, "localfly", "localfly.json"))
    home = environ.get("HOME") or os.path.expanduser("~")
    return fly_io(environ, find_token(environ, home))


def fly_io(environ: Mapping[str, str], token: Token) -> Endpoints:
    """The addresses of fly.io, or what FLY_FLAPS_BASE_URL, FLY_API_HOSTNAME and FLY_API_BASE_URL name instead."""
    name = "FLY_FLAPS_BASE_URL" if environ.get("FLY_FLAPS_BASE_URL") else "FLY_API_HOSTNAME"
    machines = _base(name, environ.get(name) or MACHINES)
    platform = _base("FLY_API_BASE_URL", environ.get("FLY_API_BASE_URL") or PLATFORM)
    return Endpoints(machines, f"{platform}/graphql", f"{platform}/api/v1", token)


def _base(name: str, text: str) -> str:
    url = text if "://" in text else f"https://{text}"
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise UserError(f"cannot use {name}={text}: write an address such as {MACHINES}")
    return url.rstrip("/").removesuffix("/v1")


def _local(path: str) -> Endpoints:
    start = "start it with: mcpctl localfly start"
    try:
        with open(path, encoding="utf-8") as file:
            place = json.load(file)
        api, edge = _base("api", place["api"]), _base("edge", place["edge"])
        token, pid = Token(place["token"]), int(place["pid"])
    except FileNotFoundError:
        raise Unreachable(f"the local Fly does not run; {start}") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, UserError) as exc:
        raise Unreachable(f"cannot use {path}: {type(exc).__name__}; {start}") from exc
    if not _alive(pid):
        raise Unreachable(f"the local Fly does not run any more; {start}")
    return Endpoints(api, f"{api}/graphql", f"{api}/api/v1", token, edge)


def _alive(pid: int) -> bool:
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
