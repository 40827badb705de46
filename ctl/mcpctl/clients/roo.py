"""Roo Code, discontinued in May 2026 and still in use."""

from mcpctl.clients._client import Client, Machine, Place, project, typed
from mcpctl.clients._vscode import extension_file

FOLDER = "rooveterinaryinc.roo-cline"


def _places(machine: Machine) -> tuple[Place, ...]:
    return (Place(extension_file(machine, f"{FOLDER}/settings/mcp_settings.json")),)


def _marks(machine: Machine) -> tuple[str, ...]:
    return (extension_file(machine, FOLDER),)


CLIENT = Client(
    name="roo",
    title="Roo Code",
    places=_places,
    marks=_marks,
    project=(project(".roo/mcp.json"),),
    write=typed,
    reload="it reloads by itself",
    strict=True,
    locks=True,
)
