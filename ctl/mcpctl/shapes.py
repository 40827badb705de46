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


class Health(TypedDict):
    """`GET /v1/health`."""

    status: Literal["ok", "draining"]


class Event(TypedDict):
    """One event of `GET /v1/events` (server-sent events; `event:` is `type`, `data:` is this)."""

    type: str
    """`session.opened`, `session.closed`, `session.error`, `servers.changed`, `config.error`,
    `client.file_changed`, `client.server_added`, `client.server_changed`, `client.server_removed`, `client.broken`,
    `client.put_back`, `daemon.draining`."""
    at: float
    data: dict[str, Any]


class Nothing(TypedDict):
    """An empty answer."""
