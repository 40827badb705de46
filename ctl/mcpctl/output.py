"""What commands print: plain ASCII tables, stable JSON on stdout; notes on stderr."""

import json
import sys
import time
from collections.abc import Sequence
from typing import TextIO

_CONTROLS = {
    code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if code not in (9, 10)
}
"""Text from servers must not drive the terminal: control characters are shown, not sent."""

_ONE_LINE = {**_CONTROLS, 9: " ", 10: " "}


def as_json(value: object, *, compact: bool = False) -> None:
    """Print one JSON document; compact ones take one line each."""
    print(json.dumps(value) if compact else json.dumps(value, indent=2))


def note(text: str) -> None:
    """Say something beside the answer."""
    sys.stdout.flush()
    sys.stderr.write(f"mcpctl: {one_line(text)}\n")


def table(head: Sequence[str], rows: Sequence[Sequence[object]], empty: str = "") -> None:
    """Print rows below a heading; numbers are set to the right, None is a dash.

    Without rows `empty` is printed, when there is one.
    """
    if empty and not rows:
        print(empty)
        return
    cells = [[cell(value) for value in row] for row in rows]
    widths = [max(len(text) for text in column) for column in zip(head, *cells, strict=True)]
    right = [any(isinstance(row[index], int | float) for row in rows) for index in range(len(head))]
    for texts in (list(head), *cells):
        aligned = [
            text.rjust(width) if to_right else text.ljust(width)
            for text, width, to_right in zip(texts, widths, right, strict=True)
        ]
        print("  ".join(aligned).rstrip())


def cell(value: object) -> str:
    """One value as a table shows it."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.1f}"
    return one_line(str(value))


def one_line(text: str) -> str:
    """`text` without line breaks and control characters."""
    return text.translate(_ONE_LINE)


def harmless(text: str, stream: TextIO) -> str:
    """Text of a server: as it is into a pipe or file, without control characters for a terminal."""
    return text.translate(_CONTROLS) if stream.isatty() else text


def text_out(text: str) -> None:
    """Print text of a server."""
    print(harmless(text, sys.stdout))


def moment(at: float | None) -> str | None:
    """A time in Unix seconds by this computer's clock, to the minute."""
    return None if at is None else time.strftime("%a %H:%M", time.localtime(at))


def ago(since: float) -> str:
    """How long ago a time in Unix seconds was, in its two largest units."""
    return span(time.time() - since)


def span(seconds: float) -> str:
    """A duration in its two largest units."""
    seconds = max(0, int(seconds))
    for size, unit, small, small_unit in (
        (86400, "d", 3600, "h"),
        (3600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if seconds >= size:
            return f"{seconds // size} {unit} {seconds % size // small} {small_unit}"
    return f"{seconds} s"
