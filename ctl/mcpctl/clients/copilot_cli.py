"""GitHub Copilot CLI: strict JSON (copilot-cli #4323), and tools are allowed by name."""

from mcpctl.clients._client import Client, Machine, Place, project


def _folder(machine: Machine) -> str:
    return machine.folder("COPILOT_HOME", ".copilot")


def _places(machine: Machine) -> tuple[Place, ...]:
    return (Place(f"{_folder(machine)}/mcp-config.json"),)


def _marks(machine: Machine) -> tuple[str, ...]:
    return (_folder(machine),)


def _write(_: str, words: list[str]) -> dict[str, object]:
    return {"type": "local", "command": words[0], "args": words[1:]}


CLIENT = Client(
    name="copilot-cli",
    title="Copilot CLI",
    places=_places,
    marks=_marks,
    project=(project(".github/mcp.json"),),
    write=_write,
    extras={"tools": ["*"]},
    reload="say /mcp reload, or start a new session",
    strict=True,
)
