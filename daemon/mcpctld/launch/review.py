"""What in a fly.toml, or in a Machine's configuration, will hurt an MCP server, and what to write in its place."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import msgspec

from mcpctld.launch import facts, fields
from mcpctld.launch.facts import Facts
from mcpctld.launch.sizes import SUSPEND_LIMIT_MB

IDLE_TIMEOUT_S = 3600
SHORT_IDLE_S = 600
DEFAULT_IDLE_S = 60
"""Of Fly's proxy."""
DRAIN_S = 10
"""Which `mcpctl wrap` gives to calls under way."""
DEFAULT_KILL_S, MAX_KILL_S = 5, 300
LEAST_GRACE_S = 10
LITTLE_MEMORY_MB = 512

_IN_FLY_TOML = {
    "autostop": "auto_stop_machines",
    "autostart": "auto_start_machines",
    "stop_config.timeout": "kill_timeout",
    "guest.memory_mb": "memory",
    "idle_timeout": "http_options.idle_timeout",
    "h2_backend": "http_options.h2_backend",
}


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to know. A `problem` breaks something; `advice` costs money or time, or may."""

    level: Literal["problem", "advice"]
    setting: str
    """The name of the setting, where it stands."""
    message: str


def review_fly_toml(text: str) -> list[Finding]:
    """Findings about a fly.toml, problems first. Raises `UserError` when it is not TOML."""
    return _sorted(_findings(facts.of_fly_toml(text), machines=None))


def review_machine(config: Mapping[str, Any], *, machines: int = 1) -> list[Finding]:
    """Findings about a Machine's configuration, problems first; its app has so many machines."""
    strangers = [_problem("config", text) for text in fields.unknown(config)]
    return _sorted([*strangers, *_findings(facts.of_machine(config), machines=machines)])


def _sorted(findings: "Iterator[Finding] | list[Finding]") -> list[Finding]:
    return sorted(findings, key=lambda finding: finding.level != "problem")


def _findings(found: Facts, *, machines: int | None) -> Iterator[Finding]:
    if not found.has_service:
        yield _problem(
            "services", "there is no service, so nothing reaches the server and nothing wakes it"
        )
        return
    for finding in (
        *_about_streams(found),
        *_about_sleep(found),
        *_about_machines(found, machines),
        *_about_health(found),
        *_about_load(found),
    ):
        name = _IN_FLY_TOML.get(finding.setting) if found.dialect == "fly.toml" else None
        yield msgspec.structs.replace(finding, setting=name) if name else finding


def _about_streams(found: Facts) -> Iterator[Finding]:
    idle = DEFAULT_IDLE_S if found.idle_timeout is None else found.idle_timeout
    if idle < SHORT_IDLE_S:
        yield _problem(
            "idle_timeout",
            f"streams that are silent for {idle:g} s are cut; set it to {IDLE_TIMEOUT_S}",
        )
    elif idle < IDLE_TIMEOUT_S:
        yield _advice(
            "idle_timeout",
            f"streams are cut after {idle:g} s of silence; {IDLE_TIMEOUT_S} suits long calls",
        )
    if found.h2_backend and not found.fronted:
        yield _advice(
            "h2_backend",
            "the server must speak HTTP/2 without TLS (h2c), or every request fails; else drop it",
        )
    if not found.ends_tls:
        yield _problem(
            "force_https",
            "tokens may travel in clear over port 80; set it to true, unless only flycast reaches it",
        )


def _about_sleep(found: Facts) -> Iterator[Finding]:
    sleeps = found.autostop in ("stop", "suspend")
    if found.autostop not in ("off", "stop", "suspend"):
        yield _problem("autostop", f"{found.autostop!r} is none of off, stop and suspend")
        return
    if sleeps and not found.autostart:
        yield _problem(
            "autostart",
            f"false with autostop {found.autostop}: once asleep it never comes back; set it to true",
        )
    if not sleeps and not found.min_machines:
        yield _advice(
            "autostop",
            "the machine runs, and costs, all the time; suspend lets it sleep when nobody calls",
        )
    if not sleeps and found.min_machines:
        yield _advice(
            "min_machines_running",
            "it does nothing while machines are not stopped (autostop is off)",
        )
    if found.autostop == "suspend":
        yield from _about_suspending(found)


def _about_suspending(found: Facts) -> Iterator[Finding]:
    instead = "so Fly stops it instead, and it starts in seconds"
    if found.memory_mb is not None and found.memory_mb > SUSPEND_LIMIT_MB:
        yield _problem(
            "guest.memory_mb",
            f"{found.memory_mb} MB are too many to suspend ({SUSPEND_LIMIT_MB} at most), {instead}",
        )
    if found.swap_mb:
        yield _problem("swap_size_mb", f"a machine with swap cannot be suspended, {instead}")
    if found.schedule:
        yield _problem("schedule", f"a machine with a schedule cannot be suspended, {instead}")


def _about_machines(found: Facts, machines: int | None) -> Iterator[Finding]:
    many = "sessions live in the memory of one machine, and requests of one client go to any"
    if found.min_machines > 1 and not found.fronted:
        yield _problem("min_machines_running", f"{found.min_machines}: {many}; set it to 1 or 0")
    elif found.min_machines and found.autostop != "off":
        yield _advice(
            "min_machines_running",
            f"{found.min_machines}: so many run, and cost, all the time; 0 lets all sleep",
        )
    if machines is not None and machines > 1 and not found.fronted:
        yield _problem(
            "machines", f"the app has {machines}: {many}; keep one, or run 'mcpctl wrap' in them"
        )
    if machines is None and not found.has_volume and not found.fronted:
        yield _advice("machines", f"'fly deploy' makes two of them: {many}; deploy with --ha=false")


def _about_health(found: Facts) -> Iterator[Finding]:
    if not found.has_check:
        yield _advice(
            "checks",
            "nothing tells whether the server answers; add a check, GET /health where there is one",
        )
    elif found.grace is None or found.grace < LEAST_GRACE_S:
        said = "no" if found.grace is None else f"{found.grace:g} s of"
        yield _advice(
            "checks.grace_period",
            f"{said} grace: npx and uvx may need a minute for the first start; set it to 60s",
        )
    kill = DEFAULT_KILL_S if found.kill_timeout is None else found.kill_timeout
    if kill > MAX_KILL_S:
        yield _problem("stop_config.timeout", f"{kill:g} s are more than Fly's {MAX_KILL_S} s")
    elif kill <= DRAIN_S:
        yield _advice(
            "stop_config.timeout",
            f"calls under way get {kill:g} s when it stops, and are cut; set it to 30s",
        )
    if found.memory_mb is not None and found.memory_mb < LITTLE_MEMORY_MB:
        yield _advice(
            "guest.memory_mb",
            f"{found.memory_mb} MB are little for Node and Python; {LITTLE_MEMORY_MB} is safer",
        )


def _about_load(found: Facts) -> Iterator[Finding]:
    soft, hard = found.soft_limit, found.hard_limit
    if soft is not None and hard is not None and soft > hard:
        yield _problem("concurrency", f"the soft limit of {soft} is above the hard limit of {hard}")
    if found.concurrency is None:
        yield _advice(
            "concurrency",
            "the soft limit is 20; an MCP client holds a connection or two: set type connections and limits",
        )
    elif found.concurrency != "connections":
        yield _advice(
            "concurrency",
            f"it counts {found.concurrency}; open streams are connections, and count for sleep too",
        )
    elif hard is None:
        yield _advice("concurrency", "there is no hard limit: a crowd takes the machine's memory")


def _problem(setting: str, message: str) -> Finding:
    return Finding(level="problem", setting=setting, message=message)


def _advice(setting: str, message: str) -> Finding:
    return Finding(level="advice", setting=setting, message=message)
