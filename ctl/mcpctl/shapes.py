"""The contract between `mcpctl` and `mcpctld`, typed half: the JSON of the control API (`/v1`).

Times are Unix seconds, durations have their unit in the name. Readers ignore fields they do not know;
fields are only ever added.
"""

from typing import Any, Literal, NotRequired, TypedDict


class ErrorBody(TypedDict):
    """What went wrong; `kind` is a key of `wire.KINDS`."""

    kind: str
    message: str
    details: NotRequired[dict[str, Any]]


class ErrorAnswer(TypedDict):
    """The body of every answer that is not a success."""

    error: ErrorBody


class LastError(TypedDict):
    """The newest failure of a server or session."""

    at: float
    kind: str
    message: str


class Figures(TypedDict):
    """Calls (JSON-RPC requests of the client) and how long they took; percentiles over the newest 1024."""

    calls: int
    errors: int
    in_flight: int
    p50_ms: float | None
    p99_ms: float | None


Activation = Literal["self", "systemd", "launchd"]
"""Who made the daemon's sockets."""


class DaemonInfo(TypedDict):
    """The daemon itself."""

    version: str
    pid: int
    python: str
    started_at: float
    activation: Activation
    attach_socket: str
    control_socket: str
    config_dir: str
    state_dir: str
    log_file: str


class Machine(TypedDict):
    """The Fly machine of a server, as far as it is known without waking it."""

    app: str
    id: str | None
    at: Literal["fly.io", "local"]
    policy: Literal["attached", "always", "never"]
    state: str
    """In the Machines API's word (`started`, `suspended` ...), else `unknown`, `starting` or `falling asleep`."""
    region: str | None
    checks: dict[str, str]
    """Its health checks by name: `passing`, `warning` or `critical`, when they were last seen."""
    restarts: int
    """How often it was seen to have been started anew while it should be awake."""
    wake_p50_s: float | None
    """From the request to start it to the first answer, over the newest 32 wakes."""
    wake_p90_s: float | None
    next_wake_at: float | None
    """The next hour of `wake_at`."""
    trouble: str | None
    """Why the last request to the Machines API did not succeed."""


class ServerInfo(TypedDict):
    """One configured server."""

    name: str
    kind: Literal["http", "stdio"]
    url: str | None
    command: list[str] | None
    transport: str
    """As configured: `auto`, `streamable-http`, `http-sse`, `fly-wrap` or `stdio`."""
    detected: str | None
    """What `auto` turned out to be."""
    instance: str | None
    file: str
    secrets: list[str]
    """Names of the secrets it refers to, never their values."""
    missing_secrets: list[str]
    sessions: int
    sharing: int
    """How many of them share the one session that the server has (`fly mcp wrap`); 0 when none do."""
    figures: Figures
    last_error: LastError | None
    machine: NotRequired[Machine]
    """Only of servers with a table `[fly]`."""


class SessionInfo(TypedDict):
    """One attached client."""

    id: str
    server: str
    client: str | None
    """What the client called itself in `initialize`, else the name of its process."""
    client_version: str | None
    cwd: str | None
    pid: int | None
    """Of the waiting stub."""
    transport: str
    bridge: str | None
    """`legacy-to-modern` or `modern-to-legacy` where client and server are of different eras of MCP."""
    protocol_version: str | None
    started_at: float
    state: Literal["starting", "ready", "closing"]
    figures: Figures
    last_error: LastError | None


class ConfigError(TypedDict):
    """A file of ours that could not be used; the last good one stays in force."""

    file: str
    message: str


ClientFileState = Literal["read", "gone", "unreadable"]


class ClientServer(TypedDict):
    """An entry of a client's file."""

    name: str
    server: str | None
    """The server of ours that it attaches to."""


class ClientFile(TypedDict):
    """A config file of one or more MCP clients, as it was when it could last be read."""

    file: str
    clients: list[str]
    scope: Literal["user", "project", "system"]
    state: ClientFileState
    """`unreadable`: broken, or being written for more than a moment; what it said before stands."""
    problem: str | None
    changed_at: float | None
    """When a change was last seen."""
    put_back: int
    """How many entries that the client had wiped were put back since the daemon started."""
    servers: list[ClientServer]


class ClientFiles(TypedDict):
    """`GET /v1/clients`."""

    clients: list[ClientFile]


class Status(TypedDict):
    """`GET /v1/status`."""

    daemon: DaemonInfo
    servers: list[ServerInfo]
    sessions: list[SessionInfo]
    config_errors: list[ConfigError]
    clients: list[ClientFile]
    """The files that are there, or were since the daemon started."""


class TunnelPeer(TypedDict):
    """The other side of a tunnel."""

    endpoint: str
    carrier: Literal["udp", "websocket"] | None
    """None while they race."""
    handshakes: int
    last_handshake_at: float | None
    """Seconds since 1970."""
    rtt_ms: float | None
    """How long the answer to the last handshake took."""
    unanswered: int
    """Handshakes since then that nobody has answered."""
    bytes_sent: int
    bytes_received: int
    trouble: str | None
    """Why there is no carrier, if there is none."""


class TunnelProbe(TypedDict):
    """`POST /v1/tunnels/{name}/probe`: echoes that were asked of the resolver behind a tunnel."""

    target: str
    sent: int
    received: int
    rtt_ms: float | None
    """The median."""


class TunnelInfo(TypedDict):
    """A way into a private network."""

    name: str
    kind: str
    hosts: list[str]
    state: Literal["closed", "opening", "up"]
    """It is opened by who needs it. `opening` also when nobody answers any more."""
    address: str | None
    """Our own, inside."""
    opened_at: float | None
    connections: int
    peers: list[TunnelPeer]
    probe: TunnelProbe | None
    """The last one."""
    last_error: str | None


class TunnelList(TypedDict):
    """`GET /v1/tunnels`."""

    tunnels: list[TunnelInfo]


class ServerList(TypedDict):
    """`GET /v1/servers`."""

    servers: list[ServerInfo]


class SessionList(TypedDict):
    """`GET /v1/sessions`."""

    sessions: list[SessionInfo]


class Reloaded(TypedDict):
    """`POST /v1/reload`: names now in force and what could not be read."""

    servers: list[str]
    config_errors: list[ConfigError]


class SecretValue(TypedDict):
    """`PUT /v1/secrets/{server}/{key}`: the only place where a secret's value travels, and only inwards."""

    value: str


class Woken(TypedDict):
    """`POST /v1/servers/{name}/wake`: the machine is awake."""

    server: str
    seconds: float
    """How long that took."""
    machine: Machine


class ServerCost(TypedDict):
    """Machine-seconds of one server, by who kept its machine awake.

    That is the client that called or attached last, `schedule`, `always`, `mcpctl wake`, or `unknown`.
    """

    server: str
    today_s: dict[str, float]
    """Since midnight UTC."""
    month_s: dict[str, float]
    """Of the last 30 days."""
    total_s: dict[str, float]
    """Of all days that are kept (92)."""
    awake: bool
    """Whether it is being counted now."""


class Cost(TypedDict):
    """`GET /v1/cost`."""

    servers: list[ServerCost]


class Health(TypedDict):
    """`GET /v1/health`."""

    status: Literal["ok", "draining"]


class Event(TypedDict):
    """One event of `GET /v1/events` (server-sent events; `event:` is `type`, `data:` is this)."""

    type: str
    """`session.opened`, `session.closed`, `session.error`, `servers.changed`, `config.error`, `daemon.draining`;
    of machines `machine.` with `starting`, `started`, `answered`, `suspending`, `suspended`, `stopping`, `stopped`,
    `restarted`, `failed`; of the files of clients `client.` with `file_changed`, `server_added`, `server_changed`,
    `server_removed`, `broken`, `put_back`."""
    at: float
    data: dict[str, Any]


class Nothing(TypedDict):
    """An empty answer."""
