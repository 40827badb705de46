"""What a legacy server asks the client: as requests of its own, before 2026-07-28 put them into results.

MCP 2025-11-25, Elicitation, Sampling, Roots; MCP 2026-07-28, Multi Round-Trip Requests.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from mcpctld.protocols.jsonrpc import INTERNAL_ERROR, Message
from mcpctld.protocols.mcp.modern_to_legacy.requests import (
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    Refusal,
    has,
)
from mcpctld.protocols.mcp.modern_to_legacy.sides import ServerSide
from mcpctld.protocols.mcp.objects import (
    close_object,
    close_text,
    open_array,
    open_object,
    open_text,
    read_part,
)

ELICITATION = "elicitation/create"
ROOTS = "roots/list"
CAPABILITIES = {ELICITATION: "elicitation", "sampling/createMessage": "sampling", ROOTS: "roots"}
"""What a client declares to be asked, by method."""
NOT_ASKED = ("elicitationId", "task")
"""Parameters of 2025-11-25 that 2026-07-28 does not have."""
MAX_ELICITATIONS = 64
CANCELLED = b'{"action":"cancel"}'
"""To an elicitation that nobody decided on (Elicitation, "Response Actions")."""


@dataclass(slots=True, eq=False, repr=False)
class Question:
    """One of them."""

    key: str
    """Under which the client is asked."""
    id: bytes
    """Of the server's request; empty for what stood in an error, which is not answered."""
    method: str
    params: dict[str, bytes]
    holder: list["Question"] = field(default_factory=list)
    """Where it waits: with an exchange, or with none."""

    def move(self, holder: list["Question"]) -> None:
        """Let it wait there."""
        self.leave()
        self.holder = holder
        holder.append(self)

    def leave(self) -> None:
        """It was answered, or does not matter any more."""
        if self in self.holder:
            self.holder.remove(self)

    def refusal(self, capabilities: Mapping[str, bytes]) -> Refusal | None:
        """Why a client with these capabilities must not be asked; None when it may be."""
        feature = CAPABILITIES.get(self.method)
        if feature is None or not has(capabilities, feature):
            return Refusal(METHOD_NOT_FOUND, f"the client does not support {self.method}")
        options = open_object(capabilities[feature])
        if self.method == ELICITATION and not self._has_mode(options):
            # MCP 2025-11-25, Elicitation, "Error Handling". A cancel would say that the user was asked.
            return Refusal(INVALID_PARAMS, "the client does not support this mode of elicitation")
        if "tools" in self.params and feature == "sampling" and not has(options, "tools"):
            return Refusal(INVALID_PARAMS, "the client does not support tools in sampling")
        return None

    def _has_mode(self, options: Mapping[str, bytes]) -> bool:
        if open_text(self.params.get("mode", b"")) == "url":
            return has(options, "url")
        return has(options, "form") or not has(options, "url")  # `{}` means form

    @property
    def for_client(self) -> bytes:
        """As an entry of `inputRequests` (JSON text)."""
        params = {name: value for name, value in self.params.items() if name not in NOT_ASKED}
        meta = open_object(params.pop("_meta", b""))
        meta.pop("progressToken", None)  # nobody could report progress
        if meta:
            params["_meta"] = close_object(meta)
        members = {"method": close_text(self.method), "params": close_object(params)}
        return close_object(members)

    def decline(self, server: ServerSide, reason: str) -> None:
        """Tell the server that there will be no answer."""
        if not self.id:
            return
        if self.method == ELICITATION:
            server.answer(self.id, CANCELLED)
        else:
            server.refuse(self.id, INTERNAL_ERROR, reason)


def read_question(key: str, request: Message) -> Question:
    """Of a request of the server."""
    return Question(key, request.id, request.method, open_object(read_part(request, "params")))


def read_elicitations(error: bytes) -> list[dict[str, bytes]]:
    """The parameters of the elicitations that an error -32042 wants; none when there are too many, or broken ones.

    MCP 2025-11-25, Elicitation, "URL Elicitation Required Error".
    """
    data = open_object(open_object(error).get("data", b""))
    entries = [open_object(entry) for entry in open_array(data.get("elicitations", b""))]
    if len(entries) > MAX_ELICITATIONS or not all(open_text(e.get("url", b"")) for e in entries):
        return []
    return [{"message": b'""', **entry, "mode": b'"url"'} for entry in entries]
