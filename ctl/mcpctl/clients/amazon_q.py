"""Amazon Q CLI, followed by Kiro CLI. A comment makes it discard the whole file (amazon-q-developer-cli #2082)."""

from mcpctl.clients._client import Client, Machine, Place, project


def _places(machine: Machine) -> tuple[Place, ...]:
    return (Place(machine.at_home(".aws/amazonq/mcp.json")),)


def _marks(machine: Machine) -> tuple[str, ...]:
    return (machine.at_home(".aws/amazonq"),)


CLIENT = Client(
    name="amazon-q",
    title="Amazon Q CLI",
    places=_places,
    marks=_marks,
    project=(project(".amazonq/mcp.json"),),
    reload="start a new session",
    strict=True,
)
