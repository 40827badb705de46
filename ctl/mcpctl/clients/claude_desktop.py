"""Claude Desktop. It reads no `url`, and writes its file back from its own store (anthropics/claude-code #32345)."""

from mcpctl.clients._client import Client, Machine, Place


def _places(machine: Machine) -> tuple[Place, ...]:
    return (Place(machine.app_support("Claude/claude_desktop_config.json")),)


def _marks(machine: Machine) -> tuple[str, ...]:
    return (machine.app_support("Claude"), "/Applications/Claude.app")


CLIENT = Client(
    name="claude-desktop",
    title="Claude Desktop",
    flag="claude",
    places=_places,
    marks=_marks,
    reload="quit Claude Desktop wholly and start it again",
    strict=True,
    wipes=True,
    processes=("Claude", "claude-desktop"),
)
