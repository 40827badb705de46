"""`fly-replay`: an answer that is not for the client, but says who is to have the request (Fly.io, "Dynamic Request
Routing").

    fly-replay: instance=148e21c4;timeout=10s;fallback=force_self

Or as a body of type `application/vnd.fly.replay+json` with the same names, and a few more.
"""

import dataclasses
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from mcpctld.localfly.edge.regions import read_regions
from mcpctld.localfly.edge.routing import Wish
from mcpctld.protocols.http1 import FIELD_NAME, FIELD_VALUE, Headers

MOST_REPLAYS = 10
MOST_REPLAYED_BYTES = 1_000_000
"""Of a request's body; a longer one cannot be replayed."""
MOST_INSTRUCTIONS_BYTES = 64 * 1024
"""Of a body that says where to replay."""
JSON_TYPE = "application/vnd.fly.replay+json"
LEAST_TTL_S = 10

Fallback = Literal["", "force_self", "prefer_self"]
_FALLBACKS: dict[str, Fallback] = {"": "", "force_self": "force_self", "prefer_self": "prefer_self"}

_FIELD = re.compile(r'\s*([a-z_]+)\s*=\s*("[^"]*"|[^;]*)\s*(?:;|$)')
_REGIONS = re.compile(r"[A-Za-z, ]+")
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s|m|h)?")
_UNITS = {"ms": 0.001, None: 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}
_NAME = re.compile(FIELD_NAME)
_VALUE = re.compile(FIELD_VALUE)
_PATH = re.compile(r"/[!-~]*")


class BadReplay(ValueError):
    """It cannot be followed. The text says why."""


@dataclass(frozen=True, slots=True)
class Transform:
    """How the request changes before it is sent again. An empty `path` keeps its own."""

    path: str = ""
    delete_headers: frozenset[str] = frozenset()
    set_headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Remember:
    """Requests whose path begins with `prefix` go the same way, for so long; or no more, where `invalidate`."""

    prefix: str
    ttl_s: float
    allow_bypass: bool = False
    invalidate: bool = False


@dataclass(frozen=True, slots=True)
class Replay:
    """What an answer with `fly-replay` says. `app` is empty for the same one."""

    app: str = ""
    instance: str = ""
    prefer_instance: str = ""
    regions: frozenset[str] = frozenset()
    state: str = ""
    elsewhere: bool = False
    timeout_s: float = math.inf
    fallback: Fallback = ""
    transform: Transform = field(default_factory=Transform)
    remember: Remember | None = None

    def wish(self, source: str) -> Wish:
        """Which machines will do; `source` has answered so."""
        excluded = frozenset({source}) if self.elsewhere else frozenset()
        return Wish(self.instance, self.prefer_instance, self.regions, excluded=excluded)


def is_instructions(headers: Headers) -> bool:
    """Whether the body of the answer says where to replay."""
    kind = (headers.get("content-type") or "").partition(";")[0]
    return kind.strip().lower() == JSON_TYPE


def read_header(headers: Headers) -> Replay | None:
    """What the head of an answer says; None if it is for the client. Raises `BadReplay`."""
    text = headers.get("fly-replay")
    if text is None:
        return None
    return _make(_read_fields(text), _remembered(headers))


def read_body(body: bytes) -> Replay:
    """What a body of instructions says. Raises `BadReplay`."""
    try:
        told = json.loads(body)
    except ValueError as exc:
        raise BadReplay(f"the instructions are not JSON: {exc}") from exc
    if not isinstance(told, dict):
        raise BadReplay("the instructions are not an object")
    replay = _make(told, _cache(told))
    transform = told.get("transform")
    if not isinstance(transform, dict):
        return replay
    return _with_transform(replay, transform)


def _read_fields(text: str) -> dict[str, Any]:
    """The fields of the header; without a `=` it is a region, as it was in the beginning."""
    if _REGIONS.fullmatch(text):
        return {"region": text.strip()}
    fields: dict[str, Any] = {}
    at = 0
    while at < len(text):
        match = _FIELD.match(text, at)
        if match is None:
            raise BadReplay(f"fly-replay cannot be read from {text[at : at + 20]!r} on")
        fields[match[1]] = match[2].strip().strip('"')
        at = match.end()
    return fields


def _make(fields: Mapping[str, Any], remember: Remember | None) -> Replay:
    replay = Replay(
        app=_text(fields, "app"),
        instance=_text(fields, "instance"),
        prefer_instance=_text(fields, "prefer_instance"),
        regions=read_regions(_text(fields, "region")),
        state=_text(fields, "state"),
        elsewhere=fields.get("elsewhere") in (True, "true"),
        timeout_s=_duration(fields.get("timeout")),
        fallback=_fallback(_text(fields, "fallback")),
        remember=remember,
    )
    targets = ("app", "instance", "prefer_instance", "region", "elsewhere")
    if not any(fields.get(name) for name in targets) and not (remember and remember.invalidate):
        raise BadReplay("fly-replay names nobody to replay to")
    return replay


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if value is None:
        return ""
    if not isinstance(value, str) or not _VALUE.fullmatch(value):
        raise BadReplay(f"{name} of fly-replay is not a text that a header can carry")
    return value


def _fallback(text: str) -> Fallback:
    if text not in _FALLBACKS:
        raise BadReplay(f"fly-replay has no fallback called {text!r}")
    return _FALLBACKS[text]


def _duration(value: object) -> float:
    """Seconds; `inf` where none is given."""
    if value is None:
        return math.inf
    match = _DURATION.fullmatch(str(value).strip())
    if match is None:
        raise BadReplay(f"{value!r} is not a duration such as 10s")
    return float(match[1]) * _UNITS[match[2]]


def _with_transform(replay: Replay, told: Mapping[str, Any]) -> Replay:
    path = told.get("path") or ""
    if path and not (isinstance(path, str) and _PATH.fullmatch(path)):
        raise BadReplay("the path of a transform is not a path")
    change = Transform(path, _names(told.get("delete_headers")), _set(told))
    return dataclasses.replace(replay, transform=change)


def _names(value: object) -> frozenset[str]:
    names = value if isinstance(value, list) else []
    return frozenset(name.lower() for name in names if isinstance(name, str))


def _set(told: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """The headers to set: an object, or a list of objects with `name` and `value`."""
    value = told.get("set_headers") or {}
    if isinstance(value, list):
        pairs = [(each.get("name"), each.get("value")) for each in value if isinstance(each, dict)]
    else:
        pairs = list(value.items()) if isinstance(value, dict) else []
    return tuple(_field(name, text) for name, text in pairs)


def _field(name: object, text: object) -> tuple[str, str]:
    if not (isinstance(name, str) and isinstance(text, str)):
        raise BadReplay("a header of a transform is not a name and a text")
    if not (_NAME.fullmatch(name) and _VALUE.fullmatch(text)):
        raise BadReplay(f"the header {name!r} of a transform cannot be sent")
    return name, text


# ------------------------------------------------------------ what is to be remembered


def _remembered(headers: Headers) -> Remember | None:
    prefix = headers.get("fly-replay-cache")
    if prefix is None:
        return None
    bypass = (headers.get("fly-replay-cache-allow-bypass") or "").lower()
    ttl = headers.get("fly-replay-cache-ttl-secs") or ""
    return _remember(prefix, ttl, bypass in ("yes", "true"), invalidate=prefix == "invalidate")


def _cache(told: Mapping[str, Any]) -> Remember | None:
    cache = told.get("cache")
    if not isinstance(cache, dict):
        return None
    bypass = told.get("allow_bypass") is True or cache.get("allow_bypass") is True
    invalidate = cache.get("invalidate") is True
    return _remember(str(cache.get("prefix") or ""), cache.get("ttl"), bypass, invalidate)


def _remember(prefix: str, ttl: object, allow_bypass: bool, invalidate: bool) -> Remember:
    """A prefix may have a host before it, and a `*` behind."""
    path = "/" + prefix.partition("/")[2].removesuffix("*")
    try:
        ttl_s = max(LEAST_TTL_S, _duration(ttl))
    except BadReplay:
        ttl_s = LEAST_TTL_S
    return Remember(path, LEAST_TTL_S if ttl_s == math.inf else ttl_s, allow_bypass, invalidate)


# ------------------------------------------------------------ what the next machine is told


def source_header(machine: str, region: str, at_us: int, state: str) -> tuple[str, str]:
    """`fly-replay-src`: who had the request replayed, when (µs since 1970), and what he has to say."""
    said = f";state={state}" if state else ""
    return ("fly-replay-src", f"instance={machine};region={region};t={at_us}{said}")


Reason = Literal["timeout", "retries_exhausted", "no_candidate"]


def failed_header(
    replay: Replay, app: str, source: str, reason: Reason, elapsed_ms: int
) -> tuple[str, str]:
    """`fly-replay-failed`: what the machine hears that gets its request back."""
    fields = {
        "instance": replay.instance or replay.prefer_instance,
        "app": replay.app or app,
        "region": ",".join(sorted(replay.regions)),
        "replay_source": source,
        "reason": reason,
        "elapsed_ms": str(elapsed_ms),
    }
    return (
        "fly-replay-failed",
        ";".join(f"{name}={value}" for name, value in fields.items() if value),
    )
