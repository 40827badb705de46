"""The handshake of the legacy eras, said in terms of MCP 2026-07-28, and the other way round.

MCP 2025-11-25, Lifecycle, "Initialization"; MCP 2026-07-28, Discovery.
"""

import enum

import msgspec

from mcpctld.protocols.mcp.eras import UNSUPPORTED_VERSION
from mcpctld.protocols.mcp.legacy_to_modern.envelope import strip_result
from mcpctld.protocols.mcp.methods import LEGACY, MODERN, PREFIX
from mcpctld.protocols.mcp.objects import (
    close_object,
    close_text,
    open_array,
    open_object,
    open_text,
)

TASKS = PREFIX + "tasks"
"""The extension that took the place of the tasks of 2025-11-25, and works in another way."""

_UNKNOWN = b'"unknown"'


class Ask(enum.Enum):
    """What a server may ask a client for; the value is its name in messages for users."""

    FORM = "elicitation"
    URL = "elicitation by URL"
    SAMPLING = "sampling"
    SAMPLING_WITH_TOOLS = "sampling with tools"
    ROOTS = "roots"


class Client(msgspec.Struct, frozen=True):
    """What a client said of itself in `initialize`."""

    version: str = LEGACY[-1]
    """The revision negotiated with it: the one that it wants, if that is a legacy one, else the last of those."""
    capabilities: bytes = b"{}"
    """As 2026-07-28 has them: JSON text."""
    info: bytes = b""
    """`clientInfo`, JSON text; empty when it said nothing that can be passed on."""
    offers: frozenset[Ask] = frozenset()
    """What it can be asked for."""


# ---------------------------------------------------------------- from the client


def read_client(params: bytes) -> Client:
    """Read the `params` of `initialize`; what is of a wrong type counts as not said."""
    members = open_object(params)
    wanted = open_text(members.get("protocolVersion", b""))
    version = wanted if wanted in LEGACY else LEGACY[-1]
    capabilities = _client_capabilities(members.get("capabilities", b""), version)
    return Client(
        version,
        close_object(capabilities),
        _client_info(members.get("clientInfo", b"")),
        frozenset(_offers(capabilities)),
    )


def _client_info(text: bytes) -> bytes:
    # Both members are required; a server may refuse every request that carries less.
    info = open_object(text)
    return text if all(open_text(info.get(name, b"")) for name in ("name", "version")) else b""


def _client_capabilities(text: bytes, version: str) -> dict[str, bytes]:
    """Each is an object; tasks belong to one revision only, and roots that change are not told of any more."""
    capabilities = {name: value for name, value in open_object(text).items() if _is_object(value)}
    capabilities.pop("tasks", None)
    _drop_tasks_extension(capabilities)
    if "roots" in capabilities:
        capabilities["roots"] = b"{}"
    if "elicitation" in capabilities:
        capabilities["elicitation"] = _elicitation(capabilities["elicitation"], version)
    return capabilities


def _elicitation(text: bytes, version: str) -> bytes:
    """An empty object has always meant forms; URLs came with 2025-11-25."""
    modes = open_object(text)
    if version != LEGACY[-1]:
        modes = {}
    return text if "form" in modes or "url" in modes else b'{"form":{}}'


def _offers(capabilities: dict[str, bytes]) -> list[Ask]:
    elicitation = open_object(capabilities.get("elicitation", b""))
    sampling = capabilities.get("sampling")
    offers = {
        Ask.FORM: "form" in elicitation,
        Ask.URL: "url" in elicitation,
        Ask.SAMPLING: sampling is not None,
        Ask.SAMPLING_WITH_TOOLS: sampling is not None and "tools" in open_object(sampling),
        Ask.ROOTS: "roots" in capabilities,
    }
    return [ask for ask, offered in offers.items() if offered]


# ---------------------------------------------------------------- from the server


class Discovery(msgspec.Struct, frozen=True):
    """What a server said of itself."""

    result: bytes
    """The result of `initialize`: JSON text."""
    changes: tuple[str, ...]
    """The lists of which it tells when they change: `tools`, `prompts`, `resources`."""


def read_discovery(result: bytes, client: Client) -> Discovery | None:
    """Read a `DiscoverResult`; None if it is none, or one of a server that does not speak 2026-07-28."""
    members = open_object(result)
    if close_text(MODERN) not in open_array(members.get("supportedVersions", b"")):
        return None
    info = open_object(open_object(members.get("_meta", b"")).get(PREFIX + "serverInfo", b""))
    strip_result(members)
    capabilities = _server_capabilities(members.get("capabilities", b""))
    answer = {
        "protocolVersion": close_text(client.version),
        "capabilities": close_object(capabilities),
        "serverInfo": close_object(_server_info(info)),
    }
    if open_text(members.get("instructions", b"")) is not None:
        answer["instructions"] = members["instructions"]
    if "_meta" in members:
        answer["_meta"] = members["_meta"]
    return Discovery(close_object(answer), _changes(capabilities))


def is_invited(refusal: bytes) -> bool:
    """Whether a JSON-RPC error for `server/discover` names 2026-07-28 as a revision that the server supports.

    Then it is to be asked again (MCP 2026-07-28, Versioning, "Protocol Version Negotiation").
    """
    error = open_object(refusal)
    supported = open_object(error.get("data", b"")).get("supported", b"")
    return error.get("code") == b"%d" % UNSUPPORTED_VERSION and close_text(MODERN) in open_array(
        supported
    )


def _server_capabilities(text: bytes) -> dict[str, bytes]:
    """`listChanged` and `subscribe` hold as they stand: `listens` keeps what they promise."""
    capabilities = {name: value for name, value in open_object(text).items() if _is_object(value)}
    capabilities.pop("tasks", None)
    _drop_tasks_extension(capabilities)
    return capabilities


def _server_info(info: dict[str, bytes]) -> dict[str, bytes]:
    """The identity is not required any more, but was; clients refuse a handshake without it."""
    for name in ("name", "version"):
        if open_text(info.get(name, b"")) is None:
            info[name] = _UNKNOWN
    return info


def _changes(capabilities: dict[str, bytes]) -> tuple[str, ...]:
    return tuple(
        name
        for name in ("tools", "prompts", "resources")
        if open_object(capabilities.get(name, b"")).get("listChanged") == b"true"
    )


# ---------------------------------------------------------------- both


def _drop_tasks_extension(capabilities: dict[str, bytes]) -> None:
    extensions = open_object(capabilities.get("extensions", b""))
    if extensions.pop(TASKS, None) is None:
        return
    if extensions:
        capabilities["extensions"] = close_object(extensions)
    else:
        del capabilities["extensions"]


def _is_object(text: bytes) -> bool:
    return text.startswith(b"{")
