"""What is told while it is done: events, one JSON object a line."""

import json
import sys
from collections.abc import Callable
from typing import Any

Tell = Callable[[dict[str, Any]], None]
"""Takes one event; its `event` is `step`, `log`, `result` or `error`."""


def tell_stdout(event: dict[str, Any]) -> None:
    """Write an event for whoever started us. Nobody may be listening any more."""
    try:
        sys.stdout.write(json.dumps(event, ensure_ascii=False, separators=(",", ":")) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        pass


def step(name: str, text: str) -> dict[str, Any]:
    """Something was done. `name` is the same each time, for programs; `text` is for people."""
    return {"event": "step", "name": name, "text": text}


def log(text: str, **more: Any) -> dict[str, Any]:
    """Something to know."""
    return {"event": "log", "text": text, **more}


def result(**members: Any) -> dict[str, Any]:
    """How it ended; the last event."""
    return {"event": "result", **members}


def error(kind: str, message: str) -> dict[str, Any]:
    """Why it failed; the last event. `kind` is a key of `mcpctl.wire.KINDS`."""
    return {"event": "error", "kind": kind, "message": message, "text": message}
