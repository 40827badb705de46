"""Cline: the file that its newer bundle and its command line share, and the one of the older bundle in VS Code.

One entry that it finds wrong makes it refuse the whole file. It holds a lock folder while it writes.
"""

from mcpctl.clients._client import Client, Machine, Place, typed
from mcpctl.clients._vscode import extension_file

OLD = "saoudrizwan.claude-dev/settings/cline_mcp_settings.json"


def _file(machine: Machine) -> str:
    if named := machine.variable("CLINE_MCP_SETTINGS_PATH"):
        return named
    name = "settings/cline_mcp_settings.json"
    if data := machine.variable("CLINE_DATA_DIR"):
        return f"{data}/{name}"
    return f"{machine.folder('CLINE_DIR', '.cline')}/data/{name}"


def _places(machine: Machine) -> tuple[Place, ...]:
    return (
        Place(_file(machine)),
        Place(extension_file(machine, OLD), why_not="the newer bundle only moves it"),
    )


def _marks(machine: Machine) -> tuple[str, ...]:
    extension = extension_file(machine, OLD.partition("/")[0])
    return (machine.folder("CLINE_DIR", ".cline"), extension)


CLIENT = Client(
    name="cline",
    title="Cline",
    places=_places,
    marks=_marks,
    write=typed,
    reload="it reloads by itself",
    strict=True,
    locks=True,
)
