"""Junie, the agent of JetBrains."""

from mcpctl.clients._client import Client, Machine, Place, project


def _places(machine: Machine) -> tuple[Place, ...]:
    return (Place(machine.at_home(".junie/mcp/mcp.json")),)


def _marks(machine: Machine) -> tuple[str, ...]:
    return (machine.at_home(".junie"),)


CLIENT = Client(
    name="junie",
    title="Junie",
    places=_places,
    marks=_marks,
    project=(project(".junie/mcp/mcp.json"),),
    reload="reload the server in the settings of the IDE",
)
