"""Qwen Code, built from Gemini CLI."""

from mcpctl.clients._client import Client, Machine, Place, project


def _places(machine: Machine) -> tuple[Place, ...]:
    return (Place(machine.at_home(".qwen/settings.json")),)


def _marks(machine: Machine) -> tuple[str, ...]:
    return (machine.at_home(".qwen"),)


CLIENT = Client(
    name="qwen",
    title="Qwen Code",
    places=_places,
    marks=_marks,
    project=(project(".qwen/settings.json"),),
    reload="start it again",
    wipes=True,
    processes=("qwen",),
    name_pattern=r"[A-Za-z0-9.-]+",
    name_rule="no underscore: its policies are split there",
)
