"""Which files MCP clients are configured by: one module per client, each with one `CLIENT`.

Modules whose name begins with an underscore are what the clients share. `clients()` finds the others, so that a new
client is a new file; `tests/contracts/test_clients.py` runs its suite over each. Nothing in here writes.
"""

import functools
import importlib
import pkgutil

from mcpctl.clients._changes import Judgement, Known, Sight, judge
from mcpctl.clients._client import Client, Machine, Place, in_project
from mcpctl.clients._entries import OWN_FIELDS, Launch, attached_to, our_words, read_entry
from mcpctl.clients._survey import (
    Entry,
    Found,
    examine,
    is_installed,
    is_running,
    sections,
    survey,
    understand,
)
from mcpctl.errors import CtlError


@functools.cache
def clients() -> dict[str, Client]:
    """Every client by its name."""
    names = sorted(
        info.name for info in pkgutil.iter_modules(__path__) if not info.name.startswith("_")
    )
    found = [importlib.import_module(f"{__name__}.{name}").CLIENT for name in names]
    return {client.name: client for client in found}


def client_named(name: str) -> Client:
    """The client of that name. Raises `not-found` with the nearest one."""
    import difflib

    known = clients()
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else "'mcpctl clients' shows those there are"
    raise CtlError("not-found", f"there is no client {name!r}; {hint}")


__all__ = [
    "Client",
    "Entry",
    "Found",
    "Judgement",
    "Known",
    "Launch",
    "Machine",
    "OWN_FIELDS",
    "Place",
    "Sight",
    "attached_to",
    "client_named",
    "clients",
    "examine",
    "in_project",
    "is_installed",
    "is_running",
    "judge",
    "our_words",
    "read_entry",
    "sections",
    "survey",
    "understand",
]
