"""What a client of the legacy era said to make its session: what must be said again in a new one.

MCP 2025-11-25, Lifecycle and Transports ("Session Management"): a session that the server has forgotten is made anew
with `initialize`; the client of a stdio server knows of no sessions and cannot be told to begin again.
"""

import msgspec

from mcpctld.protocols.jsonrpc import Kind, Message, read_params

MAX_SUBSCRIPTIONS = 1000

SETTLING = frozenset(
    {"initialize", "logging/setLevel", "resources/subscribe", "resources/unsubscribe"}
)
"""Requests whose success belongs to the session."""


class Script:
    """The words that made the session, in the order in which they are to be said."""

    def __init__(self) -> None:
        self.initialize: Message | None = None
        self.answer: Message | None = None
        """What the server said to `initialize`."""
        self._initialized: Message | None = None
        self._level: Message | None = None
        self._subscriptions: dict[str, Message] = {}

    def begin(self, initialize: Message) -> None:
        """The client begins a session."""
        self.initialize, self.answer = initialize, None
        self._initialized = self._level = None
        self._subscriptions.clear()

    def initialized(self, message: Message) -> None:
        """The client has said `notifications/initialized`."""
        self._initialized = message

    def succeeded(self, request: Message, answer: Message) -> None:
        """The server has answered one of the `SETTLING` requests; errors settle nothing."""
        if answer.kind is not Kind.RESULT:
            return
        match request.method:
            case "initialize":
                self.answer = answer
            case "logging/setLevel":
                self._level = request
            case "resources/subscribe" if len(self._subscriptions) < MAX_SUBSCRIPTIONS:
                self._subscriptions[read_params(request).uri or ""] = request
            case "resources/unsubscribe":
                self._subscriptions.pop(read_params(request).uri or "", None)

    @property
    def rest(self) -> list[Message]:
        """What is to be said after `initialize` was answered."""
        said = (self._initialized, self._level, *self._subscriptions.values())
        return [message for message in said if message is not None]

    @property
    def promised_lists(self) -> list[str]:
        """The lists of which the server said that it tells when they change: `tools`, `prompts`, `resources`."""
        return promised_lists(self.answer.result) if self.answer is not None else []


class _List(msgspec.Struct):
    changes: bool = msgspec.field(default=False, name="listChanged")


class _Capabilities(msgspec.Struct):
    tools: _List | None = None
    prompts: _List | None = None
    resources: _List | None = None


class _Result(msgspec.Struct):
    capabilities: _Capabilities


_decode_result = msgspec.json.Decoder(_Result).decode


def promised_lists(result: bytes) -> list[str]:
    """The same, from the result of `initialize` or `server/discover`."""
    try:
        capabilities = _decode_result(result).capabilities
    except msgspec.DecodeError:
        return []
    lists = {name: getattr(capabilities, name) for name in ("tools", "prompts", "resources")}
    return [name for name, found in lists.items() if found is not None and found.changes]
