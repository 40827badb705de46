"""LM Studio, 0.3.17 and later."""

from mcpctl.clients._client import Client, Machine, Place


def _places(machine: Machine) -> tuple[Place, ...]:
    return (
        Place(machine.at_home(".lmstudio/mcp.json")),
        Place(machine.at_home(".cache/lm-studio/mcp.json"), why_not="it is of older installations"),
    )


def _marks(machine: Machine) -> tuple[str, ...]:
    return (machine.at_home(".lmstudio"), machine.at_home(".cache/lm-studio"))


CLIENT = Client(
    name="lmstudio",
    title="LM Studio",
    places=_places,
    marks=_marks,
    reload="start it again, or save mcp.json in its editor",
)
