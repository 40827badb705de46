"""Claude Code. `~/.claude.json` is its state too: megabytes, written all the time, with servers per project inside."""

from mcpctl.clients._client import ANY, Client, Machine, Place, project


def _file(machine: Machine) -> str:
    folder = machine.variable("CLAUDE_CONFIG_DIR")
    return f"{folder}/.claude.json" if folder else machine.at_home(".claude.json")


def _managed(machine: Machine) -> str:
    if machine.system == "darwin":
        return "/Library/Application Support/ClaudeCode/managed-mcp.json"
    return "/etc/claude-code/managed-mcp.json"


def _places(machine: Machine) -> tuple[Place, ...]:
    return (
        Place(_file(machine)),
        Place(
            _file(machine),
            ("projects", ANY, "mcpServers"),
            why_not="these are servers of one folder",
        ),
        Place(_managed(machine), scope="system", why_not="it is managed by an administrator"),
    )


def _marks(machine: Machine) -> tuple[str, ...]:
    return (_file(machine), machine.folder("CLAUDE_CONFIG_DIR", ".claude"))


CLIENT = Client(
    name="claude-code",
    title="Claude Code",
    places=_places,
    marks=_marks,
    project=(project(".mcp.json"),),
    reload="start a new session",
    strict=True,
    processes=("claude",),
    name_pattern=r"(?!workspace$)[A-Za-z0-9_-]{1,64}",
    name_rule="letters, digits, - and _, at most 64, and not 'workspace'",
)
