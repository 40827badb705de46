"""Requests on their way through the bridge, and the questions of the server that stop them.

A legacy server asks while it works on a request; a modern client is asked by the result, and makes the request again
with the answers. So the exchange with the server is parked while the client finds its answers: it stays open there,
and goes on under the id of the client's next request.
"""

from collections.abc import Callable, Hashable
from functools import partial

from mcpctld.errors import McpctlError, PeerError
from mcpctld.protocols.jsonrpc import INTERNAL_ERROR, Kind, Message, id_key, read_error
from mcpctld.protocols.mcp.methods import ASKING
from mcpctld.protocols.mcp.modern_to_legacy.parking import Exchange, Parking
from mcpctld.protocols.mcp.modern_to_legacy.questions import (
    ELICITATION,
    ROOTS,
    Question,
    read_elicitations,
    read_question,
)
from mcpctld.protocols.mcp.modern_to_legacy.requests import (
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    Refusal,
    Request,
)
from mcpctld.protocols.mcp.modern_to_legacy.results import (
    URL_ELICITATION_REQUIRED,
    complete,
    input_required,
    translate_error,
)
from mcpctld.protocols.mcp.modern_to_legacy.session import Session
from mcpctld.protocols.mcp.modern_to_legacy.sides import Answer, ClientSide, ServerSide
from mcpctld.protocols.mcp.modern_to_legacy.timers import Timers
from mcpctld.protocols.mcp.modern_to_legacy.unplaced import BUSY, Unplaced
from mcpctld.protocols.mcp.objects import (
    close_object,
    close_text,
    open_object,
    open_text,
    read_part,
)

BATCH_S = 0.02
"""A server that asks several things at once does so within this; the client is asked them together."""
MAX_QUESTIONS = 1024
"""Of the server, open at a time."""
MISSING_CAPABILITY = -32021
URL_CAPABILITY: dict[str, object] = {"requiredCapabilities": {"elicitation": {"url": {}}}}
UNKNOWN_STATE = Refusal(
    INVALID_PARAMS,
    "the requestState is not known: it was used, has expired, or belongs to another request; make the request again",
)
NOT_DECLARED = Refusal(
    METHOD_NOT_FOUND, "the client does not support such questions during this request"
)
NEEDS_URL = Refusal(
    MISSING_CAPABILITY,
    "the server wants the user to visit a URL first, and the client cannot show one",
    URL_CAPABILITY,
)


class Exchanges:
    """All requests but those that the bridge answers itself."""

    def __init__(
        self,
        client: ClientSide,
        server: ServerSide,
        session: Session,
        timers: Timers,
        make_token: Callable[[], str],
        late_s: float,
    ) -> None:
        self._late_s = late_s
        self._client = client
        self._server = server
        self._session = session
        self._timers = timers
        self._parking = Parking(timers, make_token, self._abandon)
        self._unplaced = Unplaced(timers, self._busy, self._refuse)
        self._open: dict[Hashable, Exchange] = {}  # by the client's id
        self._at_server: dict[Hashable, Exchange] = {}  # by the server's, parked ones too
        self._questions: dict[Hashable, Question] = {}  # by the id of the server's request
        self._asked = 0

    # ------------------------------------------------------------ the client's requests

    def begin(self, request: Request, now: float) -> None:
        """Send it to the server; or ask first what the server wanted to know before; or go on with a parked one."""
        if request.state is not None and request.method in ASKING:
            self._resume(request, now)
            return
        exchange = self._open[id_key(request.id)] = Exchange(request)
        self._claim(exchange)
        if exchange.questions:
            self._park(exchange, now)
        else:
            self._send(exchange)

    def leave(self, id: bytes) -> None:
        """The client does not wait for it any more."""
        exchange = self._open.pop(id_key(id), None)
        if exchange is not None:
            self._abandon(exchange)

    def _send(self, exchange: Exchange) -> None:
        request, id = exchange.request, self._server.new_id()
        exchange.upstream = id
        self._at_server[id] = exchange
        then = partial(self._answered, exchange)
        self._server.ask(id, request.method, request.params_for_server(id), then)

    def _abandon(self, exchange: Exchange) -> None:
        """Cancel it first: a server that is told "no" before may act on that."""
        self._timers.drop(exchange)
        if self._at_server.pop(exchange.upstream, None) is not None:
            self._server.give_up(exchange.upstream)
        for question in tuple(exchange.questions):
            self._settle(question)
            question.decline(
                self._server, "the client gave up the request that led to this question"
            )

    # ------------------------------------------------------------ the server's answers

    def _answered(self, exchange: Exchange, answer: Answer, now: float) -> None:
        del self._at_server[exchange.upstream]
        exchange.upstream = b""
        if exchange.handle:
            exchange.outcome = answer
        elif self._late_s and exchange.request.level is not None:
            late = partial(self._finish, exchange, answer)
            self._timers.set(exchange, now, self._late_s, late)
        else:
            self._finish(exchange, answer, now)

    def _finish(self, exchange: Exchange, answer: Answer, now: float) -> None:
        request = exchange.request
        if isinstance(answer, McpctlError):
            self._client.fail(request.id, answer)
        elif answer.kind is Kind.RESULT:
            self._give_result(request, answer)
        elif self._asks_for_urls(exchange, answer, now):
            return
        else:
            error = translate_error(read_part(answer, "error"), read_error(answer)[0])
            self._client.relay_error(request.id, error)
        self._close(exchange, now)

    def _give_result(self, request: Request, answer: Message) -> None:
        result = complete(request.method, read_part(answer, "result"), self._session.server_info)
        if result is None:
            text = f"the server answered {request.method} with something that is no result"
            self._client.fail(request.id, PeerError(text))
        else:
            self._client.answer(request.id, result)

    def _close(self, exchange: Exchange, now: float) -> None:
        """It is over; a question that is still open was about something else, and outlives it."""
        self._open.pop(id_key(exchange.request.id), None)
        self._timers.drop(exchange)
        for question in tuple(exchange.questions):
            question.leave()
            self._place(question, now)

    def _asks_for_urls(self, exchange: Exchange, answer: Message, now: float) -> bool:
        """An error that lists URLs to visit becomes questions; True when that has dealt with it."""
        request, error = exchange.request, read_part(answer, "error")
        if read_error(answer)[0] != URL_ELICITATION_REQUIRED or request.method not in ASKING:
            return False
        wanted = [self._new_question(params) for params in read_elicitations(error)]
        if not wanted:
            return False
        if any(question.refusal(request.capabilities) for question in wanted):
            self._client.refuse(request.id, NEEDS_URL)
            self._close(exchange, now)
            return True
        exchange.refusal = error
        for question in wanted:
            question.move(exchange.questions)
        self._park(exchange, now)
        return True

    def _new_question(self, params: dict[str, bytes]) -> Question:
        return Question(self._new_key(), b"", ELICITATION, params)

    # ------------------------------------------------------------ the server's questions

    def ask(self, message: Message, now: float) -> None:
        """The server asks the client something."""
        key = id_key(message.id)
        question = read_question(self._new_key(), message)
        refusal = question.refusal(self._session.declared)
        if key in self._questions:
            return  # JSON-RPC has no answer to an id that is in use
        if len(self._questions) >= MAX_QUESTIONS:
            refusal = Refusal(INTERNAL_ERROR, "too many questions are open")
        if refusal is not None:
            self._server.refuse(message.id, refusal.code, refusal.text)
            return
        self._questions[key] = question
        self._place(question, now)

    def withdraw(self, id: bytes) -> None:
        """The server does not want to know it any more; `id` is that of its request."""
        question = self._questions.pop(id_key(id), None)
        if question is not None:
            self._timers.drop(question)
            question.leave()

    def _place(self, question: Question, now: float) -> None:
        """Find the request that it is about. Legacy messages do not say: it is the oldest that it can be.

        One that is parked waits for its client anyway, so it is unlikely to have asked again.
        """
        able = [e for e in self._at_server.values() if e.request.method in ASKING]
        willing = [e for e in able if question.refusal(e.request.capabilities) is None]
        if willing:
            self._attach(min(willing, key=lambda exchange: bool(exchange.handle)), question, now)
        elif able:
            self._refuse(question, NOT_DECLARED)
        elif self._at_server and question.method != ROOTS:
            self._refuse(question, BUSY)
        else:
            self._unplaced.add(question, now)

    def _attach(self, exchange: Exchange, question: Question, now: float) -> None:
        question.move(exchange.questions)
        if not exchange.handle and len(exchange.questions) == 1:
            self._ask_soon(exchange, now)

    def _busy(self) -> frozenset[bytes]:
        return frozenset(exchange.upstream for exchange in self._at_server.values())

    def _refuse(self, question: Question, refusal: Refusal) -> None:
        self._settle(question)
        self._server.refuse(question.id, refusal.code, refusal.text)

    def _settle(self, question: Question) -> None:
        self._questions.pop(id_key(question.id), None)
        question.leave()

    def _new_key(self) -> str:
        self._asked += 1
        return f"question-{self._asked}"

    # ------------------------------------------------------------ asking the client

    def _claim(self, exchange: Exchange) -> None:
        """What the server wanted to know before."""
        if exchange.request.method in ASKING:
            for question in self._unplaced.claim(exchange.request.capabilities):
                question.move(exchange.questions)

    def _ask_soon(self, exchange: Exchange, now: float) -> None:
        self._timers.set(exchange, now, BATCH_S, partial(self._ask, exchange))

    def _ask(self, exchange: Exchange, now: float) -> None:
        if exchange.questions:  # else they were withdrawn
            self._park(exchange, now)

    def _park(self, exchange: Exchange, now: float) -> None:
        """Answer the client's request with the questions."""
        self._parking.park(exchange, now)
        id = exchange.request.id
        self._open.pop(id_key(id), None)
        questions = {question.key: question.for_client for question in exchange.questions}
        handle = close_text(exchange.handle)
        self._client.answer(id, input_required(questions, handle, self._session.server_info))

    def _resume(self, request: Request, now: float) -> None:
        """The client has made its request again, with answers."""
        exchange = self._parking.take(request)
        if exchange is None:
            self._client.refuse(request.id, UNKNOWN_STATE)
            return
        exchange.request = request
        self._open[id_key(request.id)] = exchange
        consents = self._pass_answers(exchange)
        refusal, exchange.refusal = exchange.refusal, b""
        outcome, exchange.outcome = exchange.outcome, None
        if outcome is not None:
            self._finish(exchange, outcome, now)
        elif refusal and not consents:
            self._client.relay_error(request.id, translate_error(refusal, URL_ELICITATION_REQUIRED))
            self._close(exchange, now)
        else:
            self._go_on(exchange, now)

    def _go_on(self, exchange: Exchange, now: float) -> None:
        if not exchange.upstream:
            self._claim(exchange)
            self._send(exchange)
        if exchange.questions:  # not answered yet, or new
            self._ask_soon(exchange, now)

    def _pass_answers(self, exchange: Exchange) -> bool:
        """Answer the server's questions; False when the user did not want to visit a URL."""
        consents = True
        for question in tuple(exchange.questions):
            answer = exchange.request.responses.get(question.key, b"")
            if (
                not question.id
            ):  # not asked by a request: the server will ask again for what it still wants
                question.leave()
                action = open_text(open_object(answer).get("action", b'"accept"'))
                consents = consents and action == "accept"
            elif answer.startswith(b"{"):
                self._settle(question)
                self._server.answer(question.id, answer)
        return consents

    # ------------------------------------------------------------ notifications of the server

    def progress(self, message: Message) -> None:
        """Hand it to the client's request that it is about, while that is open."""
        params = open_object(read_part(message, "params"))
        exchange = self._at_server.get(id_key(params.get("progressToken", b"")))
        if exchange is not None and not exchange.handle and exchange.request.token:
            params["progressToken"] = exchange.request.token
            self._client.tell(message.method, close_object(params))

    def wants_log(self, level: int) -> bool:
        """Whether an open request wants log messages of this level. They do not say which one they are about."""
        levels = (exchange.request.level for exchange in self._open.values())
        return any(wanted is not None and wanted <= level for wanted in levels)
