r"""JSON objects opened by one level: the values stay the JSON text they were.

What a bridge or a filter must change lies a level or two below the top of a message. It opens the objects on the way
there, changes members, and closes them again; every other value keeps its bytes: `1.0`, `1e400`, `"\u0061"`.

None of these functions raises for what stands in a text.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

import msgspec
from msgspec import Raw

from mcpctld.protocols.jsonrpc import Message

_decode = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_array = msgspec.json.Decoder(list[Raw]).decode
_decode_text = msgspec.json.Decoder(str).decode
_encode = msgspec.json.encode


def open_object(text: bytes) -> dict[str, bytes]:
    """The members of a JSON object, in order, as JSON text; empty for any other value, and for none (`b""`).

    Of members with the same name the last one counts.
    """
    return read_object(text) or {}


def read_object(text: bytes) -> dict[str, bytes] | None:
    """The same, but None for any other value, and for one that is nested too deeply to be read."""
    try:
        return {name: bytes(value) for name, value in _decode(text).items()}
    except msgspec.ValidationError:  # another value
        return None
    except (ValueError, RecursionError):
        return dict(_open_lone_surrogates(text, "{")) or None


def read_part(message: Message, name: Literal["params", "result", "error"]) -> bytes:
    """A member of a message as JSON text, lone surrogates included: what `parse` has read may lack them.

    `b""` when absent.
    """
    text: bytes = getattr(message, name)
    return open_object(message.raw).get(name, text) if b"\\ufffd" in text else text


def close_object(members: Mapping[str, bytes]) -> bytes:
    """A JSON object of members whose values are JSON text."""
    return b"{%b}" % b",".join(
        b"%b:%b" % (close_text(name), value) for name, value in members.items()
    )


def open_array(text: bytes) -> list[bytes]:
    """The items of a JSON array as JSON text; empty for any other value."""
    try:
        return [bytes(item) for item in _decode_array(text)]
    except msgspec.ValidationError:
        return []
    except (ValueError, RecursionError):
        return [item for _, item in _open_lone_surrogates(text, "[")]


def close_array(items: Iterable[bytes]) -> bytes:
    """A JSON array of items that are JSON text."""
    return b"[%b]" % b",".join(items)


def open_text(text: bytes) -> str | None:
    """The string that a JSON text is, lone surrogates included; None for any other value."""
    try:
        return _decode_text(text)
    except msgspec.ValidationError:
        return None
    except (ValueError, RecursionError):
        pass
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, str) else None


def close_text(value: str) -> bytes:
    """A string as JSON text; lone surrogates are escaped, for UTF-8 has none."""
    try:
        return _encode(value)
    except UnicodeEncodeError:
        return json.dumps(value).encode()


# ---------------------------------------------------------------- lone surrogates
# RFC 8259 §8.2 allows `"\ud800"`, msgspec does not.


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


# Numbers are not converted: only their extent counts.
_scan = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=_refuse).raw_decode
_BLANK = " \t\r\n"


def _open_lone_surrogates(text: bytes, opening: str) -> list[tuple[str, bytes]]:
    """The members of an object, or the items of an array, each with an empty name."""
    if b"\\u" not in text:
        return []
    try:
        return list(_walk(text.decode().strip(_BLANK), opening))
    except (ValueError, IndexError, RecursionError):  # not such a value, or too deep
        return []


def _walk(text: str, opening: str) -> Iterator[tuple[str, bytes]]:
    """Raises `ValueError` or `IndexError` for what is no such value."""
    closing, at, name = {"{": "}", "[": "]"}[opening], 0, ""
    separator = opening
    while text[at] == separator:
        at = _skip(text, at + 1)
        if opening == "{":
            name, at = _scan_name(text, at)
        _, end = _scan(text, at)
        yield name, text[at:end].encode()
        at, separator = _skip(text, end), ","
    if text[at:] != closing:
        raise ValueError(f"no {closing} at the end")


def _scan_name(text: str, at: int) -> tuple[str, int]:
    """A member's name, and where its value begins."""
    name, end = _scan(text, at)
    colon = _skip(text, end)
    if text[at] != '"' or text[colon] != ":":
        raise ValueError("a member without a name")
    return name, _skip(text, colon + 1)


def _skip(text: str, at: int) -> int:
    while text[at] in _BLANK:
        at += 1
    return at
