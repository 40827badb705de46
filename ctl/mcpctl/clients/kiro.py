"""Kiro, the IDE and the command line."""

from mcpctl.clients._client import Client, Machine, Place, project


def _places(machine: Machine) -> tuple[Place, ...]:
    return (Place(machine.at_home(".kiro/settings/mcp.json")),)


def _marks(machine: Machine) -> tuple[str, ...]:
    return (machine.at_home(".kiro"),)


CLIENT = Client(
    name="kiro",
    title="Kiro",
    places=_places,
    marks=_marks,
    project=(project(".kiro/settings/mcp.json"),),
    reload="it reloads by itself",
)
