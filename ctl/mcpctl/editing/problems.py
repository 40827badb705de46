"""Why a file is left alone."""

from mcpctl.errors import CtlError


class Unreadable(CtlError):
    """The text is not of its format; the message says where."""

    def __init__(self, message: str) -> None:
        super().__init__("bad-request", message)


class Uneditable(CtlError):
    """It can be read, but not be changed without touching what is not ours; the message says why."""

    def __init__(self, message: str) -> None:
        super().__init__("bad-request", message)
