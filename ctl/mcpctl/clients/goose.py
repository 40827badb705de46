"""Goose. A file that it cannot read is replaced by its backup or by defaults, so it must never see half of one."""

from mcpctl.clients._client import Client, Machine, Place


def _file(machine: Machine) -> str:
    if root := machine.variable("GOOSE_PATH_ROOT"):
        return f"{root}/config/config.yaml"
    return machine.config("goose/config.yaml")


def _places(machine: Machine) -> tuple[Place, ...]:
    return (Place(_file(machine), ("extensions",), "yaml"),)


def _marks(machine: Machine) -> tuple[str, ...]:
    return (_file(machine).rpartition("/")[0],)


def _write(name: str, words: list[str]) -> dict[str, object]:
    return {"type": "stdio", "name": name, "cmd": words[0], "args": words[1:]}


CLIENT = Client(
    name="goose",
    title="Goose",
    places=_places,
    marks=_marks,
    write=_write,
    extras={"enabled": True, "description": "", "timeout": 300},
    reload="start a new session",
)
