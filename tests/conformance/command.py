"""`mcpctl conformance` itself, in the place of the suite: installed by npm, run as a user runs it."""

import dataclasses
import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import suite
from suite import NO_RESULT, Outcome

from harness import program

BOUND_S = 300.0
"""With the installation."""


@dataclasses.dataclass(frozen=True, slots=True)
class Command:
    """Takes the place of `suite.Suite` for server scenarios."""

    environment: Mapping[str, str]
    folder: Path

    def all_server_scenarios(self, url: str, version: str) -> dict[str, Outcome]:
        """Every scenario, as `--json` tells of them."""
        return self._run(url, "--spec-version", version)

    def server_scenario(self, url: str, name: str, version: str, *, force: bool = False) -> Outcome:
        """One of them; it cannot be forced, and need not be."""
        found = self._run(url, "--spec-version", version, "--scenario", name)
        return found.get(name) or Outcome(0, {NO_RESULT: "see command.log"})

    def _run(self, *argv: str) -> dict[str, Outcome]:
        with open(self.folder / "command.log", "a") as log:
            done = subprocess.run(
                [program("mcpctl"), "conformance", *argv, "--json"], env=self._users(),
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True,
                timeout=BOUND_S, check=False,
            )  # fmt: skip
        assert done.returncode in (0, 1), f"mcpctl conformance exits with {done.returncode}"
        scenarios = json.loads(done.stdout)["scenarios"]
        return {
            found["scenario"]: Outcome(
                found["passed"],
                {problem["check"]: problem["message"] for problem in found["problems"]},
            )
            for found in scenarios
        }

    def _users(self) -> dict[str, str]:
        """The user's own environment, for npm's sake, with the home's folders and one `node`."""
        node = self.folder / "bin" / "node"
        node.parent.mkdir(exist_ok=True)
        if not node.exists():
            node.symlink_to(suite.node())
        ours = {key: value for key, value in self.environment.items() if key.startswith("MCPCTL_")}
        path = f"{node.parent}{os.pathsep}{os.environ['PATH']}"
        return {**os.environ, **ours, "PATH": path}
