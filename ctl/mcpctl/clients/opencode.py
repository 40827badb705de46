"""opencode: JSONC, and all words of a command in one list."""

from mcpctl.clients._client import Client, Machine, Place, local, project

SECTION = ("mcp",)


def _places(machine: Machine) -> tuple[Place, ...]:
    folder = machine.config("opencode")
    named = machine.variable("OPENCODE_CONFIG")
    places = (
        Place(f"{folder}/opencode.json", SECTION),
        Place(f"{folder}/opencode.jsonc", SECTION, why_not="opencode.json is its usual file"),
    )
    return (Place(named, SECTION), *places) if named else places


def _marks(machine: Machine) -> tuple[str, ...]:
    return (machine.config("opencode"),)


CLIENT = Client(
    name="opencode",
    title="opencode",
    places=_places,
    marks=_marks,
    project=(project("opencode.json", SECTION), project("opencode.jsonc", SECTION)),
    write=local,
    extras={"enabled": True},
    reload="start it again",
)
