"""Continue. New entries go into a file of our own in its drop-in folder, so `config.yaml` need not be touched."""

from mcpctl.clients._client import Client, Machine, Place, project


def _places(machine: Machine) -> tuple[Place, ...]:
    folder = machine.folder("CONTINUE_GLOBAL_DIR", ".continue")
    return (
        Place(f"{folder}/mcpServers/mcpctl.json"),
        Place(f"{folder}/config.yaml", kind="yaml", why_not="a file of its own is safer"),
    )


def _marks(machine: Machine) -> tuple[str, ...]:
    return (machine.folder("CONTINUE_GLOBAL_DIR", ".continue"),)


CLIENT = Client(
    name="continue",
    title="Continue",
    places=_places,
    marks=_marks,
    project=(project(".continue/mcpServers/mcpctl.json"),),
    reload="it reloads by itself; servers are used in agent mode only",
)
