"""VS Code and what is built from it: one layout below another folder."""

from mcpctl.clients._client import Client, Machine, Place, project, typed


def make(name: str, title: str, folder: str, remote: str, flag: str | None = None) -> Client:
    """The client whose user data is in `folder`, and on a remote machine in `~/REMOTE`."""

    def places(machine: Machine) -> tuple[Place, ...]:
        portable = machine.variable("VSCODE_PORTABLE")
        user = f"{portable}/user-data/User" if portable else machine.app_support(f"{folder}/User")
        moved = "VS Code moves what stands here to mcp.json since 1.102"
        short = "flyctl writes it one level short of what VS Code ever read"
        return (
            Place(f"{user}/mcp.json", ("servers",)),
            Place(f"{user}/settings.json", ("mcp", "servers"), why_not=moved),
            Place(f"{user}/settings.json", ("mcp",), why_not=short, unread=True),
            Place(
                machine.at_home(f"{remote}/data/User/mcp.json"),
                ("servers",),
                why_not="it is for windows opened on this machine from afar",
            ),
        )

    def marks(machine: Machine) -> tuple[str, ...]:
        return (machine.app_support(f"{folder}/User"), machine.at_home(remote))

    return Client(
        name=name,
        title=title,
        flag=flag,
        places=places,
        marks=marks,
        project=(project(".vscode/mcp.json", ("servers",)),),
        write=typed,
        reload="press Refresh in the list of MCP servers, or wait: it watches the file",
    )


def extension_file(machine: Machine, path: str) -> str:
    """A file that an extension keeps in VS Code's global storage."""
    return machine.app_support(f"Code/User/globalStorage/{path}")
