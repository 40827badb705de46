"""Questions that no request of the client can be stopped for: they are asked with the next one.

A legacy server may ask at any time; `roots/list` right after `notifications/initialized` is common.
"""

from collections.abc import Callable, Mapping
from functools import partial

from mcpctld.protocols.jsonrpc import INTERNAL_ERROR
from mcpctld.protocols.mcp.modern_to_legacy.questions import Question
from mcpctld.protocols.mcp.modern_to_legacy.requests import METHOD_NOT_FOUND, Refusal
from mcpctld.protocols.mcp.modern_to_legacy.timers import Timers

MAX_UNPLACED = 64
EXPIRY_S = 600.0
"""For so long the answer to a question is waited for: people think, and leave their desks."""
GRACE_S = 2.0
"""A server that asks for roots while it makes a list may need them for it: longer the list is not held up."""

TOO_MANY = Refusal(INTERNAL_ERROR, "too many questions wait for a request of the client")
BUSY = Refusal(METHOD_NOT_FOUND, "the client cannot be asked during this request")
EXPIRED = Refusal(INTERNAL_ERROR, f"the client made no request to ask it with in {EXPIRY_S:g} s")

Refuse = Callable[[Question, Refusal], None]
"""Takes a question that will not be answered, and why."""


class Unplaced:
    """In the order in which they came."""

    def __init__(
        self, timers: Timers, busy: Callable[[], frozenset[bytes]], refuse: Refuse
    ) -> None:
        """`busy`: the requests (ids at the server) that it works on, none of which can be stopped for a question."""
        self._timers = timers
        self._busy = busy
        self._refuse = refuse
        self._questions: list[Question] = []

    def add(self, question: Question, now: float) -> None:
        """Keep a question until somebody claims it."""
        if len(self._questions) >= MAX_UNPLACED:
            self._refuse(question, TOO_MANY)
            return
        question.move(self._questions)
        if busy := self._busy():
            self._timers.set(question, now, GRACE_S, partial(self._recheck, question, busy))
        else:
            self._keep(question, now)

    def claim(self, capabilities: Mapping[str, bytes]) -> list[Question]:
        """All that a client with these capabilities may be asked."""
        claimed = [q for q in self._questions if q.refusal(capabilities) is None]
        for question in claimed:
            self._timers.drop(question)
        return claimed

    def _recheck(self, question: Question, busy: frozenset[bytes], now: float) -> None:
        if busy & self._busy():
            self._refuse(question, BUSY)
        else:
            self._keep(question, now)

    def _keep(self, question: Question, now: float) -> None:
        self._timers.set(question, now, EXPIRY_S, partial(self._expire, question))

    def _expire(self, question: Question, now: float) -> None:
        self._refuse(question, EXPIRED)
