"""Codex. One entry that it finds wrong, such as one with `url` and `args`, can keep it from starting."""

from mcpctl.clients._client import Client, Machine, Place, project

SECTION = ("mcp_servers",)


def _places(machine: Machine) -> tuple[Place, ...]:
    return (Place(f"{machine.folder('CODEX_HOME', '.codex')}/config.toml", SECTION, "toml"),)


def _marks(machine: Machine) -> tuple[str, ...]:
    return (machine.folder("CODEX_HOME", ".codex"),)


CLIENT = Client(
    name="codex",
    title="Codex",
    places=_places,
    marks=_marks,
    project=(project(".codex/config.toml", SECTION, "toml"),),
    reload="start a new session",
    name_pattern=r"[A-Za-z0-9_-]+",
    name_rule="letters, digits, - and _",
)
