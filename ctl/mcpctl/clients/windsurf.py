"""Windsurf, called Devin Desktop since June 2026: what its Cascade reads."""

from mcpctl.clients._client import Client, Machine, Place


def _places(machine: Machine) -> tuple[Place, ...]:
    return (
        Place(machine.at_home(".codeium/windsurf/mcp_config.json")),
        Place(
            machine.at_home(".codeium/mcp_config.json"), why_not="it is of the plugin for JetBrains"
        ),
        Place(
            machine.at_home(".codeium/windsurf/config.json"),
            why_not="flyctl writes it, Windsurf never reads it",
            unread=True,
        ),
    )


def _marks(machine: Machine) -> tuple[str, ...]:
    return (machine.at_home(".codeium/windsurf"), machine.app_support("Windsurf"))


CLIENT = Client(
    name="windsurf",
    title="Windsurf",
    flag="windsurf",
    places=_places,
    marks=_marks,
    reload="press Refresh in the MCP settings",
    strict=True,
)
