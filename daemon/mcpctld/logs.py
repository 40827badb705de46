"""Structured logs: one JSON object a line, `ts`, `level`, `event` and whatever fields belong to the event.

An event has a short dotted name (`session.closed`); what varies is in fields, given as `extra`.
"""

import json
import logging
import logging.handlers
import os
import sys
import time
from collections.abc import MutableMapping
from typing import Any

from mcpctld.errors import UserError

MAX_BYTES = 5 * 1024 * 1024
BACKUPS = 3

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class FieldLogger(logging.LoggerAdapter[logging.Logger]):
    """Adds the same fields to every event."""

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        """Merge, where the standard one replaces (until Python 3.13)."""
        kwargs["extra"] = {**(self.extra or {}), **kwargs.get("extra", {})}
        return msg, kwargs


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """`{"ts": …, "level": …, "event": …, …fields}`."""
        line: dict[str, Any] = {
            "ts": round(record.created, 6),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **{key: value for key, value in vars(record).items() if key not in _STANDARD},
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return _encode(line)


_encode = json.JSONEncoder(ensure_ascii=False, default=str).encode


class TextFormatter(logging.Formatter):
    """A record for a terminal or the journal."""

    def format(self, record: logging.LogRecord) -> str:
        """`HH:MM:SS level event key=value …`."""
        fields = " ".join(
            f"{key}={value}" for key, value in vars(record).items() if key not in _STANDARD
        )
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        text = f"{clock} {record.levelname.lower():7} {record.getMessage()} {fields}".rstrip()
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


class RotatingLog(logging.handlers.RotatingFileHandler):
    """Decides by what the file holds: the standard one formats each record a second time for it."""

    def shouldRollover(self, record: logging.LogRecord) -> bool:  # noqa: N802  (the library's name)
        """Whether the file is full."""
        return self.stream is not None and os.fstat(self.stream.fileno()).st_size >= self.maxBytes


def open_log(path: str, *, to_stderr: bool) -> None:
    """Send all logs to the file at `path` (0600, rotated), and for people to stderr. Raises `UserError`."""
    logging.raiseExceptions = False  # a full disk must not fill stderr with tracebacks
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = (
        False  # nobody reads it
    )
    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600))
        handler = RotatingLog(path, maxBytes=MAX_BYTES, backupCount=BACKUPS, encoding="utf-8")
    except OSError as exc:
        raise UserError(
            f"cannot write the log {path}: {exc.strerror}; set MCPCTL_STATE_DIR to a folder of your own"
        ) from exc
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.addHandler(handler)
    if to_stderr:
        stream = logging.StreamHandler(sys.stderr)
        stream.setFormatter(TextFormatter())
        root.addHandler(stream)
    _quieten(root)


def log_to_stderr() -> None:
    """Send all logs to stderr, as JSON: what runs in a machine is read by whoever collects its output."""
    logging.raiseExceptions = False
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.addHandler(handler)
    _quieten(root)


def _quieten(root: logging.Logger) -> None:
    root.setLevel(logging.INFO)
    for noisy in ("httpx", "httpcore", "watchfiles", "keyring", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def set_level(name: str) -> None:
    """`debug`, `info`, `warning` or `error`."""
    logging.getLogger().setLevel(name.upper())
