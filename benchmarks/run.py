"""One run: contenders made ready, then measured in rounds, each round in another order."""

import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks import links, measures, messages, processes, quiet
from benchmarks.contenders import OLD, OURS, Contender, Ground, Raw, entries, rival
from benchmarks.daemon import CannotStart, Daemon, Died
from benchmarks.figures import Block, Failure, Figures
from benchmarks.measures import MEASURES, Effort

QUIET_PATIENCE_S = 2.0
QUIET_BUDGET_S = 45.0
"""How long a run waits for a quiet machine: before one measurement, and in all."""

FAILURES = (links.Hangup, messages.WrongAnswer, Died, OSError)
"""What a contender that fails may cause; anything else is a bug of the benchmark."""


def say(text: str) -> None:
    """Tell how far things are; stdout is for the report."""
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)


class Run:
    """The contenders of a run and the daemons behind ours; leaving it stops the daemons."""

    def __init__(
        self,
        ground: Ground,
        families: Sequence[str],
        venvs: Mapping[str, Path],
        figures: Figures,
    ) -> None:
        self._ground = ground
        self._figures = figures
        self._families = families
        self._venvs = venvs
        self._daemons: list[Daemon] = []
        self._waited_s = 0.0
        self._stuck: set[str] = set()
        self.contenders: list[Contender] = []

    def __enter__(self) -> Self:
        for family in self._families:
            try:
                self.contenders += self._family(family)
            except CannotStart as exc:
                self._fail(0, family, "start", exc)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        for daemon in self._daemons:
            daemon.stop()

    def _family(self, family: str) -> Sequence[Contender]:
        if family == "raw":
            return [Raw(self._ground)]
        if family not in (OURS, OLD):
            return [rival(family, self._ground)]
        venv = self._venvs[family]
        daemon = Daemon(venv, self._ground.home / family, self._ground.server_files())
        self._daemons.append(daemon)
        return entries(family, venv, daemon, self._ground)

    def rounds(self, effort: Effort, only: Sequence[str]) -> None:
        """Go through the rounds, as many as fit into the limit."""
        begun = time.monotonic()
        took: dict[str, float] = dict.fromkeys(only, 0.0)
        for number in range(1, effort.rounds + 1):
            due = [name for name in only if name != "fleet" or number <= effort.fleet_rounds]
            if time.monotonic() - begun + sum(took[name] for name in due) > effort.limit_s:
                say(f"no time for round {number} of {effort.rounds}")
                break
            for name in due:
                measure_begun = time.monotonic()
                self._measure_all(number, name, effort)
                took[name] = time.monotonic() - measure_begun
                say(f"round {number} of {effort.rounds}: {name} took {took[name]:.0f} s")

    def _measure_all(self, number: int, name: str, effort: Effort) -> None:
        """One measure of all contenders; each round begins with another one."""
        measure = MEASURES[name]
        first = (number - 1) % max(1, len(self.contenders))
        for contender in [*self.contenders[first:], *self.contenders[:first]]:
            if contender.name in self._stuck:
                continue
            self._wait_quiet()
            try:
                with processes.bound(measure.bound_s, f"`{name}`"):
                    self._measure(number, contender, measure.run(contender, effort))
            except processes.Stuck as exc:
                self._fail(number, contender.name, name, exc)
                self._stuck.add(contender.name)  # the run is bounded: no second wait like this
            except FAILURES as exc:
                self._fail(number, contender.name, name, exc)

    def _wait_quiet(self) -> None:
        left_s = max(0.0, QUIET_BUDGET_S - self._waited_s)
        self._waited_s += quiet.wait_quiet(min(QUIET_PATIENCE_S, left_s))

    def _measure(self, number: int, contender: Contender, steps: measures.Samples) -> None:
        blocks = []
        with closing(steps):
            before = quiet.snapshot()
            for metric, samples in steps:
                share = quiet.foreign_share(before)
                blocks.append(Block(number, contender.name, metric, samples, share))
                before = quiet.snapshot()
        contender.check()
        self._figures.blocks += blocks

    def _fail(self, number: int, contender: str, measure: str, exc: Exception) -> None:
        say(f"{contender}: `{measure}` failed: {exc}")
        reason = str(exc) or type(exc).__name__
        self._figures.failures.append(Failure(number, contender, measure, reason))
