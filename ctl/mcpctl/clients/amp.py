"""Amp: JSONC, and a section whose one key has a dot in it."""

from mcpctl.clients._client import Client, Machine, Place


def _places(machine: Machine) -> tuple[Place, ...]:
    return (Place(machine.config("amp/settings.json"), ("amp.mcpServers",)),)


def _marks(machine: Machine) -> tuple[str, ...]:
    return (machine.config("amp"),)


CLIENT = Client(name="amp", title="Amp", places=_places, marks=_marks, reload="start a new session")
