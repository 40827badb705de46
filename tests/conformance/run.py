"""Run the official MCP conformance suite against mcpctl: `make conformance [ONLY="WORD ..."]`.

Prints one line a scenario and a table at the end; results stay in build/conformance/results. The exit
code is 0 when every scenario passed or failed as expected with proof (`verdicts.py`).
"""

import contextlib
import dataclasses
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import cells
import stage
import verdicts
from cells import Cell, Run
from suite import Outcome
from verdicts import Verdict

MOST_AGAIN = 4
"""More failures than that are no accident of timing."""


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One cell in the table."""

    name: str
    verdicts: tuple[Verdict, ...]
    checks: int
    seconds: float
    trouble: str = ""

    @property
    def good(self) -> bool:
        return not self.trouble and all(verdict.good for verdict in self.verdicts)

    def __str__(self) -> str:
        said = [verdict.word for verdict in self.verdicts]
        counts = [f"{said.count(word):>10}" for word in ("ok", "expected", "FAILED")]
        shown = (
            f"{self.name:<32}{''.join(counts)}{len(said):>8}{self.checks:>8}{self.seconds:>7.0f} s"
        )
        return f"{shown}  {self.trouble}".rstrip()


HEAD = f"{'run':<32}{'ok':>10}{'expected':>10}{'FAILED':>10}{'all':>8}{'checks':>8}{'time':>9}"


class Runner:
    """Runs cells one after the other, and single scenarios of control cells in between."""

    def __init__(self) -> None:
        self._controls: dict[tuple[str, str], Outcome] = {}

    def run(self, cell: Cell) -> Row:
        """One cell, with a home and a daemon of its own."""
        print(f"\n=== {cell.name}", flush=True)
        began = time.monotonic()
        try:
            with started(cell) as run:
                outcomes = self._settled(run)
        except AssertionError as exc:  # the home's: something does not start, or is left behind
            print(exc)
            return Row(cell.name, (), 0, time.monotonic() - began, str(exc).splitlines()[0])
        said = tuple(self._judged(cell, outcomes))
        passed = sum(outcome.passed for outcome in outcomes.values())
        return Row(cell.name, said, passed, time.monotonic() - began)

    def _settled(self, run: Run) -> dict[str, Outcome]:
        """Every scenario; a few that went wrong unexpectedly are run once more, alone, and that is said."""
        known = {entry.scenario for entry in verdicts.expectations(run.cell)}
        outcomes = run.everything()
        bad = [name for name, found in outcomes.items() if not found.is_good and name not in known]
        for name in bad if len(bad) <= MOST_AGAIN else ():
            first, outcomes[name] = outcomes[name], run.one(name)
            alone = "passes" if outcomes[name].is_good else "fails"
            print(f"  again     {name}: alone it {alone}; at first: {', '.join(first.problems)}")
        return outcomes

    def _judged(self, cell: Cell, outcomes: dict[str, Outcome]) -> Iterator[Verdict]:
        expected = verdicts.expectations(cell)
        for scenario, outcome in outcomes.items():
            verdict = verdicts.judge(scenario, outcome, expected, self._control)
            print(f"  {verdict.word:<9} {scenario} {outcome.passed}/{len(outcome.problems)}")
            print(
                "".join(f"            {remark}\n" for remark in verdict.remarks), end="", flush=True
            )
            yield verdict
        for scenario in verdicts.unknown(expected, outcomes):
            print(f"  FAILED    {scenario}: expected to fail, and not run at all")
            yield Verdict(False, "FAILED")

    def _control(self, cell: Cell, scenario: str) -> Outcome:
        key = (cell.name, scenario)
        if key not in self._controls:
            with started(cell, f"control-{scenario}") as run:
                self._controls[key] = run.one(scenario)
        return self._controls[key]


@contextlib.contextmanager
def started(cell: Cell, part: str = "") -> Iterator[Run]:
    """A cell with its stage set and its results folder empty."""
    folder = cell.folder / part if part else cell.folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with stage.home(folder) as home:
        yield cells.start(cell, home, folder)


def main(words: list[str]) -> int:
    """Run what the words select and print the table."""
    chosen = cells.selected(words)
    if not chosen:
        print(f"no run is called {' '.join(words)!r}; there are:", *cells.BY_NAME, sep="\n  ")
        return 2
    runner = Runner()
    rows = [runner.run(cell) for cell in chosen]
    print(f"\n{HEAD}", *rows, sep="\n")
    return 0 if all(row.good for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
