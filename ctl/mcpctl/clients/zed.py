"""Zed. Its settings are JSONC with trailing commas; entries are flat since June 2025."""

from mcpctl.clients._client import Client, Machine, Place, project

SECTION = ("context_servers",)


def _folder(machine: Machine) -> str:
    if machine.system == "darwin":
        return machine.at_home(".config/zed")
    flatpak = machine.variable("FLATPAK_XDG_CONFIG_HOME")
    return f"{flatpak}/zed" if flatpak else machine.config("zed")


def _places(machine: Machine) -> tuple[Place, ...]:
    return (Place(f"{_folder(machine)}/settings.json", SECTION),)


def _marks(machine: Machine) -> tuple[str, ...]:
    return (_folder(machine), "/Applications/Zed.app")


CLIENT = Client(
    name="zed",
    title="Zed",
    flag="zed",
    places=_places,
    marks=_marks,
    project=(project(".zed/settings.json", SECTION),),
    reload="it reloads by itself",
)
