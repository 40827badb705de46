"""The table of runs: which shape, at which revision, and what stands where in it."""

import dataclasses
import enum
from collections.abc import Mapping
from pathlib import Path

import stage
import suite
from command import Command
from suite import Outcome, Suite

from harness import Home

OLDER = "2025-06-18"
LEGACY = "2025-11-25"
MODERN = "2026-07-28"


class Shape(enum.Enum):
    """What is tested, and what is only there to compare with."""

    FIXTURE = "fixture"
    """The fixture alone."""
    GATE = "gate"
    """The fixture alone, behind a gate that lets one era through."""
    FRONT = "front"
    """The HTTP front over the fixture on stdio: a sandwich without mcpctl in it."""
    DRIVER = "driver"
    """The client alone, without mcpctl between it and the suite."""
    CLIENT = "client"
    """The client through `mcpctl attach`."""
    SANDWICH = "sandwich"
    """Suite -> HTTP front -> stdio -> `mcpctl attach` -> HTTP fixture."""
    COMMAND = "command"
    """`mcpctl conformance` against the fixture alone."""
    WRAP = "wrap"
    """Suite -> `mcpctl wrap` -> the fixture on stdio, of both eras or of one."""
    WHOLE = "whole"
    """Suite -> `mcpctl wrap` -> stdio -> `mcpctl attach` -> HTTP fixture."""


@dataclasses.dataclass(frozen=True, slots=True)
class Cell:
    """One run of the suite."""

    shape: Shape
    version: str
    """The revision that the suite speaks and demands."""
    bridged: bool = False
    """Whether the other side of mcpctl speaks the other era, and no other."""

    @property
    def name(self) -> str:
        return f"{self.shape.value} {self.version}" + (" bridged" if self.bridged else "")

    @property
    def folder(self) -> Path:
        return suite.BUILD / "results" / self.name.replace(" ", "-")

    @property
    def is_of_client(self) -> bool:
        return self.shape in (Shape.CLIENT, Shape.DRIVER)

    @property
    def far_era(self) -> str:
        """The era of what stands beyond mcpctl, seen from the suite."""
        return "modern" if (self.version == MODERN) != self.bridged else "legacy"


CELLS = (
    Cell(Shape.FIXTURE, LEGACY),
    Cell(Shape.FIXTURE, MODERN),
    Cell(Shape.GATE, LEGACY),
    Cell(Shape.GATE, MODERN),
    Cell(Shape.CLIENT, LEGACY),
    Cell(Shape.CLIENT, MODERN),
    Cell(Shape.CLIENT, LEGACY, bridged=True),
    Cell(Shape.CLIENT, MODERN, bridged=True),
    Cell(Shape.WRAP, OLDER),
    Cell(Shape.WRAP, LEGACY),
    Cell(Shape.WRAP, MODERN),
    Cell(Shape.WRAP, LEGACY, bridged=True),
    Cell(Shape.WRAP, MODERN, bridged=True),
    Cell(Shape.WHOLE, LEGACY),
    Cell(Shape.WHOLE, MODERN),
    Cell(Shape.COMMAND, MODERN),
)
"""What `make conformance` runs."""

ASKED_FOR = (
    Cell(Shape.SANDWICH, LEGACY),
    Cell(Shape.SANDWICH, MODERN),
    Cell(Shape.SANDWICH, LEGACY, bridged=True),
    Cell(Shape.SANDWICH, MODERN, bridged=True),
)
"""What it runs when it is asked for: the way through another front than ours, and past its faults."""

CONTROLS = (
    Cell(Shape.FRONT, LEGACY),
    Cell(Shape.FRONT, MODERN),
    Cell(Shape.DRIVER, LEGACY),
    Cell(Shape.DRIVER, MODERN),
)
"""What it runs scenarios of to show that a failure is not mcpctl's; whole when they are asked for."""

BY_NAME: Mapping[str, Cell] = {cell.name: cell for cell in (*CELLS, *ASKED_FOR, *CONTROLS)}


def selected(words: list[str]) -> list[Cell]:
    """The cells whose names have all these words; the controls only when one says so."""
    found = [cell for cell in BY_NAME.values() if set(words) <= set(cell.name.split())]
    return found if words else list(CELLS)


# ---------------------------------------------------------------- running one


@dataclasses.dataclass(frozen=True, slots=True)
class Run:
    """A cell whose stage is set: scenarios can be run in it."""

    cell: Cell
    suite: Suite
    servers: Suite | Command
    """What runs server scenarios."""
    target: str
    """The server's URL, or the client's command."""

    def everything(self) -> dict[str, Outcome]:
        """All scenarios of the cell's revision."""
        if not self.cell.is_of_client:
            return self.servers.all_server_scenarios(self.target, self.cell.version)
        names = self.suite.scenarios("client", self.cell.version)
        return {name: self.one(name) for name in names}

    def one(self, scenario: str) -> Outcome:
        """One scenario, even one that the cell's revision does not have."""
        version = self.cell.version
        if self.cell.is_of_client:
            return self.suite.client_scenario(self.target, scenario, version)
        return self.servers.server_scenario(self.target, scenario, version, force=True)


def start(cell: Cell, home: Home, folder: Path) -> Run:
    """Set the stage for a cell; results go to `folder`."""
    own = Suite(home.env, folder)
    servers = Command(home.env, folder) if cell.shape is Shape.COMMAND else own
    return Run(cell, own, servers, _target(cell, home))


def _target(cell: Cell, home: Home) -> str:
    match cell.shape:
        case Shape.FIXTURE | Shape.COMMAND:
            return stage.fixture(home)
        case Shape.GATE:
            return stage.fixture(home, cell.far_era)
        case Shape.FRONT:
            return stage.front(home, [*stage.FIXTURE, "stdio"])
        case Shape.SANDWICH:
            gate = cell.far_era if cell.bridged else ""
            return stage.front(home, stage.attached(stage.fixture(home, gate)))
        case Shape.WRAP:
            fixture = [*_gated(cell), *stage.FIXTURE, "stdio"]
            return stage.wrap(home, fixture, spare=6 if cell.bridged else 1)
        case Shape.WHOLE:
            return stage.wrap(home, stage.attached(stage.fixture(home)))
        case Shape.DRIVER:
            return stage.driver(_mode(cell.far_era), "direct")
        case Shape.CLIENT:
            return stage.driver(_mode(cell.far_era), "attach", *_pinned(cell))


def _gated(cell: Cell) -> tuple[str, ...]:
    """What lets one era through to the fixture, if it is to speak one only."""
    return (*stage.STDIO_GATE, cell.far_era) if cell.bridged else ()


def _pinned(cell: Cell) -> tuple[str, ...]:
    """The suite's modern scenarios count every message: there a legacy `initialize` must not go out to find out."""
    return ("--era", "modern") if cell.bridged and cell.version == MODERN else ()


def _mode(era: str) -> str:
    """How the SDK's client is told to speak one era only."""
    return MODERN if era == "modern" else "legacy"
