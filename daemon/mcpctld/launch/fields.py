"""Which fields a Machine's configuration has: Fly drops those it does not know without a word."""

from collections.abc import Iterator, Mapping

MACHINE = frozenset((
    "auto_destroy", "cache_drive", "checks", "containers", "disable_machine_autostart", "dns", "env",
    "files", "guest", "image", "init", "metadata", "metrics", "mounts", "processes", "restart", "rootfs",
    "schedule", "services", "size", "spot", "standbys", "statics", "stop_config",
))  # fmt: skip
"""Of `fly.MachineConfig` in Fly's OpenAPI document."""

SERVICE = frozenset((
    "autostart", "autostop", "checks", "concurrency", "force_instance_description", "force_instance_key",
    "internal_port", "min_machines_running", "ports", "protocol",
))  # fmt: skip
"""Of `fly.MachineService`."""

_OF_FLY_TOML = {
    "auto_stop_machines": "autostop",
    "auto_start_machines": "autostart",
    "kill_timeout": "stop_config",
    "kill_signal": "stop_config",
    "vm": "guest",
    "http_service": "services",
    "deploy": "restart",
}
"""Names that fly.toml has for it."""


def unknown(config: Mapping[str, object]) -> list[str]:
    """A sentence for each field of `config`, or of its services, that Fly would drop."""
    return [
        f"a Machine's configuration has no field {path}{name}{_hint(name)}"
        for path, name in _strangers(config)
    ]


def _strangers(config: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    yield from (("", name) for name in config if name not in MACHINE)
    services = config.get("services")
    for index, service in enumerate(services if isinstance(services, list) else []):
        if isinstance(service, dict):
            yield from ((f"services[{index}].", name) for name in service if name not in SERVICE)


def _hint(name: str) -> str:
    return f": it is called {_OF_FLY_TOML[name]} there" if name in _OF_FLY_TOML else ""
