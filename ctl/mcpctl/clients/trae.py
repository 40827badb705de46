"""Trae, built from VS Code with a file of its own."""

from mcpctl.clients._client import Client, Machine, Place


def _places(machine: Machine) -> tuple[Place, ...]:
    return (Place(machine.app_support("Trae/User/mcp.json")),)


def _marks(machine: Machine) -> tuple[str, ...]:
    return (machine.app_support("Trae/User"),)


CLIENT = Client(
    name="trae", title="Trae", places=_places, marks=_marks, reload="reload it in the MCP settings"
)
