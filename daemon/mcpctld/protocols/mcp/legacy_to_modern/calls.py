"""The client's requests that the server works on."""

from collections.abc import Hashable

from mcpctld.protocols.jsonrpc import id_key
from mcpctld.protocols.mcp.legacy_to_modern.mrtr import Rounds
from mcpctld.protocols.mcp.objects import open_object, open_text


class Call:
    """One of them. `id` is the client's, `asked` that of the request that the server has now; both JSON text."""

    __slots__ = ("asked", "id", "method", "params", "progress", "rounds", "token")

    def __init__(self, id: bytes, method: str, params: dict[str, bytes]) -> None:
        self.id = id
        self.asked = b""
        """Empty while the server waits for answers of the client."""
        self.method = method
        self.params = params
        self.token = _token(params)
        self.progress = float("-inf")
        """The furthest that the client has heard of."""
        self.rounds: Rounds | None = None

    @property
    def tool(self) -> str | None:
        """The name of the tool that is called."""
        return open_text(self.params.get("name", b""))


class Calls:
    """All of them, by whatever a message may name them."""

    def __init__(self) -> None:
        self._by_id: dict[Hashable, Call] = {}
        self._by_asked: dict[Hashable, Call] = {}
        self._by_token: dict[Hashable, Call] = {}
        self._by_question: dict[Hashable, Call] = {}
        self._in_rounds: dict[Hashable, Call] = {}

    def begin(self, call: Call) -> None:
        """A request of the client begins."""
        self._by_id[id_key(call.id)] = call
        if call.token is not None:
            self._by_token[call.token] = call

    def ask(self, call: Call, id: bytes) -> None:
        """The server gets it, under this id."""
        call.asked = id
        self._by_asked[id_key(id)] = call

    def take_asked(self, id: bytes) -> Call | None:
        """The call that the server's answer is about; one answer belongs to it."""
        call = self._by_asked.pop(id_key(id), None)
        if call is not None:
            call.asked = b""
        return call

    def end(self, call: Call) -> None:
        """It is answered or given up."""
        self._by_id.pop(id_key(call.id), None)
        self._in_rounds.pop(id_key(call.id), None)
        if self._by_token.get(call.token) is call:
            del self._by_token[call.token]
        if call.asked:
            self.take_asked(call.asked)
        for question in call.rounds.questions if call.rounds else ():
            self.forget_question(question.id)

    def find(self, id: bytes) -> Call | None:
        """By the client's id."""
        return self._by_id.get(id_key(id))

    # ------------------------------------------------------------ questions

    @property
    def in_rounds(self) -> list[Call]:
        """Those of which the server has wanted input."""
        return list(self._in_rounds.values())

    def begin_rounds(self, call: Call, rounds: Rounds) -> Rounds:
        """The server wants input."""
        call.rounds = rounds
        self._in_rounds[id_key(call.id)] = call
        return rounds

    def expect(self, call: Call, question: bytes) -> None:
        """The client has a question with this id."""
        self._by_question[id_key(question)] = call

    def find_question(self, id: bytes) -> Call | None:
        """The call that a question is about."""
        return self._by_question.get(id_key(id))

    def forget_question(self, id: bytes) -> None:
        """It was answered, or is not waited for."""
        self._by_question.pop(id_key(id), None)

    # ------------------------------------------------------------ progress

    def is_progress(self, params: dict[str, bytes]) -> bool:
        """Whether a progress notification says more than those before.

        "The progress value MUST increase with each notification" (MCP, Progress), but each round starts anew.
        """
        call = self._by_token.get(_token_key(params))
        progress = _number(params.get("progress", b""))
        if call is None or progress is None:
            return True
        if call.rounds is not None and progress <= call.progress:
            return False
        call.progress = max(call.progress, progress)
        return True


def _token(params: dict[str, bytes]) -> Hashable | None:
    meta = params.get("_meta")
    return _token_key(open_object(meta)) if meta is not None else None


def _token_key(members: dict[str, bytes]) -> Hashable | None:
    """Of a string or a number (MCP, Progress); None for anything else."""
    token = members.get("progressToken", b"null")
    return id_key(token) if token[0] in b'"-0123456789' else None


def _number(text: bytes) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
