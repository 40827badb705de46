"""The `config` of a Machine, as the Machines API takes it (fly.MachineConfig)."""

from typing import Any

from mcpctld.launch.resolve import Resolved

IDLE_TIMEOUT_S = 3600
"""How long Fly's proxy leaves a silent connection open; its own 60 s cut streams of events."""

SOFT_CONNECTIONS, HARD_CONNECTIONS = 200, 1000
"""Past the first Fly's proxy looks for another machine, which there is not; past the second it lets callers wait."""

STOP_TIMEOUT = "30s"
"""Above the 10 s that the front gives to calls under way, with room for the ends of processes."""

CHECK = {"interval": "10s", "timeout": "5s"}
GRACE, SLOW_GRACE = "60s", "300s"
"""How long a machine may take to answer after its start; the longer one where it installs things first."""

OWN_METADATA = ("mcpctl_server", "mcpctl_launch", "mcpctl_wrapper")


def machine_config(
    resolved: Resolved, *, launch_id: str, region: str, volume_id: str | None = None
) -> dict[str, Any]:
    """What `POST /v1/apps/{app}/machines` gets as `config`, `--machine-config` laid over it.

    `volume_id` is that of the volume which was made for `resolved.volume`.
    """
    config: dict[str, Any] = {
        "image": resolved.image,
        "init": _init(resolved),
        "env": {"FLY_PROCESS_GROUP": "app", "PRIMARY_REGION": region, **resolved.env},
        "guest": resolved.guest.as_config(),
        "services": [_service(resolved)],
        "metadata": _metadata(resolved, launch_id),
        "restart": {"policy": "on-failure"},
        "stop_config": {"signal": "SIGTERM", "timeout": STOP_TIMEOUT},
    }
    if resolved.files:
        config["files"] = resolved.files
    if resolved.volume and volume_id:
        config["mounts"] = [resolved.volume.mount(volume_id)]
    merged: dict[str, Any] = merge_patch(config, resolved.overlay)
    # By these a machine is known again; an overlay may add to them.
    merged["metadata"] = {**(merged.get("metadata") or {}), **_own_metadata(resolved, launch_id)}
    return merged


def merge_patch(target: Any, patch: Any) -> Any:
    """`target` with `patch` laid over it (RFC 7396 §2); neither is changed."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), value)
    return merged


def _init(resolved: Resolved) -> dict[str, list[str]]:
    words = {"entrypoint": resolved.entrypoint, "cmd": resolved.cmd}
    return {key: value for key, value in words.items() if value}


def _service(resolved: Resolved) -> dict[str, Any]:
    return {
        "protocol": "tcp",
        "internal_port": resolved.internal_port,
        "autostart": True,
        "autostop": resolved.auto_stop,
        "min_machines_running": 1 if resolved.policy == "always" else 0,
        "concurrency": {
            "type": "connections",
            "soft_limit": SOFT_CONNECTIONS,
            "hard_limit": HARD_CONNECTIONS,
        },
        "ports": _ports(resolved),
        "checks": [_check(resolved)],
    }


def _ports(resolved: Resolved) -> list[dict[str, Any]]:
    options = {"idle_timeout": IDLE_TIMEOUT_S}
    plain: dict[str, Any] = {"port": 80, "handlers": ["http"], "http_options": options}
    if (
        resolved.flycast
    ):  # the private network is encrypted already, and there is no certificate for it
        return [plain]
    return [
        {**plain, "force_https": True},
        {"port": 443, "handlers": ["tls", "http"], "http_options": options},
    ]


def _check(resolved: Resolved) -> dict[str, Any]:
    grace = SLOW_GRACE if resolved.program.boots_slowly else GRACE
    common = {"port": resolved.internal_port, "grace_period": grace, **CHECK}
    if resolved.health_path is None:
        return {"type": "tcp", **common}
    return {"type": "http", "method": "GET", "path": resolved.health_path, **common}


def _metadata(resolved: Resolved, launch_id: str) -> dict[str, str]:
    # `fly deploy`, `scale` and `secrets deploy` see only machines that have these two.
    platform = {"fly_platform_version": "v2", "fly_process_group": "app"}
    return {**platform, **_own_metadata(resolved, launch_id)}


def _own_metadata(resolved: Resolved, launch_id: str) -> dict[str, str]:
    values = (resolved.server, launch_id, resolved.wrapper)
    return dict(zip(OWN_METADATA, values, strict=True))
