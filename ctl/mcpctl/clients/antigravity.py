"""Antigravity, whose entries name a URL as `serverUrl`."""

from mcpctl.clients._client import Client, Machine, Place


def _places(machine: Machine) -> tuple[Place, ...]:
    return (
        Place(machine.at_home(".gemini/config/mcp_config.json")),
        Place(
            machine.at_home(".gemini/antigravity/mcp_config.json"),
            why_not="it is of older installations",
        ),
    )


def _marks(machine: Machine) -> tuple[str, ...]:
    return (machine.at_home(".gemini/config"), machine.at_home(".gemini/antigravity"))


CLIENT = Client(
    name="antigravity",
    title="Antigravity",
    places=_places,
    marks=_marks,
    reload="press Refresh in the list of MCP servers",
)
