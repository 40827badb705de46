"""GitHub Copilot in the IDEs of JetBrains."""

from mcpctl.clients._client import Client, Machine, Place, typed


def _places(machine: Machine) -> tuple[Place, ...]:
    return (Place(machine.at_home(".config/github-copilot/intellij/mcp.json"), ("servers",)),)


def _marks(machine: Machine) -> tuple[str, ...]:
    return (machine.at_home(".config/github-copilot/intellij"),)


CLIENT = Client(
    name="copilot-jetbrains",
    title="Copilot for JetBrains",
    places=_places,
    marks=_marks,
    write=typed,
    reload="start the IDE again",
)
