"""Text surgery on JSON-RPC messages: the id, and nothing but the id, is replaced, added or found.

Messages are read by patterns, in linear time; `msgspec` reads back what was changed.
"""

import json
import re

import msgspec

_WS = rb"[ \t\r\n]*+"
_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_NUMBER = rb"-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?+(?:[eE][+-]?[0-9]++)?+"
_SCALAR = rb"(?:" + _STRING + rb"|" + _NUMBER + rb"|true|false|null)"
_MEMBER = _STRING + _WS + rb":" + _WS + _SCALAR + _WS
_ID_MEMBER = rb'"id"' + _WS + rb":" + _WS + rb"(" + _SCALAR + rb")" + _WS

# The id after nothing but plain members, from the start of a text.
_LEADING_ID = re.compile(
    _WS + rb"\{" + _WS + rb"(?:" + _MEMBER + rb"," + _WS + rb")*?" + _ID_MEMBER + rb"[,}]",
    re.DOTALL,
)
# The id before nothing but plain members, up to the end: the last brace closes the top level. A
# quote after one of the bytes in front opens a string: if it ended one, `id` would stand bare.
_TRAILING_ID = re.compile(
    rb"(?<=[,{ \t\r\n])" + _ID_MEMBER + rb"(?:," + _WS + _MEMBER + rb")*+\}" + _WS + rb"\Z",
    re.DOTALL,
)


def _inside(levels: int) -> bytes:
    """The pattern of what stands within brackets, with at most so many levels of brackets in it."""
    deeper = rb"|[{\[]" + _inside(levels - 1) + rb"[}\]]" if levels else b""
    return rb'(?:[^"{}\[\]]++|' + _STRING + deeper + rb")*+"


# A nested value in one step where it is shallow, else bracket by bracket; or a string, maybe a key.
_TOKEN = re.compile(
    rb"[{\[]" + _inside(4) + rb"[}\]]|(?P<open>[{\[])|(?P<close>[}\]])"
    rb"|(?P<string>" + _STRING + rb")(?P<colon>" + _WS + rb":" + _WS + rb")?",
    re.DOTALL,
)
_ID_KEY = re.compile(rb'"(?:i|\\u0069)(?:d|\\u0064)"')
_VALUE = re.compile(_SCALAR, re.DOTALL)


class _Identified(msgspec.Struct, gc=False):
    id: msgspec.Raw = msgspec.Raw()


_decode_identified = msgspec.json.Decoder(_Identified).decode


def one_line(raw: bytes) -> bytes:
    """The same JSON text without line breaks, which JSON has only between tokens (RFC 8259 §7)."""
    if b"\n" not in raw and b"\r" not in raw:
        return raw
    return raw.replace(b"\r", b" ").replace(b"\n", b" ")


def insert_id(raw: bytes, id: bytes) -> bytes:
    """A JSON object (not an empty one) with a new first member."""
    start = raw.index(b"{") + 1
    return b'%b"id":%b,%b' % (raw[:start], id, raw[start:])


def replace_id(raw: bytes, id: bytes) -> bytes:
    """A JSON object with the value of its top-level id, a scalar, replaced; of several the last."""
    match = _LEADING_ID.match(raw) or _trailing_id(raw)
    if match:
        replaced = _replace(raw, match.span(1), id)
        if _reads_as(replaced, id):  # so it was the only one, or the last
            return replaced
    span = _scan(raw)
    if span is None:
        raise ValueError("the message has no id that could be replaced")
    return _replace(raw, span, id)


def find_id(raw: bytes) -> bytes | None:
    """The top-level id, a scalar, of a JSON object; of several the last."""
    span = _scan(raw)
    return raw[slice(*span)] if span else None


def guess_id(head: bytes, tail: bytes) -> bytes | None:
    """The id of a message too long to keep, from its first and last bytes; None if in doubt."""
    match = _LEADING_ID.match(head) or _trailing_id(tail)
    return _checked(match[1]) if match else None


def _replace(raw: bytes, span: tuple[int, int], id: bytes) -> bytes:
    text = memoryview(raw)  # one copy, not three: this may be megabytes
    return b"".join((text[: span[0]], id, text[span[1] :]))


def _reads_as(raw: bytes, id: bytes) -> bool:
    try:
        return bytes(_decode_identified(raw).id) == id
    except (msgspec.DecodeError, RecursionError):  # lone surrogates: see jsonrpc.parse
        return False


def _trailing_id(text: bytes) -> re.Match[bytes] | None:
    at = text.rfind(b'"id"')
    return _TRAILING_ID.match(text, at) if at >= 0 else None


def _scan(raw: bytes) -> tuple[int, int] | None:
    """Where the value of the last top-level id stands, by a walk over all members."""
    span = None
    depth = 0
    for token in _TOKEN.finditer(raw, raw.index(b"{") + 1):
        if token["open"]:
            depth += 1
        elif token["close"]:
            depth -= 1
        elif depth == 0 and token["colon"] and _ID_KEY.fullmatch(token["string"]):
            value = _VALUE.match(raw, token.end())
            span = value.span() if value else None
    return span


def _checked(token: bytes) -> bytes | None:
    """The id, if it is one: nothing has looked at this text yet, and an answer will hold it."""
    try:
        value = json.loads(token)
    except ValueError:
        return None
    return token if isinstance(value, str | int | float) and not isinstance(value, bool) else None
