"""Cursor. Tools whose name with the server's is longer than 60 are dropped, and `filesystem…` (cursor #3606)."""

from mcpctl.clients._client import Client, Machine, Place, project


def _places(machine: Machine) -> tuple[Place, ...]:
    return (
        Place(machine.at_home(".cursor/mcp.json")),
        Place(
            machine.app_support("Cursor/config.json"),
            why_not="flyctl writes it, Cursor never reads it",
            unread=True,
        ),
    )


def _marks(machine: Machine) -> tuple[str, ...]:
    return (
        machine.at_home(".cursor"),
        machine.app_support("Cursor/User"),
        "/Applications/Cursor.app",
    )


CLIENT = Client(
    name="cursor",
    title="Cursor",
    flag="cursor",
    places=_places,
    marks=_marks,
    project=(project(".cursor/mcp.json"),),
    reload="it reloads by itself",
    name_pattern=r"(?!filesystem)[A-Za-z0-9._-]{1,40}",
    name_rule="at most 40 characters, for tools share 60 with it, and not 'filesystem...'",
)
