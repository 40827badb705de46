"""Requests that are made again: which may be, how often, and under what id."""

import random
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from mcpctld.errors import McpctlError, PeerError, TimedOut, Unreachable
from mcpctld.protocols.jsonrpc import Message, id_key, parse, with_id
from mcpctld.protocols.mcp.tools import may_repeat
from mcpctld.upstreams import Context
from mcpctld.upstreams._deadlines import Deadlines

MAX_TRIES = 3
FIRST_PAUSE_S = 0.1
PAUSE_GROWTH = 4.0


@dataclass(slots=True)
class Retry:
    """One request that was made more than once."""

    original: Message
    tries: int = 0
    alias: bytes = b""
    """The id under which the server got it last, where that is not its own."""
    lost: bool = False
    """Whether it was refused because the session was gone."""


class Retries:
    """Of one session. Requests are known by their original id."""

    def __init__(self, context: Context) -> None:
        self._shared = context.shared
        self._retries: dict[Hashable, Retry] = {}
        self._aliases: dict[Hashable, Retry] = {}
        self._deadlines: Deadlines[Hashable] = Deadlines(context.nursery)
        self._mark = random.getrandbits(32)
        self._numbers = 0

    @property
    def active(self) -> bool:
        """Whether any request was made again and has no answer yet."""
        return bool(self._retries)

    def allows(self, request: Message, error: McpctlError) -> bool:
        """Whether it may be made once more after it failed with `error`."""
        retry = self._retries.get(id_key(request.id))
        if error.exhausted or (retry is not None and retry.tries >= MAX_TRIES):
            return False
        if error.unprocessed:
            return True
        return _is_interruption(error) and may_repeat(request, self._shared.facts.tools)

    def later(self, request: Message, error: McpctlError, send: Callable[[Message], None]) -> None:
        """Make it again after a pause: under a new id, unless the server has provably not seen this one."""
        retry = self.again(request)
        if not error.unprocessed:
            retry.alias = self._new_id()
        pause = FIRST_PAUSE_S * PAUSE_GROWTH ** (retry.tries - 1)
        pause *= random.uniform(0.5, 1.5)  # noqa: S311  (jitter)
        key = id_key(request.id)
        self._deadlines.set(key, pause, lambda key: self._send(key, send))

    def again(self, request: Message) -> Retry:
        """Count one more attempt; under its own id, as in a new session all ids are new."""
        retry = self._retries.setdefault(id_key(request.id), Retry(request))
        self._aliases.pop(id_key(retry.alias), None)
        retry.alias = b""
        retry.tries += 1
        return retry

    def _send(self, key: Hashable, send: Callable[[Message], None]) -> None:
        retry = self._retries[key]
        if not retry.alias:
            send(retry.original)
            return
        self._aliases[id_key(retry.alias)] = retry
        message = parse(with_id(retry.original, retry.alias))
        assert isinstance(message, Message)
        send(message)

    def _new_id(self) -> bytes:
        """MCP, base protocol: an id MUST NOT be used twice in a session."""
        self._numbers += 1
        return b'"mcpctl:again:%x:%d"' % (self._mark, self._numbers)

    def original(self, key: Hashable, request: Message) -> Message:
        """The request as the client made it; `key`: of the id that the server saw."""
        retry = self._aliases.get(key)
        return request if retry is None else retry.original

    def restore(self, answer: Message) -> Message:
        """An answer under the id that the client gave."""
        retry = self._aliases.pop(id_key(answer.id), None)
        if retry is None:
            self._retries.pop(id_key(answer.id), None)
            return answer
        self._retries.pop(id_key(retry.original.id), None)
        message = parse(with_id(answer, retry.original.id))
        assert isinstance(message, Message)
        return message

    def drop(self, id: bytes) -> bytes | None:
        """It is over, or given up: the id by which the server knows it, if that is another one."""
        key = id_key(id)
        self._deadlines.drop(key)
        retry = self._retries.pop(key, None)
        if retry is None or not retry.alias:
            return None
        self._aliases.pop(id_key(retry.alias), None)
        return retry.alias

    def note_lost(self, id: bytes) -> None:
        """The request, by its own id, was refused because the session was gone."""
        retry = self._retries.get(id_key(id))
        if retry is not None:
            retry.lost = True

    def was_lost(self, id: bytes) -> bool:
        """Whether that has happened to the request before; by the id that the server saw."""
        key = id_key(id)
        retry = self._retries.get(key) or self._aliases.get(key)
        return retry is not None and retry.lost

    def close(self) -> None:
        """Nothing is made again any more."""
        self._deadlines.clear()


def _is_interruption(error: McpctlError) -> bool:
    """Whether the answer got lost on the way, as opposed to refused."""
    return isinstance(error, Unreachable | TimedOut) or (
        isinstance(error, PeerError) and error.interrupted
    )
