"""The local Fly as a process: find it, start it, end it."""

import json
import os
import signal
import subprocess
import sys
import time
from typing import Any

from mcpctl import wire
from mcpctl.daemon_process import wait_gone
from mcpctl.errors import CtlError
from mcpctl.starting import clean_environment

START_BOUND_S = 30.0
STOP_BOUND_S = 30.0
"""Its machines get five seconds to end, unless theirs say more."""
POLL_S = 0.05
PACKAGE_SETTINGS = ("PIP_", "UV_", "NPM_CONFIG_", "npm_config_")
"""How machines fetch packages is the user's to say; nothing else of his environment goes there."""

Place = dict[str, Any]
"""`pid`, `api`, `edge`, `token`, `version`."""


def folder() -> str:
    """Where everything of it is kept."""
    return f"{wire.state_dir()}/localfly"


def argv(flags: list[str]) -> list[str]:
    """The program and its flags."""
    return [sys.executable, "-P", "-m", "mcpctld.localfly", *flags]


def find() -> Place | None:
    """The one that runs; None if there is none."""
    try:
        with open(f"{folder()}/localfly.json", encoding="utf-8") as file:
            place: Place = json.load(file)
        os.kill(place["pid"], 0)
    except (OSError, ValueError, TypeError, KeyError):  # a file that a crash has left
        return None
    return place


def start(flags: list[str]) -> Place:
    """Start it in the background, and wait until it serves. Raises `CtlError`."""
    os.makedirs(folder(), mode=0o700, exist_ok=True)
    errors = f"{folder()}/start.err"
    with open(errors, "wb", opener=_private) as stderr:
        process = subprocess.Popen(  # noqa: S603  (our own program)
            argv(["--log", *flags]),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            env=_environment(),
            cwd=folder(),
            start_new_session=True,
        )
    deadline = time.monotonic() + START_BOUND_S
    while time.monotonic() < deadline:
        place = find()
        if place is not None and place["pid"] == process.pid:
            process.returncode = 0  # it is not ours to wait for any more
            return place
        if process.poll() is not None:
            raise CtlError("unreachable", f"the local Fly did not start: {_last_words(errors)}")
        time.sleep(POLL_S)
    raise CtlError(
        "timeout",
        f"the local Fly does not answer within {START_BOUND_S:.0f} s; see {folder()}/localfly.log",
    )


def _environment() -> dict[str, str]:
    settings = {key: os.environ[key] for key in os.environ if key.startswith(PACKAGE_SETTINGS)}
    return clean_environment() | settings


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _last_words(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read(4096).strip() or "it said nothing"


def stop(place: Place) -> None:
    """End it with its machines, and wait for that. Raises `CtlError`."""
    try:
        os.kill(place["pid"], signal.SIGTERM)
    except ProcessLookupError:
        return
    if not wait_gone(place["pid"], STOP_BOUND_S):
        raise CtlError(
            "timeout",
            f"the local Fly, process {place['pid']}, still runs after {STOP_BOUND_S:.0f} s",
        )
