"""Multi Round-Trip Requests, played as a server of older revisions would: with requests to the client.

MCP 2026-07-28, "Multi Round-Trip Requests": a server that needs something of the client answers `input_required`; it is
asked again with the answers. One `Rounds` is what that takes for one request of the client: `receive_round` gives the
questions, `receive_answer` takes what the client says, and when the time has come `take_retry` is what to add.
"""

import math
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import NamedTuple

from mcpctld.errors import Denied, McpctlError, PeerError, UserError
from mcpctld.protocols.jsonrpc import Kind, Message, id_key, read_error
from mcpctld.protocols.mcp.legacy_to_modern.envelope import strip_meta
from mcpctld.protocols.mcp.legacy_to_modern.initialize import Ask, Client
from mcpctld.protocols.mcp.legacy_to_modern.pauses import Pauses
from mcpctld.protocols.mcp.methods import LEGACY
from mcpctld.protocols.mcp.objects import close_object, open_object, open_text, read_part

MAX_ROUNDS = 10
MAX_QUESTIONS = 64
"""In one round."""
QUESTION_S = 600.0
"""How long a question may take: people answer some of them. Progress starts it anew."""
FIRST_PAUSE_S, LAST_PAUSE_S = 0.05, 0.25
"""Before the next round, when a server wants nothing but to be asked again."""
FIRST_VISIT_PAUSE_S, LAST_VISIT_PAUSE_S = 1.0, 15.0
"""The same, when it waits for what the user does at a URL."""

_CANCEL = b'{"action":"cancel"}'
_KINDS = {"sampling/createMessage": Ask.SAMPLING, "roots/list": Ask.ROOTS}


class NotOffered(UserError):
    """The server asks for what the client has not said that it can do."""


class Wish(NamedTuple):
    """One entry of `inputRequests`."""

    name: str
    method: str
    params: dict[str, bytes]

    @property
    def ask(self) -> Ask | None:
        """What kind it is; None for one that no revision knows."""
        if self.method == "elicitation/create":
            return Ask.URL if self.params.get("mode") == b'"url"' else Ask.FORM
        ask = _KINDS.get(self.method)
        with_tools = "tools" in self.params or "toolChoice" in self.params
        return Ask.SAMPLING_WITH_TOOLS if ask is Ask.SAMPLING and with_tools else ask

    @property
    def url(self) -> bytes | None:
        """Where the user is asked to go: JSON text."""
        return self.params.get("url") if self.ask is Ask.URL else None


class Question:
    """A wish put to the client, as a request `id` (JSON text)."""

    def __init__(self, wish: Wish, id: bytes, now: float) -> None:
        self.wish = wish
        self.id = id
        self.deadline = now + QUESTION_S


class _Visit(NamedTuple):
    """The user has agreed to go to a URL."""

    answer: bytes
    until: float
    """Then the user is asked again."""


class Rounds:
    """The rounds of one request."""

    def __init__(self, client: Client, new_id: Callable[[], bytes]) -> None:
        self._client = client
        self._new_id = new_id
        self._count = 0
        self._questions: dict[Hashable, Question] = {}
        self._answers: dict[str, bytes] = {}
        self._state: bytes | None = None
        self._visits: dict[bytes, _Visit] = {}
        self._pauses = Pauses(FIRST_PAUSE_S, LAST_PAUSE_S)
        self._visit_pauses = Pauses(FIRST_VISIT_PAUSE_S, LAST_VISIT_PAUSE_S)
        self._due = math.inf

    @property
    def questions(self) -> list[Question]:
        """What the client has not answered yet."""
        return list(self._questions.values())

    @property
    def deadline(self) -> float:
        """When a question has taken too long, or the next round is due."""
        return min(
            self._due, *(question.deadline for question in self._questions.values()), math.inf
        )

    # ------------------------------------------------------------ from the server

    def receive_round(self, result: Mapping[str, bytes], now: float) -> list[Question]:
        """What an `input_required` result asks the client. Raises `NotOffered` or `PeerError`: then it has failed."""
        wishes = read_wishes(result)
        self._state = _state(result)
        if not wishes and self._state is None:
            raise PeerError("the server wants input, but does not say which")
        self._check_offered(wishes)
        visited = [wish for wish in wishes if self._is_visited(wish, now)]
        if len(visited) < len(wishes) or not wishes:
            self._count_round()
        self._answers = {wish.name: self._visits[wish.url or b""].answer for wish in visited}
        asked = [wish for wish in wishes if wish.name not in self._answers]
        questions = [Question(wish, self._new_id(), now) for wish in asked]
        self._questions = {id_key(question.id): question for question in questions}
        self._pace(now, asked=bool(asked), visited=bool(visited))
        return questions

    def _check_offered(self, wishes: Iterable[Wish]) -> None:
        """The whole round first: nobody is asked half of it."""
        for wish in wishes:
            if wish.ask not in self._client.offers:
                name = wish.ask.value if wish.ask else f"{wish.method!r:.40}"
                raise NotOffered(f"the server asks for {name}, which this client does not offer")

    def _is_visited(self, wish: Wish, now: float) -> bool:
        """Whether the user has agreed to it not long ago: a server asks again while it waits for what happens there."""
        visit = self._visits.get(wish.url) if wish.url is not None else None
        return visit is not None and now < visit.until

    def _count_round(self) -> None:
        # (Rounds that only wait for a visit are not counted: their time is limited instead.)
        self._count += 1
        if self._count > MAX_ROUNDS:
            raise PeerError(f"the server asked for input more than {MAX_ROUNDS} times")

    def _pace(self, now: float, *, asked: bool, visited: bool) -> None:
        if asked:
            self._due = math.inf
            self._pauses.reset()
            self._visit_pauses.reset()
        else:
            self._due = now + (self._visit_pauses if visited else self._pauses).take()

    # ------------------------------------------------------------ from the client

    def receive_answer(self, message: Message, now: float) -> None:
        """The client's answer to one of the `questions`. Raises `McpctlError`: the request has failed."""
        question = self._questions[id_key(message.id)]
        result = read_part(message, "result")
        if message.kind is Kind.RESULT and result.startswith(b"{"):
            self._note_visit(question.wish, result, now)
            self._settle(question, result, now)
        else:
            _, text = read_error(message)
            reason = text or "no usable answer"
            self.give_up(
                question, Denied(f"the client refused {question.wish.method}: {reason}"), now
            )

    def receive_progress(self, key: Hashable, now: float) -> None:
        """The client works on the question with this id (`id_key`)."""
        self._questions[key].deadline = now + QUESTION_S

    def give_up(self, question: Question, error: McpctlError, now: float) -> None:
        """It gets no answer: `error` says why, and is raised where there is no other way to say so.

        `inputResponses` cannot hold errors; only an elicitation can be said to be cancelled.
        """
        if question.wish.method != "elicitation/create":
            del self._questions[id_key(question.id)]
            raise error
        self._settle(question, _CANCEL, now)

    def _note_visit(self, wish: Wish, result: bytes, now: float) -> None:
        if wish.url is not None and open_object(result).get("action") == b'"accept"':
            self._visits[wish.url] = _Visit(result, now + QUESTION_S)

    def _settle(self, question: Question, answer: bytes, now: float) -> None:
        del self._questions[id_key(question.id)]
        self._answers[question.wish.name] = answer
        if not self._questions:
            self._due = now

    # ------------------------------------------------------------ time

    def expired(self, now: float) -> list[Question]:
        """Questions that have taken too long."""
        return [question for question in self._questions.values() if now >= question.deadline]

    def take_retry(self, now: float) -> dict[str, bytes] | None:
        """What to add to the original params in the next round, once when that is due; else None."""
        if now < self._due:
            return None
        self._due = math.inf
        retry: dict[str, bytes] = {}
        if self._answers:
            retry["inputResponses"] = close_object(self._answers)
        if self._state is not None:
            retry["requestState"] = self._state
        self._answers = {}
        return retry


# ---------------------------------------------------------------- texts


def read_wishes(result: Mapping[str, bytes]) -> list[Wish]:
    """`inputRequests`; raises `PeerError`."""
    text = result.get("inputRequests", b"null")
    if text == b"null":
        return []
    entries = open_object(text)
    if len(entries) > MAX_QUESTIONS:
        raise PeerError(f"the server asks {len(entries)} things at once (at most {MAX_QUESTIONS})")
    if not text.startswith(b"{"):
        raise PeerError("the server wants input, but `inputRequests` is not an object")
    return [_read_wish(name, entry) for name, entry in entries.items()]


def _read_wish(name: str, entry: bytes) -> Wish:
    members = open_object(entry)
    method = open_text(members.get("method", b""))
    if method is None:
        raise PeerError("the server wants input, but does not say which")
    return Wish(name, method, open_object(members.get("params", b"")))


def _state(result: Mapping[str, bytes]) -> bytes | None:
    """`requestState` goes back as it came, to the byte."""
    text = result.get("requestState", b"null")
    if text == b"null":
        return None
    if not text.startswith(b'"'):
        raise PeerError("the server wants input, but `requestState` is not a string")
    return text


def question_params(question: Question, version: str) -> bytes:
    """The `params` (JSON text) of the request that puts a question to a client of this revision."""
    params = dict(question.wish.params)
    strip_meta(params)
    if question.wish.ask is Ask.URL:
        params["elicitationId"] = question.id  # 2025-11-25 requires one; the server has none
    elif question.wish.ask is Ask.FORM and version != LEGACY[-1]:
        params.pop("mode", None)  # there was only one
    meta = {**open_object(params.get("_meta", b"")), "progressToken": question.id}
    params["_meta"] = close_object(meta)
    return close_object(params)
