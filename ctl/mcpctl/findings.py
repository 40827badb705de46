"""What `mcpctl doctor` finds at one step of the way to a server."""

from typing import Literal, TypedDict

from mcpctl import output

Level = Literal["ok", "warning", "problem", "skipped"]


class Finding(TypedDict):
    """What one step has found."""

    step: str
    level: Level
    message: str


def found(step: str, level: Level, message: str) -> Finding:
    """One of them; what servers say in it cannot drive a terminal."""
    return {"step": step, "level": level, "message": output.one_line(message)}
