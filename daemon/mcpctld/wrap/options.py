"""What `mcpctl wrap` is told: its flags, and the environment that `fly mcp wrap` reads.

The flags and variables of `fly mcp wrap` mean here what they mean there: a variable that is set and
not empty beats its flag, and `FLY_MCP_PRIVATE` counts as soon as it is there.
"""

import ipaddress
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

import msgspec

from mcpctld.model import MiB

Replay = Literal["auto", "off"]

EVERYWHERE = "::"
"""Every interface, for IPv6 and IPv4 alike: the listener has to clear IPV6_V6ONLY."""
LOOPBACK = ("127.0.0.1", "::1")


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """What a client must send, any one of them; a bearer token, a user with a password, or both."""

    bearer_token: str = ""
    bearer_token_also: str = ""
    """Is taken as well: the old or the new token, while it is being changed."""
    user: str = ""
    password: str = ""

    def __bool__(self) -> bool:
        return bool(self.bearer_token or self.user)

    def __repr__(self) -> str:  # secrets
        return f"<Credentials {' and '.join(self.kinds) or 'none'}>"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("kinds", self.kinds)]

    @property
    def kinds(self) -> tuple[str, ...]:
        """The authentication schemes that are accepted, as RFC 9110 §11.1 names them."""
        both = (("Bearer", self.bearer_token), ("Basic", self.user))
        return tuple(scheme for scheme, given in both if given)

    @property
    def secrets(self) -> frozenset[str]:
        """The values that nobody else may see."""
        return frozenset({self.bearer_token, self.bearer_token_also, self.password} - {""})


class OAuth(msgspec.Struct, frozen=True, kw_only=True):
    """Whose access tokens are accepted, and for what."""

    issuer: str
    """Exactly as the issuer calls itself (RFC 8414 §2)."""
    audience: str
    """What `aud` must name: the resource of RFC 8707."""
    resource: str
    """The URL of this server, as RFC 9728 publishes it."""
    scopes: tuple[str, ...] = ()
    """Every one of them must be granted."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """All that was asked for, checked."""

    command: tuple[str, ...]
    """The program and its arguments, never empty."""
    port: int = 8080
    """0 has the system choose one."""
    hosts: tuple[str, ...] = LOOPBACK
    """Addresses or names to listen on."""
    path_prefix: str = ""
    """Empty, or `/x` without a slash at its end."""
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    credentials: Credentials = Credentials()
    oauth: OAuth | None = None
    private: bool = False
    public_url: str | None = None
    trust_forwarded: bool = False
    replay: Replay = "auto"
    machine_id: str = ""
    """The Fly machine this runs in; empty elsewhere."""
    max_children: int = 32
    spare: int = 1
    """How many programs are started before anybody needs them."""
    idle_timeout_s: float = 1800.0
    """How long a session may stay without a request or an open stream."""
    drain_timeout_s: float = 10.0
    max_body_bytes: int = 64 * MiB
    notes: tuple[str, ...] = ()
    """What the user should be told at the start, a sentence each."""

    @property
    def on_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return all(is_loopback(host) for host in self.hosts)

    @property
    def is_guarded(self) -> bool:
        """Whether a client must prove who it is."""
        return bool(self.credentials or self.oauth)


def is_loopback(host: str) -> bool:
    """Whether an address or name, without brackets, is this machine by definition (RFC 6761 §6.3)."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def parse_options(argv: Sequence[str], environ: Mapping[str, str]) -> Options:
    """Read the words behind `mcpctl wrap`. Raises `UserError`; `--help` prints and ends the program.

    Reads the file of `--bearer-token @FILE` or `--password @FILE`, and nothing else.
    """
    from mcpctld.wrap import (
        flags,
    )  # argparse is needed once, and by nobody who mounts us as a library

    return flags.read(argv, environ)


# Ours that are no secrets stay: the program may be `mcpctl attach`, which has to find its daemon.
_OURS = re.compile(r"FLY_MCP_.*|MCPCTL_.*(?:TOKEN|PASSWORD|PASSPHRASE|SECRET|KEY|USER)", re.DOTALL)


def child_environment(environ: Mapping[str, str], secrets: Collection[str] = ()) -> dict[str, str]:
    """What the wrapped program gets of `environ`: not what lets a client in here.

    `secrets` (`Credentials.secrets`) are kept back whatever the name of the variable that holds one.
    """
    return {
        name: value
        for name, value in environ.items()
        if not _OURS.fullmatch(name) and value not in secrets
    }
