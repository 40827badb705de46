"""The nouns: what a server is, and the settings of the daemon.

A server is a file `servers/NAME.toml` in our configuration folder; `ServerSpec` is exactly its contents.
"""

from typing import Literal

import msgspec

Transport = Literal["auto", "streamable-http", "http-sse", "fly-wrap", "stdio"]

EraChoice = Literal["auto", "mirror", "legacy", "modern"]

MiB = 1024 * 1024

DEFAULT_CALL_TIMEOUT_S = 3600.0
"""Tools may work for long, and clients give up by themselves; this only keeps a lost call from hanging for ever."""


class FlySpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The table `[fly]` of a server: the machine behind its URL, and when that is to be awake."""

    app: str
    """The name of its app."""
    machine: str | None = None
    """The id of its machine; without one, any machine of the app."""
    at: Literal["fly.io", "local"] = "fly.io"
    """Which Fly the app lives on: `local` is the one of `mcpctl localfly`."""
    policy: Literal["attached", "always", "never"] = "attached"
    """`attached` wakes the machine ahead of need, and lets it sleep when nobody calls; `always` keeps it awake;
    `never` leaves both to Fly's proxy."""
    sleep: Literal["suspend", "stop"] = "suspend"
    """How it is put to sleep. What Fly cannot suspend is stopped."""
    idle_timeout_s: float = 300.0
    """How long after the last call an `attached` machine is put to sleep."""
    wake_at: list[str] = []
    """Times of this computer's clock by which the machine is to be awake, as in `Mon-Fri 08:50` or `09:00`."""


class ServerSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How to reach one MCP server: a `url`, or a `command` to run here.

    Values of `headers` and `env` may hold `${secret:KEY}`, filled in from the secret store when a session opens.
    """

    url: str | None = None
    transport: Transport = "auto"
    headers: dict[str, str] = {}
    era: EraChoice = "auto"
    """Which era of MCP the server speaks: `legacy` or `modern`, `auto` to find out. A client of the other era is
    bridged; with `mirror` it gets the server's refusal instead."""
    instance: str | None = None
    """A Fly machine id: sent as `Fly-Force-Instance-Id` on every request."""
    command: list[str] | None = None
    """The absolute path of the program, then its arguments."""
    env: dict[str, str] = {}
    """The whole environment of the command, as recorded when the server was added."""
    cwd: str | None = None
    connect_timeout_s: float = 30.0
    """How long a request waits for a server that cannot be reached."""
    call_timeout_s: float = DEFAULT_CALL_TIMEOUT_S
    """How long one request may take once it was sent."""
    cache: bool = True
    """Whether lists are kept on disk, and given to clients while the server is not up."""
    fly: FlySpec | None = None
    """The Fly machine behind `url`, if `mcpctl` is to wake it."""


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """A server with its name; ad-hoc ones are named after their URL and have no file."""

    name: str
    spec: ServerSpec
    file: str | None = None

    @property
    def kind(self) -> Literal["http", "stdio"]:
        """Whether it is spoken to over HTTP or is a process of ours."""
        return "stdio" if self.spec.command else "http"


class TunnelSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table `[tunnels.NAME]` of `config.toml`: a way into a private network, for the hosts that it names."""

    kind: Literal["wireguard", "fly", "flyctl-agent"]
    """Where its settings come from: a file, or Fly's API; or it is that of flyctl's agent."""
    conf: str = ""
    """For `wireguard`: the path of a `wg-quick` file, such as `fly wireguard create` writes."""
    org: str | None = None
    """For `fly` and `flyctl-agent`: the organisation into whose network it leads."""
    network: str = ""
    """For these: which of its networks; empty for the one that apps are in by default."""
    region: str = ""
    """For `fly`: where the gateway is to be; empty for the nearest one."""
    hosts: tuple[str, ...] = ("*.internal", "*.flycast", "fdaa::/16")
    """Which hosts of URLs are reached through it: names, `*.SUFFIX`, addresses, networks."""
    carrier: Literal["auto", "udp", "websocket"] = "auto"
    """How its datagrams travel; `auto` takes UDP, and WebSocket where no answer comes by it."""
    websocket: str | None = None
    """The URL of the gateway's WebSocket; without it `wss://HOST:443/` with the host of the file's `Endpoint`."""
    close_after_s: float = 900.0
    """How long after its last connection it is closed; it opens again by itself."""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`config.toml` in our configuration folder: limits of the daemon."""

    max_message_bytes: int = 64 * MiB
    """The longest JSON-RPC message carried; larger ones are refused by name."""
    max_sessions: int = 1000
    max_connections_per_origin: int = 512
    drain_timeout_s: float = 10.0
    """How long SIGTERM waits for calls in flight."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    tunnels: dict[str, TunnelSpec] = {}
    """Ways into private networks, by name."""
