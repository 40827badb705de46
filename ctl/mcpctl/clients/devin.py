"""Devin CLI, and Devin Local in Devin Desktop."""

from mcpctl.clients._client import Client, Machine, Place, project


def _places(machine: Machine) -> tuple[Place, ...]:
    return (Place(machine.config("devin/config.json")),)


def _marks(machine: Machine) -> tuple[str, ...]:
    return (machine.config("devin"),)


CLIENT = Client(
    name="devin",
    title="Devin",
    places=_places,
    marks=_marks,
    project=(project(".devin/config.json"), project(".devin/config.local.json")),
    reload="start a new session",
)
