"""Kimi CLI."""

from mcpctl.clients._client import Client, Machine, Place


def _places(machine: Machine) -> tuple[Place, ...]:
    return (Place(machine.at_home(".kimi/mcp.json")),)


def _marks(machine: Machine) -> tuple[str, ...]:
    return (machine.at_home(".kimi"),)


CLIENT = Client(
    name="kimi", title="Kimi CLI", places=_places, marks=_marks, reload="start a new session"
)
