"""The configuration of a machine as the Machines API takes it: what is known of it, and of which type.

Fields and types are those of `fly.MachineConfig` in the OpenAPI document. As on Fly, a field that nobody knows is
dropped without a word, and a known one of the wrong type is refused with 400.
"""

from typing import Any, Literal

import msgspec

from mcpctld.localfly.errors import ApiError

SIGNALS = (
    "SIGABRT", "SIGALRM", "SIGFPE", "SIGHUP", "SIGILL", "SIGINT", "SIGKILL", "SIGPIPE", "SIGQUIT",
    "SIGSEGV", "SIGTERM", "SIGTRAP", "SIGUSR1", "SIGUSR2",
)  # fmt: skip
"""`SignalRequest` of the OpenAPI document."""
PORTS = 65536


class _Part(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Unset fields stay unset: what was not given is not shown."""


class Guest(_Part, frozen=True):
    """The size of the virtual machine."""

    cpu_kind: str | None = None
    cpus: int | None = None
    memory_mb: int | None = None
    max_memory_mb: int | None = None
    gpu_kind: str | None = None
    gpus: int | None = None
    host_dedication_id: str | None = None
    kernel_args: list[str] | None = None
    persist_rootfs: str | None = None
    required_host_features: list[str] | None = None


class Init(_Part, frozen=True):
    """What runs in it."""

    cmd: list[str] | None = None
    entrypoint: list[str] | None = None
    exec: list[str] | None = None
    kernel_args: list[str] | None = None
    swap_size_mb: int | None = None
    tty: bool | None = None


class File(_Part, frozen=True):
    """A file written at each boot; `raw_value` in Base64."""

    guest_path: str
    raw_value: str | None = None
    secret_name: str | None = None
    image_config: str | None = None
    mode: int | None = None


class Mount(_Part, frozen=True):
    """A volume."""

    volume: str | None = None
    path: str | None = None
    name: str | None = None
    encrypted: bool | None = None
    size_gb: int | None = None
    size_gb_limit: int | None = None
    add_size_gb: int | None = None
    add_size_percent: int | None = None
    min_add_size_gb: int | None = None
    extend_threshold_percent: int | None = None


class Header(_Part, frozen=True):
    """Of a check's request."""

    name: str | None = None
    values: list[str] | None = None


class Check(_Part, frozen=True):
    """How it is found out whether it answers."""

    type: str | None = None
    kind: str | None = None
    port: int | None = None
    interval: str | None = None
    timeout: str | None = None
    grace_period: str | None = None
    method: str | None = None
    path: str | None = None
    protocol: str | None = None
    headers: list[Header] | None = None
    tls_server_name: str | None = None
    tls_skip_verify: bool | None = None


class ReplayCache(_Part, frozen=True):
    """For which requests a replay is remembered."""

    path_prefix: str | None = None
    ttl_seconds: int | None = None
    type: str | None = None
    name: str | None = None
    allow_bypass: bool | None = None


class HttpResponseOptions(_Part, frozen=True):
    """What the proxy does to answers."""

    headers: dict[str, Any] | None = None
    pristine: bool | None = None


class HttpOptions(_Part, frozen=True):
    """How the proxy speaks HTTP; times in seconds."""

    compress: bool | None = None
    h2_backend: bool | None = None
    headers_read_timeout: int | None = None
    idle_timeout: int | None = None
    response: HttpResponseOptions | None = None
    replay_cache: list[ReplayCache] | None = None


class TlsOptions(_Part, frozen=True):
    """How the proxy speaks TLS."""

    alpn: list[str] | None = None
    versions: list[str] | None = None
    default_self_signed: bool | None = None


class ProxyProtoOptions(_Part, frozen=True):
    """How the proxy tells of the client."""

    version: str | None = None


class Port(_Part, frozen=True):
    """A port of the proxy."""

    port: int | None = None
    start_port: int | None = None
    end_port: int | None = None
    handlers: list[str] | None = None
    force_https: bool | None = None
    http_options: HttpOptions | None = None
    tls_options: TlsOptions | None = None
    proxy_proto_options: ProxyProtoOptions | None = None


class Concurrency(_Part, frozen=True):
    """How much a machine bears."""

    type: str | None = None
    soft_limit: int | None = None
    hard_limit: int | None = None


class Service(_Part, frozen=True):
    """What the proxy makes reachable."""

    protocol: str | None = None
    internal_port: int | None = None
    ports: list[Port] | None = None
    autostart: bool | None = None
    autostop: bool | Literal["off", "stop", "suspend"] | None = None
    min_machines_running: int | None = None
    concurrency: Concurrency | None = None
    checks: list[Check] | None = None
    force_instance_key: str | None = None
    force_instance_description: str | None = None


class Restart(_Part, frozen=True):
    """What follows when the process ends."""

    policy: Literal["no", "always", "on-failure"] | None = None
    max_retries: int | None = None


class StopConfig(_Part, frozen=True):
    """How it is ended."""

    signal: str | None = None
    timeout: str | int | None = None


class Rootfs(_Part, frozen=True):
    """What becomes of its files."""

    persist: Literal["never", "always", "restart"] | None = None
    size_gb: int | None = None


class MachineConfig(_Part, frozen=True):
    """`image` is the one field that a machine cannot do without."""

    image: str | None = None
    init: Init | None = None
    env: dict[str, str] | None = None
    files: list[File] | None = None
    guest: Guest | None = None
    size: str | None = None
    mounts: list[Mount] | None = None
    services: list[Service] | None = None
    checks: dict[str, Check] | None = None
    restart: Restart | None = None
    auto_destroy: bool | None = None
    metadata: dict[str, str] | None = None
    metrics: dict[str, Any] | None = None
    stop_config: StopConfig | None = None
    schedule: str | None = None
    rootfs: Rootfs | None = None
    dns: dict[str, Any] | None = None
    standbys: list[str] | None = None
    disable_machine_autostart: bool | None = None
    containers: list[dict[str, Any]] | None = None
    processes: list[dict[str, Any]] | None = None
    statics: list[dict[str, Any]] | None = None
    cache_drive: dict[str, Any] | None = None
    spot: dict[str, Any] | None = None


def read_config(value: object) -> dict[str, Any]:
    """What is known of a configuration, as Fly keeps it. Raises `ApiError` 400."""
    try:
        config = msgspec.convert(without_null(value), MachineConfig)
    except msgspec.ValidationError as exc:
        raise ApiError(400, f"invalid_argument: config: {exc}") from exc
    if not config.image:
        raise ApiError(400, "invalid_argument: config.image is required")
    _check(config)
    kept: dict[str, Any] = msgspec.to_builtins(config)
    for service in kept.get("services", []):
        if "autostop" in service:
            service["autostop"] = _AUTOSTOP[service["autostop"]]
    return kept


def _check(config: MachineConfig) -> None:
    """Refuse what has the right type and still makes no sense."""
    services = config.services or []
    checks = [*(config.checks or {}).values()]
    checks += [check for service in services for check in service.checks or []]
    for check in checks:
        for duration in (check.interval, check.timeout, check.grace_period):
            parse_duration(duration, 0.0)
    for port in (*(each.internal_port for each in services), *(each.port for each in checks)):
        if port is not None and not 0 < port < PORTS:
            raise ApiError(400, f"invalid_argument: config: {port} is no port")
    stop = config.stop_config or StopConfig()
    parse_duration(stop.timeout, 0.0)
    if stop.signal not in (None, "", *SIGNALS):
        raise ApiError(400, f"invalid_argument: config: {stop.signal!r} is no signal")


_AUTOSTOP: dict[bool | str, bool | str] = {
    False: False, True: True, "off": False, "stop": True, "suspend": "suspend"
}  # fmt: skip
"""What the API says of it: `false` for off and `true` for stop, whatever it was given."""


def without_null(value: object) -> object:
    """The same without the members that are null: Go clients send an empty list so."""
    if isinstance(value, dict):
        return {key: without_null(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_null(item) for item in value]
    return value


def parse_duration(text: object, default_s: float) -> float:
    """Seconds of a duration as Go writes it (`1m30s`, `500ms`), or of a number of seconds. Raises `ApiError` 400."""
    if text is None or text == "":
        return default_s
    rest, seconds = str(text), 0.0
    if rest.isascii() and rest.replace(".", "", 1).isdigit():
        return float(rest)
    while rest:
        digits = len(rest) - len(rest.lstrip("0123456789."))
        unit = next((unit for unit in _UNITS if rest.startswith(unit, digits)), "")
        try:
            seconds += float(rest[:digits]) * _UNITS[unit]
        except (KeyError, ValueError):
            raise ApiError(400, f"invalid_argument: {text!r} is no duration such as 10s") from None
        rest = rest[digits + len(unit) :]
    return seconds


_UNITS = {"ms": 0.001, "us": 1e-6, "ns": 1e-9, "h": 3600.0, "m": 60.0, "s": 1.0}
"""`ms` before `m`: the first that fits is taken."""
