"""What there is to know of an MCP client: where its files are, and how an entry looks in them."""

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from mcpctl.editing.document import Format, Path

Scope = Literal["user", "project", "system"]

ANY = "*"
"""In a section: every key that there is."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What decides where files are: the system (`linux`, WSL too, or `darwin`), the home and the variables."""

    system: str
    home: str
    environ: Mapping[str, str]

    @staticmethod
    def this() -> "Machine":
        """The one we run on."""
        return Machine(sys.platform, os.path.expanduser("~"), os.environ)

    def at_home(self, path: str) -> str:
        """`path` below the home."""
        return f"{self.home}/{path}"

    def config(self, path: str) -> str:
        """`path` below `$XDG_CONFIG_HOME`, else `~/.config`; macOS has no such variable."""
        base = self.variable("XDG_CONFIG_HOME") if self.system != "darwin" else None
        return f"{base}/{path}" if base else self.at_home(f".config/{path}")

    def app_support(self, path: str) -> str:
        """`path` where applications keep their data: `~/Library/Application Support`, elsewhere as `config`."""
        if self.system == "darwin":
            return self.at_home(f"Library/Application Support/{path}")
        return self.config(path)

    def variable(self, name: str) -> str | None:
        """The absolute path that a variable names; None when it names none."""
        value = self.environ.get(name, "")
        return value.rstrip("/") if value.startswith("/") else None

    def folder(self, variable: str, default: str) -> str:
        """The folder that a variable names, else `default` below the home."""
        return self.variable(variable) or self.at_home(default)


@dataclass(frozen=True, slots=True)
class Place:
    """A part of a file in which entries stand: an absolute path, or one below a project's folder.

    `why_not`: why nothing is added there; what is found there is shown, taken out and moved all the same.
    `unread`: the client never reads it, so that what is adopted there goes to its right place.
    """

    path: str
    section: Path = ("mcpServers",)
    kind: Format = "json"
    scope: Scope = "user"
    why_not: str = ""
    unread: bool = False


Write = Callable[[str, list[str]], dict[str, object]]
"""The fields of an entry that starts a command, given the entry's name and the words."""


def plain(_: str, words: list[str]) -> dict[str, object]:
    """What most clients read."""
    return {"command": words[0], "args": words[1:]}


def typed(_: str, words: list[str]) -> dict[str, object]:
    """The same for clients that want to be told."""
    return {"type": "stdio", "command": words[0], "args": words[1:]}


def local(_: str, words: list[str]) -> dict[str, object]:
    """opencode and its kin: all words in one list."""
    return {"type": "local", "command": words}


@dataclass(frozen=True, slots=True)
class Client:
    """One MCP client.

    `places` and `marks` (whose existence shows that it is installed) depend on the machine. `extras` go into new
    entries only. `strict`: a comment makes its file unreadable to it. `locks`: it holds `FILE.lock` while it writes.
    `wipes`: it is known to write its file back from memory, without what others put there.
    """

    name: str
    title: str
    places: Callable[[Machine], tuple[Place, ...]]
    marks: Callable[[Machine], tuple[str, ...]]
    reload: str
    flag: str | None = None
    project: tuple[Place, ...] = ()
    write: Write = plain
    extras: Mapping[str, object] | None = None
    strict: bool = False
    locks: bool = False
    wipes: bool = False
    processes: tuple[str, ...] = ()
    name_pattern: str = r"[A-Za-z0-9][A-Za-z0-9._-]*"
    name_rule: str = ""

    def target(self, machine: Machine) -> Place | None:
        """The user's file that new entries go into; None where the client has none of its own."""
        return next((place for place in self.places(machine) if not place.why_not), None)

    def project_target(self, folder: str) -> Place | None:
        """The file of a project that new entries go into."""
        return next(
            (in_project(place, folder) for place in self.project if not place.why_not), None
        )


def in_project(place: Place, folder: str) -> Place:
    """A place of the project in `folder`."""
    return Place(f"{folder}/{place.path}", place.section, place.kind, "project", place.why_not)


def project(path: str, section: Path = ("mcpServers",), kind: Format = "json") -> Place:
    """A file of a project."""
    return Place(path, section, kind, "project")
