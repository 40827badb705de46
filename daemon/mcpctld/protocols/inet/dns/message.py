"""DNS messages: questions out, answers in (RFC 1035 §4; EDNS(0), RFC 6891).

Asked for are addresses (AAAA, RFC 3596) and texts (TXT). An answer must repeat the question; of its records only those
count that belong to the name asked for, or to where aliases lead from it (RFC 1034 §3.6.2).
"""

import enum
import struct

import msgspec

from mcpctld.protocols.inet.dns.names import MalformedName, decode_name, encode_name

MAX_RECORDS = 256
"""In one message. A name with more addresses than this is not one of ours."""
MAX_ALIASES = 8
MAX_TTL_S = 7 * 24 * 3600
"""RFC 8767 §4 would have it so; what has the upper bit set counts as 0."""
UDP_SIZE = 1232
"""What we can take in a datagram: fits into the smallest MTU of IPv6 (1280)."""

_HEADER = struct.Struct("!HHHHHH")
_FIXED = struct.Struct("!HHIH")  # of a record, behind its name: type, class, TTL, length
_QUESTION = struct.Struct("!HH")
_IN = 1
_CNAME, _SOA, _OPT = 5, 6, 41
_RESPONSE, _TRUNCATED, _RECURSION_DESIRED = 0x8000, 0x0200, 0x0100
_OPCODE = 0x7800


class Kind(enum.IntEnum):
    """What may be asked for."""

    TXT = 16
    AAAA = 28


class Code(enum.IntEnum):
    """What the server said of a question (RFC 1035 §4.1.1)."""

    NO_ERROR = 0
    FORMAT_ERROR = 1
    SERVER_FAILURE = 2
    NO_SUCH_NAME = 3
    NOT_IMPLEMENTED = 4
    REFUSED = 5


class MalformedMessage(ValueError):
    """The bytes are no answer, or not to this question."""


class Answer(msgspec.Struct, frozen=True):
    """What came back.

    `records`: addresses of 16 bytes, or the texts; empty where the name exists without any, or does not exist.
    `ttl`: for how many seconds that may be kept, absence too (RFC 2308 §5); 0: not at all.
    """

    code: int
    records: tuple[bytes, ...] = ()
    ttl: int = 0
    is_truncated: bool = False

    @property
    def exists(self) -> bool:
        """Whether there is anything of the kind that was asked for."""
        return bool(self.records)


def encode_query(id: int, name: str, kind: Kind, *, edns: bool) -> bytes:
    """A question. Raises `ValueError` for what is no name."""
    header = _HEADER.pack(id, _RECURSION_DESIRED, 1, 0, 0, int(edns))
    question = encode_name(name) + _QUESTION.pack(kind, _IN)
    option = b"\0" + _FIXED.pack(_OPT, UDP_SIZE, 0, 0) if edns else b""
    return header + question + option


def decode_answer(data: bytes, id: int, name: str, kind: Kind) -> Answer:
    """The answer to this question. Raises `MalformedMessage` for everything else.

    That it repeats the question is not enough against who can guess: ports and id are random (RFC 5452 §4).
    """
    try:
        return _decode(data, id, name, kind)
    except (MalformedName, struct.error) as exc:
        raise MalformedMessage(str(exc)) from exc


class _Record(msgspec.Struct):
    name: str
    kind: int
    ttl: int
    data: bytes
    at: int  # where the data begins in the message, for names in it


def _decode(data: bytes, id: int, name: str, kind: Kind) -> Answer:
    got, flags, questions, answers, authorities, _ = _HEADER.unpack_from(data)
    if got != id or not flags & _RESPONSE or flags & _OPCODE or questions != 1:
        raise MalformedMessage("not an answer to this question")
    asked, at = decode_name(data, _HEADER.size)
    if asked != _canonical(name) or _QUESTION.unpack_from(data, at) != (kind, _IN):
        raise MalformedMessage("an answer to another question")
    code = flags & 0xF
    if flags & _TRUNCATED:
        return Answer(code, is_truncated=True)  # what is there is a part of it (RFC 2181 §9)
    if answers + authorities > MAX_RECORDS:
        raise MalformedMessage("too many records")
    found, at = _read_records(data, at + _QUESTION.size, answers)
    records, ttl = _follow(data, found, asked, kind)
    if not records:
        authority, _ = _read_records(data, at, authorities)
        ttl = _negative_ttl(data, authority)
    return Answer(code, records, ttl)


def _canonical(name: str) -> str:
    return name.removesuffix(".").lower()


def _read_records(data: bytes, at: int, count: int) -> tuple[list[_Record], int]:
    """So many records, and where what follows begins."""
    records = []
    for _ in range(count):
        name, at = decode_name(data, at)
        kind, class_, ttl, length = _FIXED.unpack_from(data, at)
        at += _FIXED.size
        if at + length > len(data):
            raise MalformedMessage("the end within a record")
        if class_ == _IN:
            records.append(_Record(name, kind, _bounded(ttl), data[at : at + length], at))
        at += length
    return records, at


def _bounded(ttl: int) -> int:
    return 0 if ttl >> 31 else min(ttl, MAX_TTL_S)  # RFC 2181 §8


def _follow(
    data: bytes, records: list[_Record], name: str, kind: Kind
) -> tuple[tuple[bytes, ...], int]:
    """What the name, or that for which it is an alias, has of this kind; the least of the lifetimes on the way."""
    ttl = MAX_TTL_S
    for _ in range(MAX_ALIASES + 1):
        own = [record for record in records if record.name == name]
        values = tuple(_value(record) for record in own if record.kind == kind)
        if values:
            return values, min(ttl, *(record.ttl for record in own if record.kind == kind))
        alias = next((record for record in own if record.kind == _CNAME), None)
        if alias is None:
            return (), 0
        ttl = min(ttl, alias.ttl)
        name, _ = decode_name(data, alias.at)
    raise MalformedMessage("too many aliases")


def _value(record: _Record) -> bytes:
    """An address, or the strings of a text put together."""
    data = record.data
    if record.kind == Kind.AAAA:
        if len(data) != 16:
            raise MalformedMessage("an address of the wrong length")
        return data
    strings = []
    while data:
        size = data[0]
        if size >= len(data):
            raise MalformedMessage("the end within a text")
        strings.append(data[1 : 1 + size])
        data = data[1 + size :]
    return b"".join(strings)


def _negative_ttl(data: bytes, authority: list[_Record]) -> int:
    """For how long absence may be kept: the SOA's own lifetime or its `minimum`, the lesser (RFC 2308 §5)."""
    for record in authority:
        if record.kind == _SOA:
            if len(record.data) < 22:
                raise MalformedMessage("the end within a record")
            return min(record.ttl, _bounded(int.from_bytes(record.data[-4:], "big")))
    return 0
