"""A session's checkpoint: the client's words are read into it, and what the next daemon must know is kept there."""

import time
from collections.abc import Hashable, Iterable

import msgspec

from mcpctld.drivers.mapped import Mapped
from mcpctld.protocols.checkpoint import Checkpoint
from mcpctld.protocols.checkpoint_format import Found, Mark, Notes
from mcpctld.protocols.jsonrpc import (
    Kind,
    Malformed,
    Message,
    parse,
    read_initialize_result,
    read_params,
)
from mcpctld.protocols.mcp.script import MAX_SUBSCRIPTIONS, promised_lists

INITIALIZED = "notifications/initialized"


class Logbook:
    """A `Checkpoint` in the memory that the stub brought, and which of its lines make the client's session.

    Those are kept when they are done: `initialize`, `notifications/initialized`, the log level, subscriptions.
    """

    def __init__(self, memory: Mapped, max_length: int, found: Found | None) -> None:
        self.found = found
        """What another daemon left; its lines are numbered from 1 on."""
        self.lines = Checkpoint(memory, max_length, Notes(started_at=time.time()), found)
        self._memory = memory
        self._said: dict[Hashable, int] = {}
        for number, line in enumerate(() if found is None else found.lines, 1):
            if line.mark == Mark.KEPT:
                self._keep(_key(message_of(line.text)), number)

    def remember(self, remembrance: bytes) -> None:
        """Keep something for the upstream, which the next daemon's finds in the notes."""
        self.lines.note(msgspec.structs.replace(self.lines.notes, remembrance=remembrance))

    def leave(self, output: bytes, answered: Iterable[int]) -> None:
        """Leave it to the next daemon to send `output`, in which the answers to those lines stand."""
        notes = self.lines.notes
        self.lines.leave(msgspec.structs.replace(notes, output=output), answered)

    def sent(self) -> None:
        """The client has got all that the last daemon owed it."""
        self.lines.sent(len(self.lines.notes.output))
        self.lines.note(msgspec.structs.replace(self.lines.notes, output=b""))

    def close(self) -> None:
        """Let go of the memory; it lives on as long as the stub does."""
        self._memory.close()

    # ------------------------------------------------------------ what makes the session

    def initialized(self, number: int) -> None:
        """The client says that it is ready."""
        self._keep(INITIALIZED, number)

    def settle(self, number: int, answer: Message) -> None:
        """One of the `SETTLING` requests was answered."""
        if answer.kind is not Kind.RESULT:
            return
        request = message_of(self.lines.text(number))
        if request is None:
            return
        key = _key(request)
        if request.method == "resources/unsubscribe":
            self._forget(key)
            return
        if request.method == "initialize":
            self._begin(answer)
        self._keep(key, number)

    def _begin(self, answer: Message) -> None:
        for key in tuple(self._said):
            self._forget(key)
        revision = read_initialize_result(answer).protocol_version or ""
        promised = promised_lists(answer.result)
        notes = msgspec.structs.replace(self.lines.notes, revision=revision, promised=promised)
        self.lines.note(notes)

    def _keep(self, key: Hashable, number: int) -> None:
        if key is not None and len(self._said) < MAX_SUBSCRIPTIONS:
            self._forget(key)
            self._said[key] = number
            self.lines.keep(number)

    def _forget(self, key: Hashable) -> None:
        if (number := self._said.pop(key, None)) is not None:
            self.lines.drop(number)


def _key(message: Message | None) -> Hashable:
    """What a message settles: another with the same key takes its place."""
    if message is None:
        return None
    if message.method.startswith("resources/"):
        return "subscription", read_params(message).uri
    return message.method


def message_of(text: bytes) -> Message | None:
    """The message in a line; None if there is none, or a batch."""
    try:
        message = parse(text.removesuffix(b"\r"))
    except Malformed:
        return None
    return message if isinstance(message, Message) else None
