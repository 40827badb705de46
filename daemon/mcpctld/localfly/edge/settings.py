"""The settings of a service, out of a machine's configuration as the Machines API has it.

Read leniently: what is missing or makes no sense is what Fly takes by default.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Autostop = Literal["off", "stop", "suspend"]
Fields = tuple[tuple[str, str], ...]

IDLE_TIMEOUT_S = 60.0
"""Without a byte in either direction for so long, a connection is cut."""
SOFT_LIMIT = 20
HTTPS, HTTP = 443, 80


@dataclass(frozen=True, slots=True)
class Sticky:
    """A rule by which replays are remembered: for requests with the same cookie or header (`replay_cache`)."""

    path_prefix: str
    ttl_s: float
    kind: Literal["cookie", "header"]
    name: str
    allow_bypass: bool


@dataclass(frozen=True, slots=True)
class Service:
    """A service of a machine, reached through its port `port`. `hard_limit` is None where there is none."""

    internal_port: int
    port: int
    autostart: bool = True
    autostop: Autostop = "off"
    min_running: int = 0
    soft_limit: int = SOFT_LIMIT
    hard_limit: int | None = None
    idle_timeout_s: float = IDLE_TIMEOUT_S
    pristine: bool = False
    set_headers: Fields = ()
    drop_headers: frozenset[str] = frozenset()
    sticky: tuple[Sticky, ...] = ()


def find_service(config: Mapping[str, Any], *, private: bool) -> Service | None:
    """The service that HTTP requests reach: by port 443, or 80 on the private network; else by its first port.

    None for a machine that has none: no listener at all.
    """
    wanted = (HTTP, HTTPS) if private else (HTTPS, HTTP)
    found = [
        (_rank(port, wanted), service, port)
        for service in _list(config.get("services"))
        if service.get("protocol", "tcp") == "tcp" and _number(service.get("internal_port"))
        for port in _list(service.get("ports"))
    ]
    if not found:
        return None
    _, service, port = min(found, key=lambda each: each[0])
    may_start = config.get("disable_machine_autostart") is not True
    return _read(service, port, wanted[0], may_start=may_start)


def _rank(port: Mapping[str, Any], wanted: tuple[int, ...]) -> int:
    numbers = [index for index, number in enumerate(wanted) if _covers(port, number)]
    return min(numbers, default=len(wanted))


def _covers(port: Mapping[str, Any], number: int) -> bool:
    start, end = _number(port.get("start_port")), _number(port.get("end_port"))
    return port.get("port") == number or (bool(start and end) and start <= number <= end)


def _read(
    service: Mapping[str, Any], port: Mapping[str, Any], default: int, *, may_start: bool
) -> Service:
    concurrency = _table(service.get("concurrency"))
    options = _table(port.get("http_options"))
    response = _table(options.get("response"))
    headers = _table(response.get("headers"))
    return Service(
        internal_port=_number(service.get("internal_port")),
        port=_number(port.get("port")) or default,
        autostart=may_start and service.get("autostart") is not False,
        autostop=read_autostop(service.get("autostop")),
        min_running=_number(service.get("min_machines_running")),
        soft_limit=_number(concurrency.get("soft_limit")) or SOFT_LIMIT,
        hard_limit=_number(concurrency.get("hard_limit")) or None,
        idle_timeout_s=_number(options.get("idle_timeout")) or IDLE_TIMEOUT_S,
        pristine=response.get("pristine") is True,
        set_headers=tuple(_fields(headers)),
        drop_headers=frozenset(name.lower() for name in headers if headers[name] is False),
        sticky=tuple(map(_read_sticky, _list(options.get("replay_cache")))),
    )


def read_autostop(value: object) -> Autostop:
    """A value of `autostop`: its words, or the booleans of older configurations."""
    if value in (True, "stop"):
        return "stop"
    return "suspend" if value == "suspend" else "off"


def _fields(headers: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Headers to set: the value is a text, or several."""
    found = []
    for name, value in headers.items():
        values = value if isinstance(value, list) else [value]
        found += [(name, each) for each in values if isinstance(each, str)]
    return found


def _read_sticky(rule: Mapping[str, Any]) -> Sticky:
    return Sticky(
        path_prefix=str(rule.get("path_prefix") or "/"),
        ttl_s=_number(rule.get("ttl_seconds")),
        kind="cookie" if rule.get("type") == "cookie" else "header",
        name=str(rule.get("name") or ""),
        allow_bypass=rule.get("allow_bypass") is True,
    )


def _list(value: object) -> list[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _number(value: object) -> int:
    """A positive number; 0 for all else."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
