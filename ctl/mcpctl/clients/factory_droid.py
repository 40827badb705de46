"""Droid, the command line of Factory."""

from mcpctl.clients._client import Client, Machine, Place


def _places(machine: Machine) -> tuple[Place, ...]:
    return (Place(machine.at_home(".factory/mcp.json")),)


def _marks(machine: Machine) -> tuple[str, ...]:
    return (machine.at_home(".factory"),)


CLIENT = Client(
    name="droid", title="Factory Droid", places=_places, marks=_marks, reload="start a new session"
)
