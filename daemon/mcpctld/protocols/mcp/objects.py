"""JSON objects opened by one level: the values stay the JSON text they were.

What a bridge or a filter must change lies a level or two below the top of a message. It opens the objects on the way
there, changes members, and closes them again; every other value keeps its bytes.
"""

from collections.abc import Mapping

import msgspec
from msgspec import Raw

_decode = msgspec.json.Decoder(dict[str, Raw]).decode
_encode = msgspec.json.encode


def open_object(text: bytes) -> dict[str, bytes]:
    """The members of a JSON object, in order, as JSON text; empty for any other value, and for none (`b""`)."""
    try:
        return {name: bytes(value) for name, value in _decode(text).items()}
    except (msgspec.DecodeError, RecursionError):
        return {}


def close_object(members: Mapping[str, bytes]) -> bytes:
    """A JSON object of members whose values are JSON text."""
    return b"{%b}" % b",".join(b"%b:%b" % (_encode(name), value) for name, value in members.items())
