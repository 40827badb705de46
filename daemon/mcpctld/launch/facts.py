"""What a fly.toml, or a Machine's `config`, says about the things that matter to an MCP server."""

import re
import tomllib
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from mcpctld.errors import UserError
from mcpctld.launch import sizes

Dialect = Literal["fly.toml", "machine"]

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """Times are in seconds. None: it is not said, so Fly's default counts."""

    dialect: Dialect
    has_service: bool
    ends_tls: bool = True
    """Whether what comes without TLS is sent away, or cannot come at all."""
    idle_timeout: float | None = None
    h2_backend: bool = False
    autostop: str = "off"
    """`off`, `stop` or `suspend`."""
    autostart: bool = True
    min_machines: int = 0
    has_check: bool = False
    grace: float | None = None
    concurrency: str | None = None
    soft_limit: int | None = None
    hard_limit: int | None = None
    kill_timeout: float | None = None
    memory_mb: int | None = None
    swap_mb: int = 0
    schedule: str | None = None
    has_volume: bool = False
    fronted: bool = False
    """Whether `mcpctl wrap` listens: it speaks HTTP/2 in clear, and brings requests to the machine of their session.

    A fly.toml does not say what listens; so a mention in it, in a comment even, is believed."""


def of_fly_toml(text: str) -> Facts:
    """The facts of a fly.toml. Raises `UserError` when it is not TOML."""
    try:
        whole = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise UserError(f"cannot read it as TOML: {exc}") from exc
    service = _table(whole.get("http_service")) or _first(whole.get("services"))
    ports = [_table(one) for one in _list(service.get("ports"))]
    options = _table(service.get("http_options")) or _options(ports)
    checks = (
        _list(service.get("checks"))
        + _list(service.get("http_checks"))
        + list(_table(whole.get("checks")).values())
    )
    vm = _first(whole.get("vm"))
    return Facts(
        dialect="fly.toml",
        has_service=bool(service),
        ends_tls=("http_service" not in whole and _ends_tls(ports))
        or service.get("force_https") is True,
        has_check=bool(checks),
        grace=_seconds(_first(checks).get("grace_period")),
        autostop=_autostop(service.get("auto_stop_machines")),
        autostart=service.get("auto_start_machines") is not False,
        kill_timeout=_seconds(whole.get("kill_timeout")),
        memory_mb=_memory(vm),
        swap_mb=_number(whole.get("swap_size_mb")) or 0,
        has_volume=bool(_first(whole.get("mounts"))),
        fronted="mcpctl wrap" in text or '"mcpctl", "wrap"' in text,
        **_common(service, options),
    )


def of_machine(config: Mapping[str, Any]) -> Facts:
    """The facts of a Machine's configuration, as the Machines API has it."""
    service = _first(config.get("services"))
    ports = [_table(one) for one in _list(service.get("ports"))]
    checks = _list(service.get("checks")) + list(_table(config.get("checks")).values())
    guest = _table(config.get("guest"))
    return Facts(
        dialect="machine",
        has_service=bool(service),
        ends_tls=_ends_tls(ports),
        has_check=bool(checks),
        grace=_seconds(_first(checks).get("grace_period")),
        autostop=_autostop(service.get("autostop")),
        autostart=service.get("autostart") is not False,
        kill_timeout=_seconds(_table(config.get("stop_config")).get("timeout")),
        memory_mb=_number(guest.get("memory_mb")),
        swap_mb=_number(_table(config.get("init")).get("swap_size_mb")) or 0,
        schedule=_text(config.get("schedule")),
        has_volume=bool(_first(config.get("mounts"))),
        fronted=_table(config.get("metadata")).get("mcpctl_wrapper") == "mcpctl",
        **_common(service, _options(ports)),
    )


def seconds(text: str) -> float | None:
    """A duration such as `30s`, `1m30s` or `500ms`, as Go writes it; None when it is none."""
    if not re.fullmatch(r"([0-9]+(\.[0-9]+)?(ms|s|m|h))+", text):
        return None
    parts = re.findall(r"([0-9.]+)(ms|s|m|h)", text)
    return sum(float(count) * _SECONDS[unit] for count, unit in parts)


def _common(service: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """What both dialects have under the same names."""
    concurrency = _table(service.get("concurrency"))
    return {
        "idle_timeout": _seconds(options.get("idle_timeout")),
        "h2_backend": options.get("h2_backend") is True,
        "min_machines": _number(service.get("min_machines_running")) or 0,
        "concurrency": _text(concurrency.get("type")) or ("connections" if concurrency else None),
        "soft_limit": _number(concurrency.get("soft_limit")),
        "hard_limit": _number(concurrency.get("hard_limit")),
    }


def _ends_tls(ports: list[dict[str, Any]]) -> bool:
    """Whether every port has TLS, or sends away what comes without; one without any TLS is private."""
    with_tls = [port for port in ports if "tls" in _list(port.get("handlers"))]
    clear = [port for port in ports if "tls" not in _list(port.get("handlers"))]
    return not with_tls or all(port.get("force_https") is True for port in clear)


def _options(ports: list[dict[str, Any]]) -> dict[str, Any]:
    """The HTTP options of the port that clients use: that with TLS."""
    found = sorted(ports, key=lambda port: "tls" not in _list(port.get("handlers")))
    return _table(_first(found).get("http_options"))


def _autostop(value: object) -> str:
    """Also as answers of the API have it, and old files: false and true for off and stop."""
    if isinstance(value, bool) or value is None:
        return "stop" if value else "off"
    return str(value)


def _memory(vm: Mapping[str, Any]) -> int | None:
    said = vm.get("memory") if vm.get("memory") is not None else vm.get("memory_mb")
    kind = _text(vm.get("cpu_kind")) or _text(vm.get("cpukind"))
    if said is None and not vm:
        return None
    try:
        text = None if said is None else str(said)
        return sizes.guest(_text(vm.get("size")), _number(vm.get("cpus")), kind, text).memory_mb
    except UserError:
        return None


def _seconds(value: object) -> float | None:
    if isinstance(value, str):
        return seconds(value)
    number = _number(value)
    return None if number is None else float(number)


def _table(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _first(value: object) -> dict[str, Any]:
    """The first of some tables, or the only one."""
    tables = value if isinstance(value, list) else [value]
    return next((one for one in tables if isinstance(one, dict)), {})


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
