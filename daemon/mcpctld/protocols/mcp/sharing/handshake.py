"""The handshake of a shared session: made by one client, the founder, and good for all."""

from mcpctld.protocols.jsonrpc import Kind, Message, notification_line
from mcpctld.protocols.mcp.sharing.calls import Member

_INITIALIZED = notification_line("notifications/initialized")


class Handshake:
    """`initialize`, its answer, and `notifications/initialized`, in the founder's words."""

    def __init__(self) -> None:
        self.founder: Member | None = None
        """Who began it, even when it has gone since; None when there is none."""
        self.initialize: Message | None = None
        self.answer: Message | None = None
        """The result; it carries an id of the process's."""
        self.initialized = b""
        """What ended it, once it was said."""
        self._id = b""

    def begin(self, founder: Member | None, initialize: Message | None, id: bytes) -> None:
        """A client asks for a session; the process has the request under this id."""
        self.founder, self.initialize, self._id = founder, initialize, id
        self.answer, self.initialized = None, b""

    @property
    def speaker(self) -> Member | None:
        """The only one who may speak, while the answer is not there; else None."""
        return None if self.answer is not None else self.founder

    def end(self, id: bytes, answer: Message | None) -> None:
        """The request with this id has been answered, or will not be: then the next client makes the session."""
        if id != self._id or self.answer is not None:
            return
        if answer is not None and answer.kind is Kind.RESULT:
            self.answer = answer
        else:
            self.broke()

    def broke(self) -> None:
        """What was under way is lost; a session that was made is not."""
        if self.answer is None:
            self.begin(None, None, b"")

    def say_initialized(self, line: bytes = _INITIALIZED) -> bool:
        """`notifications/initialized` is said: whether the process has yet to hear it."""
        if self.initialized:
            return False
        if self.founder is not None:
            self.initialized = line
        return True
