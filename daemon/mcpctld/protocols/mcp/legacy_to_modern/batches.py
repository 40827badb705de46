"""Requests that came in one array, and are answered in one (MCP 2025-03-26, base protocol, "Batching")."""

from collections.abc import Hashable

from mcpctld.protocols.jsonrpc import Batch, Message, id_key
from mcpctld.protocols.mcp.objects import close_array


class _Open:
    """A batch whose answers are being collected."""

    def __init__(self, keys: set[Hashable]) -> None:
        self.missing = keys
        self.answers: list[Message] = []


class Batches:
    """The client's batches that are not answered yet."""

    def __init__(self) -> None:
        self._open: dict[Hashable, _Open] = {}

    def begin(self, ids: list[bytes]) -> None:
        """Requests with these ids came in one batch."""
        batch = _Open({id_key(id) for id in ids})
        self._open.update(dict.fromkeys(batch.missing, batch))

    def holds(self, id: bytes) -> bool:
        """Whether the answer to this request belongs into an array."""
        return bool(self._open) and id_key(id) in self._open

    def receive_answer(self, answer: Message) -> Batch | None:
        """The answer to one that `holds`; all of them after the last."""
        batch = self._open[id_key(answer.id)]
        batch.answers.append(answer)
        return self.forget(answer.id)

    def forget(self, id: bytes) -> Batch | None:
        """No answer will come to this one, wherever it belongs; the others, if it was the last."""
        batch = self._open.pop(id_key(id), None)
        if batch is None:
            return None
        batch.missing.discard(id_key(id))
        if batch.missing or not batch.answers:
            return None
        return Batch(close_array(answer.raw for answer in batch.answers), batch.answers)
