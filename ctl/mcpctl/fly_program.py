"""Runs `mcpctld.launch`, the program that makes, changes and destroys things on Fly, and hears what it says.

It is a process of the user's own, not the daemon: what reaches the daemon's socket can launch nothing. The request is
one JSON object on its stdin, where nobody sees the secrets in it; it answers in lines of JSON:

| event | members | |
|---|---|---|
| `step`, `log` | `text`, `name` of a step | progress, shown on stderr unless the caller takes it |
| `error` | `kind`, `message` | how it ended |
| `result` | what was asked for | how it ended |

Ctrl-C is passed on, and its end waited for: it undoes what it has begun.
"""

import contextlib
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import IO, Any

from mcpctl import output, wire
from mcpctl.errors import CtlError

PROGRAM = "mcpctld.launch"
OFFLINE = "mcpctld.launch.offline"
"""The same for what is told without asking Fly; it loads in no time."""

Event = dict[str, Any]


def run(
    operation: str,
    request: Event,
    *,
    program: str = PROGRAM,
    takes: Callable[[Event], bool] | None = None,
    within_s: float | None = None,
) -> Event:
    """The result of an operation, without its `event`. Raises `CtlError` with what the program says went wrong.

    `takes` sees each step and line of a log as it comes, and answers whether that is all that has to be done about it.
    `within_s` is for what changes nothing: the program is killed then, and that is a `timeout`.
    """
    words = [sys.executable, "-P", "-m", program, operation]
    # A process group of its own: a terminal's Ctrl-C would reach it twice, and the second one cuts its undoing short.
    with (
        _terminated_as_interrupted(),
        subprocess.Popen(  # noqa: S603  (constant words, no shell)
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, process_group=0
        ) as child,
    ):
        assert child.stdin
        assert child.stdout
        conversation = _Conversation(takes)
        try:
            with _bounded(child, operation, within_s):
                _send(child.stdin, request)
                conversation.read(child.stdout)
        except KeyboardInterrupt:
            conversation.read_to_the_end(child)
            conversation.say_how_it_ended()
            raise
        except BaseException:
            child.send_signal(signal.SIGINT)
            raise
    return conversation.outcome(operation, child.returncode)


@contextlib.contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM ends us as Ctrl-C does: else the program would go on by itself, and nobody write the server down."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _bounded(
    child: subprocess.Popen[bytes], operation: str, within_s: float | None
) -> Iterator[None]:
    """Kill the program when the block takes longer: then it raises `timeout`."""
    if within_s is None:
        yield
        return
    expired = threading.Event()

    def end() -> None:
        expired.set()
        child.kill()

    timer = threading.Timer(within_s, end)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
    if expired.is_set():
        raise CtlError("timeout", f"no answer to {operation} within {within_s:g} s")


def offline(operation: str, request: Event) -> Event:
    """The result of an operation that asks nobody."""
    return run(operation, request, program=OFFLINE)


class _Conversation:
    def __init__(self, takes: Callable[[Event], bool] | None) -> None:
        self._takes = takes
        self._last: Event = {}

    def read(self, lines: IO[bytes]) -> None:
        for line in lines:
            self._hear(_parsed(line))

    def read_to_the_end(self, child: subprocess.Popen[bytes]) -> None:
        """Have the program end, and hear it out; each further Ctrl-C is passed on, too."""
        assert child.stdout
        while True:
            child.send_signal(signal.SIGINT)
            try:
                return self.read(child.stdout)
            except KeyboardInterrupt:
                continue

    def say_how_it_ended(self) -> None:
        """For the user who has interrupted it: what he may do now."""
        if self._last.get("event") == "error":
            output.note(str(self._last.get("message")))

    def outcome(self, operation: str, code: int) -> Event:
        kind = self._last.pop("event", None)
        if kind == "result":
            return self._last
        if kind == "error":
            raise CtlError(_known(self._last.get("kind")), str(self._last.get("message")))
        if code in (-signal.SIGINT, 130):
            raise KeyboardInterrupt
        raise CtlError(
            "internal",
            f"{operation} ended with code {code} and said nothing; see above for the reason",
        )

    def _hear(self, event: Event) -> None:
        kind = event.get("event")
        if kind in ("step", "log"):
            if not (self._takes and self._takes(event)):
                output.note(str(event.get("text")))
        elif kind in ("result", "error"):
            self._last = event


def _send(stdin: IO[bytes], request: Event) -> None:
    try:
        with stdin:
            stdin.write(json.dumps(request).encode())
    except BrokenPipeError:  # it has ended already, and says why
        pass


def _parsed(line: bytes) -> Event:
    try:
        event = json.loads(line)
    except ValueError:
        event = None
    if not isinstance(event, dict):
        raise CtlError("internal", f"cannot understand what {PROGRAM} says: {line[:200]!r}")
    return event


def _known(kind: object) -> str:
    return kind if isinstance(kind, str) and kind in wire.KINDS else "internal"
