"""Kilo Code, whose servers look like those of opencode."""

from mcpctl.clients._client import Client, Machine, Place, local, project

SECTION = ("mcp",)


def _places(machine: Machine) -> tuple[Place, ...]:
    return (Place(machine.config("kilo/kilo.jsonc"), SECTION),)


def _marks(machine: Machine) -> tuple[str, ...]:
    return (machine.config("kilo"),)


CLIENT = Client(
    name="kilo",
    title="Kilo Code",
    places=_places,
    marks=_marks,
    project=(project("kilo.jsonc", SECTION), project(".kilo/kilo.jsonc", SECTION)),
    write=local,
    extras={"enabled": True},
    reload="start it again",
)
