"""Neovim with mcphub.nvim: `~/.config` on every system. One wrong entry makes it refuse the whole file."""

from mcpctl.clients._client import Client, Machine, Place, project


def _places(machine: Machine) -> tuple[Place, ...]:
    return (
        Place(machine.at_home(".config/mcphub/servers.json")),
        Place(
            machine.at_home(".config/mcphub/servers.json"),
            ("servers",),
            why_not="mcpServers is its usual key",
        ),
        Place(
            machine.app_support("nvim/init.json"),
            why_not="flyctl writes it, nothing reads it",
            unread=True,
        ),
    )


def _marks(machine: Machine) -> tuple[str, ...]:
    return (machine.at_home(".config/mcphub"),)


CLIENT = Client(
    name="neovim",
    title="Neovim (mcphub)",
    flag="neovim",
    places=_places,
    marks=_marks,
    project=(project(".mcphub/servers.json"),),
    reload="it reloads by itself",
    strict=True,
)
