"""Machines as the API describes them."""

from typing import Any

import msgspec

from mcpctld.fly.lenient import read, read_all


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """A health check; `status` is `passing`, `warning` or `critical`."""

    name: str = ""
    status: str = ""
    output: str = ""
    updated_at: str = ""


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something that befell a machine; `timestamp` is in milliseconds since 1970."""

    id: str = ""
    type: str = ""
    status: str = ""
    source: str = ""
    timestamp: int = 0
    request: dict[str, Any] = {}

    @property
    def exit_code(self) -> int | None:
        """What its program ended with, in an `exit` event."""
        found = self.request
        if isinstance(found.get("MonitorEvent"), dict):
            found = found["MonitorEvent"]
        exit_event = found.get("exit_event")
        code = exit_event.get("exit_code") if isinstance(exit_event, dict) else None
        return code if isinstance(code, int) else None


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """One machine. `raw` is all that the API said, for who changes its config."""

    id: str = ""
    name: str = ""
    state: str = ""
    region: str = ""
    version: str = ""
    private_ip: str = ""
    config: dict[str, Any] = {}
    checks: list[Check] = []
    events: list[Event] = []
    created_at: str = ""
    updated_at: str = ""
    nonce: str | None = None
    cordoned: bool = False
    host_status: str = ""
    raw: dict[str, Any] = {}

    def __repr__(self) -> str:
        return f"<Machine {self.id} {self.state}>"

    @property
    def metadata(self) -> dict[str, str]:
        """Its metadata: names and texts."""
        found = self.config.get("metadata")
        return found if isinstance(found, dict) else {}


def read_machine(found: object) -> Machine:
    """A machine from its JSON; `instance_id` is the old name of `version`."""
    members = found if isinstance(found, dict) else {}
    version = members.get("version") or members.get("instance_id")
    return read(
        Machine,
        members,
        version=version if isinstance(version, str) else "",
        checks=read_all(Check, members.get("checks")),
        events=read_all(Event, members.get("events")),
        config=_config(members),
        raw=members,
    )


def _config(members: dict[str, Any]) -> dict[str, Any]:
    """While its host cannot be reached, only what is known of the config is told."""
    found = members.get("config") or members.get("incomplete_config")
    return found if isinstance(found, dict) else {}


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """The right to change a machine, alone; `expires_at` is Unix time."""

    nonce: str = ""
    owner: str = ""
    description: str = ""
    expires_at: int = 0

    def __repr__(self) -> str:
        return f"<Lease of {self.owner} until {self.expires_at}>"


class Executed(msgspec.Struct, frozen=True, kw_only=True):
    """What a command in a machine came to."""

    exit_code: int = 0
    exit_signal: int = 0
    stdout: str = ""
    stderr: str = ""
