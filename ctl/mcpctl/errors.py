"""What a command can fail with. `kind` is a key of `wire.KINDS` and so the exit code."""

from mcpctl import wire


class CtlError(Exception):
    """A failure that is told to the user: `kind` decides the exit code, the text goes to stderr."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind

    @property
    def exit_code(self) -> int:
        """What the command exits with."""
        return wire.exit_code(self.kind)


class UsageError(CtlError):
    """The command line, or a file it names, is wrong."""

    def __init__(self, message: str) -> None:
        super().__init__("bad-request", message)


class NotRunning(CtlError):
    """No daemon listens at `path`."""

    def __init__(self, path: str, why: str = "") -> None:
        because = f" ({why})" if why else ""
        super().__init__(
            "not-running",
            f"the daemon is not running: nothing listens at {path}{because}; "
            "start it with 'mcpctl daemon start'",
        )
        self.path = path


class ApiError(CtlError):
    """The daemon refused, or failed to do, what it was asked."""


class SessionEnded(CtlError):
    """The daemon ended a session of ours before it had answered; its exit code becomes ours."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(_kind_of(code), text or f"the session ended with code {code}")


def _kind_of(code: int) -> str:
    return next((kind for kind, row in wire.KINDS.items() if row[1] == code), "peer")
