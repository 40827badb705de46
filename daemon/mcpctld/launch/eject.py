"""A fly.toml and a Dockerfile for what `mcpctl launch` would make, for people who run `fly deploy`."""

import json
from typing import Any

import tomli_w

from mcpctld.launch import command
from mcpctld.launch.machine_config import (
    CHECK,
    GRACE,
    HARD_CONNECTIONS,
    IDLE_TIMEOUT_S,
    SOFT_CONNECTIONS,
    STOP_TIMEOUT,
)
from mcpctld.launch.resolve import Resolved

FLY_TOML, DOCKERFILE = "fly.toml", "Dockerfile"

_HEAD = """\
# {server}: an MCP server on Fly.io, at https://{app}.fly.dev{path}
#
#   fly apps create {app}
{secrets}#   fly deploy --ha=false
#
# {front} `mcpctl doctor fly.toml` looks the settings over.

"""

_ONE_MACHINE = "One machine: sessions live in its memory."
_FRONTS = {
    "mcpctl": "`mcpctl wrap` speaks HTTP for it, and takes its sessions along when there are more machines."
}


def eject(resolved: Resolved) -> dict[str, str]:
    """The texts of the files by their names. Secrets are named in them, and their values are not."""
    return {FLY_TOML: fly_toml(resolved), DOCKERFILE: dockerfile(resolved)}


def fly_toml(resolved: Resolved) -> str:
    """The text of fly.toml."""
    secrets = "".join(f"#   fly secrets set {name}=...\n" for name in resolved.secret_names)
    head = _HEAD.format(
        server=resolved.server,
        app=resolved.app,
        path=resolved.path,
        secrets=secrets,
        front=_FRONTS.get(resolved.wrapper, _ONE_MACHINE),
    )
    return head + tomli_w.dumps(_whole(resolved))


def dockerfile(resolved: Resolved) -> str:
    """The text of the Dockerfile: the image, our front where it belongs, the setup, the words."""
    lines = [
        f"FROM {resolved.image}",
        *_front(resolved),
        *(f"RUN {step}" for step in resolved.setup),
    ]
    if resolved.entrypoint:
        lines.append(f"ENTRYPOINT {json.dumps(resolved.entrypoint)}")
    if resolved.cmd:
        lines.append(f"CMD {json.dumps(resolved.cmd)}")
    lines.append(f"EXPOSE {resolved.internal_port}")
    return "\n".join(lines) + "\n"


def _front(resolved: Resolved) -> list[str]:
    """How what the entrypoint runs gets into an image that has neither uv nor flyctl."""
    if resolved.wrapper == "none" or command.is_fly_image(resolved.image):
        return []
    if resolved.wrapper == "fly":
        return ["COPY --from=flyio/flyctl /flyctl /usr/bin/flyctl"]
    return ["COPY --from=astral/uv /uv /uvx /usr/local/bin/"]


def _whole(resolved: Resolved) -> dict[str, Any]:
    whole: dict[str, Any] = {
        "app": resolved.app,
        "primary_region": resolved.region,
        "kill_signal": "SIGTERM",
        "kill_timeout": STOP_TIMEOUT,
        "build": {"dockerfile": DOCKERFILE},
        "env": resolved.env,
        "http_service": _service(resolved),
        "vm": [_vm(resolved)],
        "mounts": _mounts(resolved),
        "files": [_file(entry) for entry in resolved.files],
    }
    return {key: value for key, value in whole.items() if value}


def _service(resolved: Resolved) -> dict[str, Any]:
    check: dict[str, Any] = {"grace_period": GRACE, **CHECK}
    if resolved.health_path:
        check |= {"method": "GET", "path": resolved.health_path}
    service: dict[str, Any] = {
        "internal_port": resolved.internal_port,
        "force_https": not resolved.flycast,
        "auto_stop_machines": resolved.auto_stop,
        "auto_start_machines": True,
        "min_machines_running": 1 if resolved.policy == "always" else 0,
        "concurrency": {
            "type": "connections",
            "soft_limit": SOFT_CONNECTIONS,
            "hard_limit": HARD_CONNECTIONS,
        },
        "http_options": {"idle_timeout": IDLE_TIMEOUT_S},
    }
    if resolved.health_path:  # a check of fly.toml's http_service is one over HTTP
        service["checks"] = [check]
    return service


def _vm(resolved: Resolved) -> dict[str, Any]:
    guest = resolved.guest
    vm = {"cpu_kind": guest.cpu_kind, "cpus": guest.cpus, "memory": f"{guest.memory_mb}mb"}
    return vm | (
        {"host_dedication_id": guest.host_dedication_id} if guest.host_dedication_id else {}
    )


def _mounts(resolved: Resolved) -> list[dict[str, Any]]:
    volume = resolved.volume
    if volume is None:
        return []
    mount: dict[str, Any] = {
        "source": volume.name,
        "destination": volume.path,
        "initial_size": f"{volume.size_gb}gb",
        "snapshot_retention": volume.snapshot_retention,
        "scheduled_snapshots": volume.auto_backup_enabled,
        "auto_extend_size_threshold": volume.extend_threshold_percent,
        "auto_extend_size_increment": volume.add_size_gb and f"{volume.add_size_gb}GB",
        "auto_extend_size_limit": volume.size_gb_limit and f"{volume.size_gb_limit}GB",
    }
    return [{key: value for key, value in mount.items() if value is not None}]


def _file(entry: dict[str, object]) -> dict[str, object]:
    """An entry of `config.files`; fly.toml has the same three ways, and names them alike."""
    return {
        key: value
        for key, value in entry.items()
        if key in ("guest_path", "raw_value", "secret_name")
    }
