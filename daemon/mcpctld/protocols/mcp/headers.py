"""The request headers of Streamable HTTP (MCP 2026-07-28, Transports, "Standard Request Headers" and "Custom Headers").

Which era a request belongs to stands in the request itself: from 2026-07-28 on, `params._meta` names the revision.
"""

import base64
import functools
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal

from mcpctld.protocols.jsonrpc import Kind, Message, Params, read_params
from mcpctld.protocols.mcp.objects import open_object, open_text

VERSION_KEY = b"io.modelcontextprotocol/protocolVersion"
NAMED_BY = {
    "tools/call": "name",
    "prompts/get": "name",
    "resources/read": "uri",
    "tasks/get": "task_id",
    "tasks/update": "task_id",
    "tasks/cancel": "task_id",
}
"""What `Mcp-Name` repeats, by method."""
PARAMETER_PREFIX = "Mcp-Param-"
MAX_DIGITS = 40
"""Longer numbers are beyond what any server compares."""

_PLAIN = re.compile(r"(?![ \t])[\x20-\x7e]*(?<![ \t])")
_NUMBER = re.compile(rb"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?")
_SENTINEL = re.compile(r"=\?base64\?.*\?=", re.DOTALL)


def modern_params(message: Message) -> Params | None:
    """The parameters of a message that carries its own revision (2026-07-28 on); None for every other.

    `initialize` belongs to the older revisions whatever it carries.
    """
    if VERSION_KEY not in message.raw or message.method in ("", "initialize"):
        return None
    params = read_params(message)
    return params if params.protocol_version is not None else None


def standard_headers(message: Message, params: Params | None) -> tuple[tuple[str, str], ...]:
    """The headers of one POST; `params` is what `modern_params` said of the message.

    `Mcp-Method` goes on requests of every era: older servers ignore it, and what routes by it sees all.
    """
    if params is None:
        return _method_header(message.method) if message.kind is Kind.REQUEST else ()
    version = ("MCP-Protocol-Version", encode_value(params.protocol_version or ""))
    headers = (*_method_header(message.method), version)
    name = getattr(params, NAMED_BY.get(message.method, ""), None)
    return headers if name is None else (*headers, ("Mcp-Name", encode_value(name)))


@functools.lru_cache(maxsize=64)
def _method_header(method: str) -> tuple[tuple[str, str], ...]:
    return (("Mcp-Method", encode_value(method)),)


def parameter_headers(
    paths: Mapping[str, Sequence[str]], params: bytes
) -> tuple[tuple[str, str], ...]:
    """The headers that repeat arguments of a `tools/call`; `paths` are `ToolFacts.headers`, `params` JSON text.

    An argument that is absent, null, or of a type that no header has is left out: the server will say what it thinks.
    """
    arguments = open_object(params).get("arguments", b"")
    values = ((name, _parameter(_value_at(arguments, path))) for name, path in paths.items())
    return tuple(
        (f"{PARAMETER_PREFIX}{name}", encode_value(value))
        for name, value in values
        if value is not None
    )


def _value_at(text: bytes, path: Sequence[str]) -> bytes:
    for name in path:
        text = open_object(text).get(name, b"")
    return text


def _parameter(text: bytes) -> str | None:
    """A JSON value as it stands in a header: strings as they are, booleans, and numbers that are whole."""
    if text in (b"true", b"false"):
        return text.decode()
    if text.startswith(b'"'):
        return open_text(text)
    return _integer(text) if _NUMBER.fullmatch(text) and len(text) <= MAX_DIGITS else None


def _integer(text: bytes) -> str | None:
    """A number in decimal: servers that read `42.0` as an integer compare it with `42`."""
    number = Decimal(text.decode())
    if number.adjusted() >= MAX_DIGITS or number != number.to_integral_value():
        return None
    return str(int(number))


def encode_value(value: str) -> str:
    """A string as a header value; what a header cannot hold is wrapped in base64 (2026-07-28, "Value Encoding")."""
    if _PLAIN.fullmatch(value) and not _SENTINEL.fullmatch(value):
        return value
    return f"=?base64?{base64.b64encode(value.encode('utf-8', 'surrogatepass')).decode()}?="
