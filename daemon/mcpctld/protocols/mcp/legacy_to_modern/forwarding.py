"""Requests that go on to the server, and come back with an answer, or first with questions."""

import math
from collections.abc import MutableSet

from mcpctld.errors import McpctlError, PeerError, TimedOut, UserError
from mcpctld.protocols.jsonrpc import Kind, Message, id_key
from mcpctld.protocols.mcp.legacy_to_modern.calls import Call, Calls
from mcpctld.protocols.mcp.legacy_to_modern.envelope import result_type, strip_result
from mcpctld.protocols.mcp.legacy_to_modern.errors import INVALID_PARAMS, foreign_error
from mcpctld.protocols.mcp.legacy_to_modern.initialize import Client
from mcpctld.protocols.mcp.legacy_to_modern.mrtr import (
    QUESTION_S,
    NotOffered,
    Rounds,
    question_params,
)
from mcpctld.protocols.mcp.legacy_to_modern.outbound import Outbound
from mcpctld.protocols.mcp.legacy_to_modern.schemas import wrap_output, wrap_schemas
from mcpctld.protocols.mcp.methods import ASKING
from mcpctld.protocols.mcp.objects import (
    close_object,
    close_text,
    open_object,
    read_object,
    read_part,
)


class Forwarding:
    """The requests of one client under way."""

    def __init__(self, out: Outbound, wrapped: MutableSet[str]) -> None:
        """`wrapped`: see `schemas`."""
        self._out = out
        self._wrapped = wrapped
        self._calls = Calls()
        self._client = Client()

    def speak_for(self, client: Client) -> None:
        """This is the client that can be asked."""
        self._client = client

    @property
    def deadline(self) -> float:
        """When `receive_time` is to be called next."""
        calls = self._calls.in_rounds
        return min((call.rounds.deadline for call in calls if call.rounds), default=math.inf)

    # ------------------------------------------------------------ from the client

    def receive_request(self, request: Message) -> None:
        """One that the server is to answer."""
        params = read_object(read_part(request, "params") or b"{}")
        if params is None:
            text = "the params are not an object, or too deeply nested"
            self._out.refuse(request.id, INVALID_PARAMS, text)
            return
        call = Call(request.id, request.method, params)
        self._calls.begin(call)
        self._ask(call, self._out.id_for_server(call.id), params)

    def _ask(self, call: Call, id: bytes, params: dict[str, bytes]) -> None:
        try:
            self._out.ask_server(id, call.method, params)
        except UserError as exc:
            self._fail(call, exc)
        else:
            self._calls.ask(call, id)

    def receive_answer(self, message: Message, now: float) -> None:
        """The client's answer to a question, or to something that was never asked."""
        call = self._calls.find_question(message.id)
        if call is None or call.rounds is None:
            return
        self._calls.forget_question(message.id)
        try:
            call.rounds.receive_answer(message, now)
        except McpctlError as exc:
            self._fail(call, exc)
        else:
            self._go_on(call, call.rounds, now)

    def receive_client_progress(self, message: Message, now: float) -> None:
        """The client is at work on a question: its token is the question's id."""
        token = open_object(read_part(message, "params")).get("progressToken", b"null")
        call = self._calls.find_question(token)
        if call is not None and call.rounds is not None:
            call.rounds.receive_progress(id_key(token), now)

    def forget(self, id: bytes) -> bool:
        """Nobody waits for the answer to the client's request `id` any more; False if it is not under way."""
        call = self._calls.find(id)
        if call is not None:
            self._abandon(call)
        return call is not None

    # ------------------------------------------------------------ from the server

    def receive_server(self, message: Message, now: float) -> bool:
        """An answer of the server's; False if it is not to one of these requests."""
        call = self._calls.take_asked(message.id)
        if call is None:
            return False
        if message.kind is Kind.ERROR:
            self._receive_error(call, message)
        else:
            self._receive_result(call, message, now)
        return True

    def receive_failure(self, id: bytes, error: McpctlError) -> bool:
        """There will be no answer to request `id`; False if it is not one of these."""
        call = self._calls.take_asked(id)
        if call is not None:
            self._fail(call, error)
        return call is not None

    def is_progress(self, message: Message) -> bool:
        """Whether a progress notification may be told the client."""
        return self._calls.is_progress(open_object(read_part(message, "params")))

    def _receive_result(self, call: Call, message: Message, now: float) -> None:
        result = read_object(read_part(message, "result"))
        kind = result_type(result) if result is not None else None
        if result is not None and kind == "complete":
            self._complete(call, result)
        elif result is not None and kind == "input_required" and call.method in ASKING:
            self._receive_round(call, result, now)
        else:
            what = "no object" if result is None else f"a result of type {kind!r:.40}"
            self._fail(call, PeerError(f"the server answered {call.method} with {what}"))

    def _complete(self, call: Call, result: dict[str, bytes]) -> None:
        strip_result(result)
        if call.method == "tools/list":
            wrap_schemas(result, self._wrapped)
        elif call.method == "tools/call":
            wrap_output(result, call.tool, self._wrapped)
        self._calls.end(call)
        self._out.answer(call.id, close_object(result))

    def _receive_error(self, call: Call, message: Message) -> None:
        error = foreign_error(message, call.method)
        if error is not None:
            self._fail(call, error)
        else:
            self._calls.end(call)
            self._out.relay_error(call.id, read_part(message, "error"))

    def _fail(self, call: Call, error: McpctlError) -> None:
        self._abandon(call)
        self._out.fail(call.id, error)

    def _abandon(self, call: Call) -> None:
        """It ends here, whatever is still asked for its sake."""
        if call.asked:
            self._out.give_up(call.asked)
        for question in call.rounds.questions if call.rounds else ():
            self._withdraw(question.id)
        self._calls.end(call)

    def _withdraw(self, question: bytes) -> None:
        """The client need not answer this any more."""
        self._calls.forget_question(question)
        self._out.tell_client("notifications/cancelled", b'{"requestId":%b}' % question)

    # ------------------------------------------------------------ rounds

    def _receive_round(self, call: Call, result: dict[str, bytes], now: float) -> None:
        """The server wants input before it goes on."""
        if call.rounds is None:
            self._calls.begin_rounds(call, Rounds(self._client, self._out.new_id))
        assert call.rounds is not None
        try:
            for question in call.rounds.receive_round(result, now):
                self._calls.expect(call, question.id)
                params = question_params(question, self._client.version)
                self._out.ask_client(question.id, question.wish.method, params)
        except NotOffered as exc:
            self._not_offered(call, exc)
        except McpctlError as exc:
            self._fail(call, exc)

    def _not_offered(self, call: Call, error: NotOffered) -> None:
        """A tool says itself that it failed, so that a model can read why (MCP, Tools, "Error Handling")."""
        if call.method != "tools/call":
            self._fail(call, error)
            return
        text = close_text(f"mcpctl: {error}")
        content = b'{"type":"text","text":%b}' % text
        self._abandon(call)
        self._out.answer(call.id, b'{"content":[%b],"isError":true}' % content)

    def _go_on(self, call: Call, rounds: Rounds, now: float) -> None:
        """Ask the server again when everything is answered."""
        retry = rounds.take_retry(now)
        if retry is not None:
            self._ask(call, self._out.new_id(), {**call.params, **retry})

    # ------------------------------------------------------------ time

    def receive_time(self, now: float) -> None:
        """Do what is due."""
        for call in self._calls.in_rounds:
            if call.rounds is not None and now >= call.rounds.deadline:
                self._receive_round_time(call, call.rounds, now)

    def _receive_round_time(self, call: Call, rounds: Rounds, now: float) -> None:
        try:
            for question in rounds.expired(now):
                self._withdraw(question.id)
                text = f"no answer to {question.wish.method} within {QUESTION_S:g} s"
                rounds.give_up(question, TimedOut(text), now)
        except McpctlError as exc:
            self._fail(call, exc)
        else:
            self._go_on(call, rounds, now)
