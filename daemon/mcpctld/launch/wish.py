"""What somebody wants to have launched: the flags of `mcpctl launch`, read but not yet looked into."""

from typing import Literal

import msgspec


class Wish(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One server to be put on Fly. Strings are as the user wrote them; `launch/` finds out what they mean.

    It may hold secrets: it is read from a pipe, and never shown or stored.
    """

    command: str | None = None
    """One line, split once by the rules of a POSIX shell; no shell runs it."""
    server: str | None = None
    """The name to give it here; found from the command if it is not said."""
    name: str | None = None
    """The name of the app; that of the server if it is not said."""
    at: Literal["fly.io", "local"] = "fly.io"
    org: str | None = None
    region: str | None = None
    image: str | None = None
    setup: list[str] = []
    """Shell commands that run before the server; a leading `RUN` is taken off."""
    port: int | None = None
    """Where a server that speaks HTTP itself listens."""
    transport: Literal["stdio", "http", "sse"] = "stdio"
    wrapper: Literal["mcpctl", "fly"] = "mcpctl"
    bearer: bool = True
    """Whether a bearer token is made and asked for."""
    user: str | None = None
    password: str | None = None
    flycast: bool = False
    """Private: no public address."""
    auto_stop: Literal["off", "stop", "suspend"] = "suspend"
    policy: Literal["attached", "always", "never"] = "attached"
    secrets: dict[str, str] = {}
    env: dict[str, str] = {}
    file_local: dict[str, str] = {}
    """Guest paths and what the local files hold, in Base64."""
    file_literal: dict[str, str] = {}
    """Guest paths and the text of the files."""
    file_secret: dict[str, str] = {}
    """Guest paths and names of secrets, whose values are in Base64."""
    volume: str | None = None
    """`NAME:/PATH[:OPTION=VALUE,...]`"""
    vm_size: str | None = None
    vm_cpus: int | None = None
    vm_cpu_kind: str | None = None
    vm_memory: str | None = None
    """`512`, `512mb`, `1gb`"""
    host_dedication_id: str | None = None
    machine_config: dict[str, object] = {}
    """Fields of a Machine's `config` that are laid over what we make of the rest (RFC 7396)."""

    def __repr__(self) -> str:
        return f"Wish(server={self.server!r}, command={self.command!r}, ...)"
