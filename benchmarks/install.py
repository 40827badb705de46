"""What is compared, put in place under `.rivals/`: pinned rivals, and the wheel of this very
checkout.

A part whose pins have not changed is left alone. Our own wheel is built and installed anew each
time.
"""

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).parent
PROJECT = HERE.parent
RIVALS = HERE / ".rivals"
NPM = RIVALS / "npm"
MCP_PROXY = RIVALS / "mcp-proxy"

PYTHON_LOCK = HERE / "rivals.txt"
NPM_FILES = (HERE / "package.json", HERE / "package-lock.json")
RUN_LOCK = PROJECT / "locks" / "run.txt"

STEP_S = 600.0
"""The bound of one installation step: a slow network and a cold cache."""


class CannotInstall(Exception):
    """A step failed; the message holds its command and the end of its output."""


def install_npm() -> None:
    """Install the rivals from npm, in their pinned versions."""
    if _is_current(NPM, *NPM_FILES):
        return
    npm = _program("npm")
    NPM.mkdir(parents=True, exist_ok=True)
    for file in NPM_FILES:
        shutil.copy(file, NPM)
    _run([npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"], NPM)
    _mark_current(NPM, *NPM_FILES)


def install_mcp_proxy() -> None:
    """Install the rival from PyPI, in its pinned version."""
    _make_venv(MCP_PROXY, PYTHON_LOCK)


def install_ours() -> Path:
    """Build this checkout's wheel, install it with the pinned dependencies; its environment."""
    wheels = RIVALS / "wheels"
    shutil.rmtree(wheels, ignore_errors=True)
    build = ["wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(wheels)]
    _run([sys.executable, "-m", "pip", *build, str(PROJECT)])
    (wheel,) = wheels.glob("mcpctl-*.whl")
    return install_wheel("mcpctl", wheel)


def install_wheel(name: str, wheel: Path) -> Path:
    """Install a wheel of ours into the environment `name`, with the dependencies pinned now."""
    venv = RIVALS / name
    _make_venv(venv, RUN_LOCK)
    flags = ["--quiet", "--no-deps", "--force-reinstall"]
    _run([f"{venv}/bin/python", "-m", "pip", "install", *flags, str(wheel)])
    return venv


def site_packages(venv: Path) -> Path:
    """Where a virtual environment keeps its packages."""
    (folder,) = venv.glob("lib/python3*/site-packages")
    return folder


def node() -> str:
    """The path of Node.js."""
    return _program("node")


def versions() -> dict[str, str]:
    """The pinned versions of the rivals from npm and PyPI."""
    pins: dict[str, str] = json.loads(NPM_FILES[0].read_text())["dependencies"]
    name, _, version = (HERE / "rivals.in").read_text().strip().partition("==")
    return {**pins, name: version}


def _program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise CannotInstall(f"cannot find `{name}`: install Node.js 20, or leave its rivals out")
    return path


def _make_venv(venv: Path, lock: Path) -> None:
    if _is_current(venv, lock):
        return
    _run([sys.executable, "-m", "venv", "--clear", str(venv)])
    pip = [f"{venv}/bin/python", "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes"]
    _run([*pip, "--requirement", str(lock)])
    _mark_current(venv, lock)


def _run(argv: Sequence[str], folder: Path = PROJECT) -> None:
    try:
        done = subprocess.run(
            argv, cwd=folder, capture_output=True, text=True, timeout=STEP_S, check=False
        )
    except subprocess.TimeoutExpired as exc:
        raise CannotInstall(f"`{' '.join(argv)}` took longer than {STEP_S:g} s") from exc
    if done.returncode:
        said = (done.stdout + done.stderr)[-3000:]
        raise CannotInstall(f"`{' '.join(argv)}` failed:\n{said}")


def _digest(files: Sequence[Path]) -> str:
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def _is_current(folder: Path, *files: Path) -> bool:
    stamp = folder / ".pins"
    return stamp.exists() and stamp.read_text() == _digest(files)


def _mark_current(folder: Path, *files: Path) -> None:
    (folder / ".pins").write_text(_digest(files))
