"""`mcpctl logs`: the daemon's log, read from its file, so that it works without a daemon; or a launched server's."""

import argparse
import collections
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from mcpctl import output
from mcpctl.commands.common import Commands, command, json_flag
from mcpctl.daemon_process import log_file
from mcpctl.errors import CtlError, UsageError

LINES = 50
POLL_S = 0.2

Line = dict[str, Any]
_COLUMNS = ("timestamp", "provider", "instance", "region", "level", "text")


def add_to(commands: Commands) -> None:
    """Add the parsers of this module."""
    parser = command(commands, "logs", show, "show a log")
    parser.add_argument("name", nargs="?", metavar="NAME", help="that of a launched server")
    parser.add_argument("--daemon", action="store_true", help="that of the daemon")
    parser.add_argument(
        "-n",
        "--lines",
        type=_count,
        metavar="N",
        help="the last N lines (of the daemon's log 50, when not given)",
    )
    parser.add_argument("-f", "--follow", action="store_true", help="stay and print what comes")
    parser.add_argument(
        "--no-tail", action="store_true", help="of a launched server: print what there is, and end"
    )
    json_flag(parser)


def show(args: argparse.Namespace) -> int:
    """Print the last lines of a log, then those that come when asked to follow."""
    if args.daemon == (args.name is not None):
        raise UsageError("say whose log: mcpctl logs NAME, or mcpctl logs --daemon")
    if args.name is not None:
        return _show_server(args)
    lines = LINES if args.lines is None else args.lines
    for line in read(log_file(), lines, follow=args.follow):
        text = line.decode("utf-8", "backslashreplace").rstrip("\n")
        print(text if args.json else output.one_line(human(text)), flush=args.follow)
    return 0


def _show_server(args: argparse.Namespace) -> int:
    """The log of a launched server, from Fly."""
    from mcpctl import fly_program, fly_servers

    place = fly_servers.place_of(args.name)
    count = args.lines
    kept: collections.deque[Line] = collections.deque(maxlen=count)
    tail = args.follow or (count is None and not args.no_tail)
    show = kept.append if count is not None and not tail else _printer(args)

    def takes(event: Line) -> bool:
        if event["event"] == "log":
            show(event)
        return True

    fly_program.run("logs", {**place, "tail": tail}, takes=takes)
    for line in kept:
        _printer(args)(line)
    return 0


def _printer(args: argparse.Namespace) -> Callable[[Line], None]:
    """Prints a line of a server's log as it comes."""

    def show(line: Line) -> None:
        if args.json:
            output.as_json({key: line[key] for key in line if key != "event"}, compact=True)
        else:
            print(output.one_line(" ".join(str(line.get(key) or "-") for key in _COLUMNS)))
        sys.stdout.flush()

    return show


def read(path: str, count: int, *, follow: bool) -> Iterator[bytes]:
    """The last `count` lines; then lines as they are written, on and on through rotation."""
    with _open(path) as file:
        yield from collections.deque(file, maxlen=count)
        if not follow:
            return
        yield from _until_replaced(file, path)
    while True:
        with _open(path) as file:
            yield from _until_replaced(file, path)


def human(line: str) -> str:
    """One line of the log for eyes: `HH:MM:SS level event key=value`; broken ones as they are."""
    try:
        record = json.loads(line)
        clock = time.strftime("%H:%M:%S", time.localtime(record.pop("ts")))
        words = [clock, f"{record.pop('level', '-'):<7}", str(record.pop("event", "-"))]
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return line
    return " ".join(words + [f"{key}={_value(value)}" for key, value in record.items()])


def _value(value: Any) -> str:
    if isinstance(value, str) and value and not any(c in value for c in ' "=\n\t'):
        return value
    return json.dumps(value, ensure_ascii=False)


def _until_replaced(file: BinaryIO, path: str) -> Iterator[bytes]:
    part = b""
    while True:
        part += file.readline()
        if part.endswith(b"\n"):
            yield part
            part = b""
        elif _is_replaced(file, path):
            yield from file  # what was written before it was put aside
            return
        else:
            time.sleep(POLL_S)


def _is_replaced(file: BinaryIO, path: str) -> bool:
    """Whether `path` is another file by now, or was cut."""
    mine = os.fstat(file.fileno())
    try:
        there = os.stat(path)
    except FileNotFoundError:
        return False  # between the two steps of a rotation: the new one comes
    same = (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino)
    return not same or there.st_size < file.tell()


def _open(path: str) -> BinaryIO:
    try:
        return open(path, "rb")
    except FileNotFoundError as exc:
        raise CtlError("not-found", f"there is no log yet: {path} does not exist") from exc
    except OSError as exc:
        raise CtlError("denied", f"cannot read {path}: {exc.strerror}") from exc


def _count(text: str) -> int:
    count = int(text)
    if count < 0:
        raise argparse.ArgumentTypeError("must not be negative")
    return count
