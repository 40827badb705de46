"""The other side of the DNS: questions in, answers out (RFC 1035 §4).

For the resolver of a gateway, which knows its few names by itself: it asks nobody.
"""

import struct
from collections.abc import Sequence

import msgspec

from mcpctld.protocols.inet.dns.message import Code, Kind
from mcpctld.protocols.inet.dns.names import MalformedName, decode_name

MAX_UDP = 1232
"""Of an answer; one that is longer is cut off, and asked for by TCP."""

_HEADER = struct.Struct("!HHHHHH")
_QUESTION = struct.Struct("!HH")
_RECORD = struct.Struct("!HHHIH")  # a pointer to the question's name; type, class, TTL, length
_IN = 1
_POINTER = 0xC000 | _HEADER.size
_RESPONSE, _AUTHORITATIVE, _TRUNCATED = 0x8000, 0x0400, 0x0200
_COPIED = 0x0100  # recursion desired
_OPCODE = 0x7800
_MAX_STRING = 255


class Question(msgspec.Struct, frozen=True):
    """What is asked. `name` is in lower case; `kind` may be one that we do not know."""

    id: int
    flags: int
    name: str
    kind: int
    raw: bytes
    """As it came, to be repeated."""


def read_question(data: bytes) -> Question | None:
    """The question of a message, None for what is none."""
    try:
        id, flags, count, *_ = _HEADER.unpack_from(data)
        name, at = decode_name(data, _HEADER.size)
        kind, class_ = _QUESTION.unpack_from(data, at)
    except (struct.error, MalformedName):
        return None
    if flags & (_RESPONSE | _OPCODE) or count != 1 or class_ != _IN:
        return None
    return Question(id, flags, name, kind, data[_HEADER.size : at + _QUESTION.size])


def encode_reply(
    question: Question,
    records: Sequence[bytes] | None,
    ttl: int,
    most: int = 0xFFFF,
) -> bytes:
    """The answer, of `most` bytes. `records`: addresses of 16 bytes, or texts; None: there is no such name."""
    code = Code.NO_SUCH_NAME if records is None else Code.NO_ERROR
    flags = _RESPONSE | _AUTHORITATIVE | question.flags & _COPIED | code
    encoded = [_record(question.kind, record, ttl) for record in records or ()]
    reply = _message(question, flags, encoded)
    return reply if len(reply) <= most else _message(question, flags | _TRUNCATED, [])


def _message(question: Question, flags: int, records: list[bytes]) -> bytes:
    header = _HEADER.pack(question.id, flags, 1, len(records), 0, 0)
    return header + question.raw + b"".join(records)


def _record(kind: int, value: bytes, ttl: int) -> bytes:
    data = _strings(value) if kind == Kind.TXT else value
    return _RECORD.pack(_POINTER, kind, _IN, ttl, len(data)) + data


def _strings(text: bytes) -> bytes:
    """A text in strings of 255 bytes at most (§3.3.14); one that is empty is one string."""
    pieces = [text[at : at + _MAX_STRING] for at in range(0, len(text), _MAX_STRING)] or [b""]
    return b"".join(bytes([len(piece)]) + piece for piece in pieces)
