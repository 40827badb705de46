"""Looks whether a machine that runs answers, as its configuration asks (`checks`, `services[].checks`)."""

import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import trio

from mcpctld.localfly.machines import Machine, rfc3339
from mcpctld.localfly.shapes import parse_duration

SHORTEST_S, LONGEST_S = 1.0, 60.0
INTERVAL_S, TIMEOUT_S = 15.0, 5.0
HTTP_GOOD = range(200, 300)
FIRST_LINE = 1024
SOON_S = 0.5
"""How often it is looked at until it answers for the first time."""


class Result(NamedTuple):
    """What a check found. `status`: `passing`, `warning` (it may take longer yet) or `critical`."""

    status: str
    output: str
    updated_at: float
    routed: bool
    """Whether it takes the machine out of routing when it fails."""


Results = dict[str, Result]


def healthy(results: Results) -> bool:
    """Whether requests may be sent."""
    return not any(each.routed and each.status == "critical" for each in results.values())


def as_json(results: Results) -> list[dict[str, Any]]:
    """`CheckStatus` of the OpenAPI document."""
    return [
        {
            "name": name,
            "status": each.status,
            "output": each.output,
            "updated_at": rfc3339(each.updated_at),
        }
        for name, each in results.items()
    ]


async def watch(machine: Machine, ports: Mapping[int, int], results: Results) -> None:
    """Look at everything that is to be looked at, for ever."""
    async with trio.open_nursery() as nursery:
        for name, check, port, routed in _wanted(machine.config):
            results[name] = Result("warning", "waiting for the first check", time.time(), routed)
            real = ports.get(port, port)
            nursery.start_soon(_watch_one, name, check, real, results, routed)


def _wanted(config: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any], int, bool]]:
    for name, check in (config.get("checks") or {}).items():
        yield name, check, check.get("port") or 0, False
    for service in config.get("services") or []:
        port = service.get("internal_port") or 0
        for number, check in enumerate(service.get("checks") or []):
            name = f"servicecheck-{number:02d}-{check.get('type') or 'tcp'}-{port}"
            yield name, check, check.get("port") or port, True


async def _watch_one(
    name: str, check: Mapping[str, Any], port: int, results: Results, routed: bool
) -> None:
    interval_s = _bounded(check.get("interval"), INTERVAL_S)
    timeout_s = _bounded(check.get("timeout"), TIMEOUT_S)
    grace_until = trio.current_time() + parse_duration(check.get("grace_period"), 0.0)
    passed = False
    while True:
        bad = await _look(check, port, timeout_s)
        passed = passed or not bad
        waits = bool(bad) and not passed and trio.current_time() < grace_until
        status = "passing" if not bad else "warning" if waits else "critical"
        results[name] = Result(status, bad or "it answers", time.time(), routed)
        await trio.sleep(interval_s if passed else min(interval_s, SOON_S))


def _bounded(text: object, default_s: float) -> float:
    return min(max(parse_duration(text, default_s), SHORTEST_S), LONGEST_S)


async def _look(check: Mapping[str, Any], port: int, timeout_s: float) -> str:
    """What is wrong; empty when nothing is."""
    await trio.lowlevel.checkpoint()
    with trio.move_on_after(timeout_s):
        try:
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                return await _ask(check, stream) if check.get("type") == "http" else ""
        except OSError as exc:
            return f"cannot connect to port {port}: {exc.strerror or exc}"
        except trio.BrokenResourceError:
            return "the connection was cut"
    return f"no answer within {timeout_s:g} s"


async def _ask(check: Mapping[str, Any], stream: trio.SocketStream) -> str:
    given = [
        f"{header.get('name')}: {', '.join(header.get('values') or [])}\r\n"
        for header in check.get("headers") or []
    ]
    host = "" if any(each.lower().startswith("host:") for each in given) else "Host: localhost\r\n"
    method, path = check.get("method") or "GET", check.get("path") or "/"
    head = f"{method} {path} HTTP/1.1\r\n{host}{''.join(given)}Connection: close\r\n\r\n"
    await stream.send_all(head.encode())
    read = b""
    while b"\r\n" not in read and len(read) < FIRST_LINE:
        data = await stream.receive_some(FIRST_LINE)
        if not data:
            break
        read += data
    words = read.split(b"\r\n")[0].split(b" ", 2)
    code = int(words[1]) if len(words) > 1 and words[1].isdigit() else 0
    return "" if code in HTTP_GOOD else f"it answered {code or 'no HTTP'}"
