"""What a server of 2026-07-28 checks of a POST before it acts on it (MCP 2026-07-28, Transports, "Streamable HTTP").

The headers must say what the body says, so that what stands between can route by them. Here is the server's side of
`headers`: the same rules, read backwards.
"""

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from mcpctld.protocols.jsonrpc import Kind, Message, read_error, read_params
from mcpctld.protocols.mcp.headers import NAMED_BY, PARAMETER_PREFIX, parameter_headers
from mcpctld.protocols.mcp.methods import LEGACY, MODERN, PREFIX
from mcpctld.protocols.mcp.objects import open_object, read_object
from mcpctld.protocols.mcp.tools import ToolFacts

METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
HEADER_MISMATCH = -32020
UNSUPPORTED_VERSION = -32022

REMOVED = frozenset({
    "initialize", "ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe",
})  # fmt: skip
"""Methods of older revisions that this one does not have; a server of both eras behind us might answer them."""
BAD_REQUEST = frozenset(
    {-32700, -32600, INVALID_PARAMS, HEADER_MISMATCH, -32021, UNSUPPORTED_VERSION}
)
"""Errors that go out with HTTP status 400."""

_SENTINEL = re.compile(r"=\?base64\?(.*)\?=", re.DOTALL)
_NUMBER = re.compile(r"-?[0-9]{1,40}")

GetHeader = Callable[[str], str | None]


class Refused(NamedTuple):
    """Why a request is not acted on: HTTP status, JSON-RPC code, text and `data`."""

    status: int
    code: int
    reason: str
    data: dict[str, object]


def is_modern(message: Message, header: str | None) -> bool:
    """Whether a POST is of this era. `header` is its `MCP-Protocol-Version`.

    The body says so, or the header names a revision that no session can have been made with.
    """
    if header is not None and header not in LEGACY:
        return True
    return f"{PREFIX}protocolVersion".encode() in message.raw and (
        message.method != "initialize" and _version(message) is not None
    )


def check(message: Message, get: GetHeader, tools: Mapping[str, ToolFacts]) -> Refused | None:
    """Check the envelope and the headers of a request, or of a notification; None when all is well.

    `tools`: what is known of the server's tools, by name.
    """
    return (
        _check_version(message, get("MCP-Protocol-Version"))
        or _check_envelope(message)
        or _check_method(message, get("Mcp-Method"))
        or _check_name(message, get("Mcp-Name"))
        or _check_parameters(message, get, tools)
    )


def status_of(answer: Message) -> int:
    """The HTTP status that goes with an answer in one piece."""
    if answer.kind is not Kind.ERROR:
        return 200
    code, _ = read_error(answer)
    if code == METHOD_NOT_FOUND:
        return 404
    return 400 if code in BAD_REQUEST else 200


def decode_value(value: str) -> str | None:
    """A header's value as the string that it stands for ("Value Encoding"); None when it stands for none."""
    wrapped = _SENTINEL.fullmatch(value)
    if wrapped is None:
        return value
    try:
        return base64.b64decode(wrapped[1], validate=True).decode("utf-8", "surrogatepass")
    except (binascii.Error, ValueError):
        return None


def _version(message: Message) -> str | None:
    return read_params(message).protocol_version


def _check_version(message: Message, header: str | None) -> Refused | None:
    version = _version(message)
    if header is None:
        return _mismatch("the header MCP-Protocol-Version is missing")
    if version not in (None, header):
        return _mismatch(f"MCP-Protocol-Version says {header!r}, the request itself {version!r}")
    if header != MODERN:
        data: dict[str, object] = {"supported": [MODERN], "requested": header}
        return Refused(400, UNSUPPORTED_VERSION, f"unsupported protocol version {header!r}", data)
    return None


def _check_envelope(message: Message) -> Refused | None:
    if message.kind is not Kind.REQUEST:
        return None
    if message.method in REMOVED:
        reason = f"{message.method} is not a method of MCP {MODERN}"
        return Refused(404, METHOD_NOT_FOUND, reason, {})
    if _version(message) is None:
        return _invalid("protocolVersion")
    meta = open_object(open_object(message.params).get("_meta", b""))
    if read_object(meta.get(f"{PREFIX}clientCapabilities", b"")) is None:
        return _invalid("clientCapabilities")
    return None


def _check_method(message: Message, header: str | None) -> Refused | None:
    if message.kind is Kind.REQUEST and header is None:
        return _mismatch("the header Mcp-Method is missing")
    if header is not None and decode_value(header) != message.method:
        return _mismatch(f"Mcp-Method says {header!r}, the body {message.method!r}")
    return None


def _check_name(message: Message, header: str | None) -> Refused | None:
    member = NAMED_BY.get(message.method)
    if member is None:
        return None
    name = getattr(read_params(message), member)
    if header is None:
        return None if name is None else _mismatch("the header Mcp-Name is missing")
    if name is None or decode_value(header) != name:
        return _mismatch("Mcp-Name does not say what the body says")
    return None


def _check_parameters(
    message: Message, get: GetHeader, tools: Mapping[str, ToolFacts]
) -> Refused | None:
    """What the schema of the tool wants repeated ("Custom Headers from Tool Parameters")."""
    if message.method != "tools/call":
        return None
    tool = tools.get(read_params(message).name or "")
    if tool is None or not tool.headers:
        return None
    wanted = dict(parameter_headers(tool.headers, message.params))
    for name in tool.headers:
        header = f"{PARAMETER_PREFIX}{name}"
        if not _agree(get(header), wanted.get(header)):
            return _mismatch(f"{header} does not say what the argument says")
    return None


def _agree(header: str | None, wanted: str | None) -> bool:
    if header is None or wanted is None:
        return header is wanted
    return (
        header == wanted
        or decode_value(header) == decode_value(wanted)
        or _same_number(header, wanted)
    )


def _same_number(one: str, other: str) -> bool:
    """Integers are compared as numbers (`007` is `7`)."""
    if not (_NUMBER.fullmatch(one) and _NUMBER.fullmatch(other)):
        return False
    return int(one) == int(other)


def _mismatch(reason: str) -> Refused:
    return Refused(400, HEADER_MISMATCH, reason, {})


def _invalid(name: str) -> Refused:
    return Refused(400, INVALID_PARAMS, f"params._meta lacks {PREFIX}{name}", {})
