"""What stands in the files of all clients at this moment: read, never written."""

import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from mcpctl.clients._client import ANY, Client, Machine, Place, in_project
from mcpctl.clients._entries import Launch, attached_to, read_entry
from mcpctl.editing import document
from mcpctl.editing.document import Path
from mcpctl.editing.problems import Unreadable
from mcpctl.errors import CtlError
from mcpctl.storing.snapshot import look


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of a client's file; `server` is the one of ours that it attaches to."""

    client: Client
    place: Place
    section: Path
    name: str
    launch: Launch
    server: str | None

    @property
    def path(self) -> Path:
        """The keys that lead to it."""
        return (*self.section, self.name)


@dataclass(frozen=True, slots=True)
class Found:
    """What one place of a client holds; `problem` says why it could not be read, or why the client cannot."""

    client: Client
    place: Place
    exists: bool
    entries: tuple[Entry, ...] = ()
    problem: str | None = None
    data: bytes | None = field(default=None, repr=False)


def is_installed(client: Client, machine: Machine) -> bool:
    """Whether anything of the client is on this machine."""
    marks = any(os.path.exists(mark) for mark in client.marks(machine))
    return marks or any(shutil.which(program) for program in client.processes)


def is_running(client: Client) -> bool:
    """Whether a program of the client runs; by name, so another one's may be taken for it."""
    return any(name in client.processes for name in _process_names())


def survey(chosen: Iterable[Client], machine: Machine, project: str | None = None) -> list[Found]:
    """Look at every place of the clients; with `project`, at those of the project in that folder too."""
    seen: dict[str, bytes | CtlError | None] = {}
    return [
        _found(client, place, seen)
        for client in chosen
        for place in _places(client, machine, project)
    ]


def understand(client: Client, place: Place, data: bytes) -> Found:
    """What one place of a file with these bytes holds."""
    try:
        value = document.meaning(data, place.kind)
    except Unreadable as exc:
        return Found(client, place, exists=True, problem=f"{place.path}: {exc}")
    entries = tuple(_entries(client, place, value))
    problem = _complaint(client, place, data) if entries or not place.why_not else None
    return Found(client, place, True, entries, problem, data)


def examine(client: Client, place: Place) -> Found:
    """Look at one place."""
    return _found(client, place, {})


def _process_names() -> Iterator[str]:
    """The names of all processes (Linux; elsewhere none is known without asking another program)."""
    try:
        numbers = [name for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return
    for number in numbers:
        try:
            with open(f"/proc/{number}/comm", encoding="utf-8", errors="replace") as file:
                yield file.read().rstrip("\n")
        except OSError:  # it has ended
            continue


def _places(client: Client, machine: Machine, project: str | None) -> Iterator[Place]:
    yield from client.places(machine)
    if project is not None:
        yield from (in_project(place, project) for place in client.project)


def _found(client: Client, place: Place, seen: dict[str, bytes | CtlError | None]) -> Found:
    if place.path not in seen:
        seen[place.path] = _read(place.path)
    data = seen[place.path]
    if isinstance(data, CtlError):
        return Found(client, place, exists=True, problem=str(data))
    if data is None:
        return Found(client, place, exists=False)
    return understand(client, place, data)


def _read(path: str) -> bytes | CtlError | None:
    try:
        return look(path).data
    except CtlError as exc:
        return exc


def _entries(client: Client, place: Place, value: Any) -> Iterator[Entry]:
    for section in sections(value, place.section):
        for name, entry in document.entries(value, section).items():
            launch = read_entry(entry)
            if launch is not None:
                yield Entry(client, place, section, name, launch, attached_to(launch))


def sections(value: Any, wanted: Path) -> list[Path]:
    """The sections of a file that a place means: `ANY` stands for every key."""
    if ANY not in wanted:
        return [wanted]
    cut = wanted.index(ANY)
    keys = document.entries(value, wanted[:cut])
    return [(*wanted[:cut], key, *wanted[cut + 1 :]) for key in keys]


def _complaint(client: Client, place: Place, data: bytes) -> str | None:
    """What the client itself cannot read, though we can."""
    if place.kind != "json" or not client.strict:
        return None
    from mcpctl.editing.json_layout import parse

    text = data.decode().removeprefix("\ufeff")
    parsed = parse(text)
    if parsed.plain == text:
        return None
    return f"{place.path} has comments or trailing commas, which {client.title} cannot read"
