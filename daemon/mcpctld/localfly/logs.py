"""The log of an app: what its machines, the proxy and the runner said, the newest thousand lines of it."""

import contextlib
import os
from collections import deque
from typing import Any, TextIO

import msgspec

from mcpctld.localfly.machines import rfc3339

MOST_LINES = 1000
PAGE = 100
MOST_FILE_BYTES = 4 * 1024 * 1024


class Line(msgspec.Struct, kw_only=True):
    """A line. `id`: nanoseconds of Unix time, made to differ."""

    id: int
    message: str
    level: str
    instance: str
    region: str
    provider: str


class LogBook:
    """Kept in memory and in a file."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._lines: deque[Line] = deque(_read(path), MOST_LINES)
        self._file: TextIO | None = None

    def add(self, line: Line) -> None:
        """A new line; its id is raised if it is not above the last."""
        if self._lines and line.id <= self._lines[-1].id:
            line.id = self._lines[-1].id + 1
        self._lines.append(line)
        with contextlib.suppress(OSError):  # of a full disk; the line is there as long as we are
            self._store(line)

    def _store(self, line: Line) -> None:
        if self._file is None:
            os.makedirs(os.path.dirname(self._path), mode=0o700, exist_ok=True)
            self._file = open(self._path, "a", encoding="utf-8", opener=_private)  # noqa: SIM115
        self._file.write(msgspec.json.encode(line).decode() + "\n")
        self._file.flush()
        if self._file.tell() > MOST_FILE_BYTES:
            self.close()
            with open(self._path, "w", encoding="utf-8", opener=_private) as file:
                file.writelines(msgspec.json.encode(each).decode() + "\n" for each in self._lines)

    def page(self, token: int, region: str = "", instance: str = "") -> tuple[list[Line], int]:
        """Lines after `token`, oldest first, and the token of the next page; 0 for the newest lines."""
        fitting = [
            line
            for line in self._lines
            if line.id > token
            and (not region or line.region == region)
            and (not instance or line.instance == instance)
        ]
        found = fitting[:PAGE] if token else fitting[-PAGE:]
        return found, found[-1].id if found else token

    def close(self) -> None:
        """Close the file; the next line opens it again."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _read(path: str) -> list[Line]:
    lines = []
    try:
        with open(path, "rb") as file:
            for raw in deque(file, MOST_LINES):
                with contextlib.suppress(msgspec.DecodeError):  # cut off by a crash
                    lines.append(msgspec.json.decode(raw, type=Line))
    except OSError:
        return []
    return lines


def as_json(line: Line) -> dict[str, Any]:
    """A line as the logs API has it."""
    nanoseconds = line.id % 1_000_000_000
    timestamp = rfc3339(line.id / 1e9).replace("Z", f".{nanoseconds:09d}Z")
    return {
        "id": str(line.id),
        "type": "log",
        "attributes": {
            "timestamp": timestamp,
            "message": line.message,
            "level": line.level,
            "instance": line.instance,
            "region": line.region,
            "meta": {
                "instance": line.instance,
                "region": line.region,
                "event": {"provider": line.provider},
            },
        },
    }
