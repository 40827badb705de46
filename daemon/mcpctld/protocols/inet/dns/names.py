"""Domain names on the wire (RFC 1035 §3.1, §4.1.4). In text they are without the dot at the end, in lower case."""

import re

MAX_NAME = 255
"""On the wire, lengths and the root included (§2.3.4)."""
MAX_LABEL = 63
MAX_POINTERS = 32
"""Each one leads back, so a loop is not possible; this bounds the work."""

# Letters, digits, hyphens, and the underscores of service names (RFC 8552): `_apps.internal`.
_LABEL = re.compile(r"[0-9A-Za-z_]([0-9A-Za-z_-]{0,61}[0-9A-Za-z_])?")
_ODD = re.compile(r"[^!-~]|[.\\]")
_POINTER = 0xC0


class MalformedName(ValueError):
    """The bytes are no name."""


def encode_name(name: str) -> bytes:
    """The name for a question. Raises `ValueError` for what is no host's name; it may end with a dot."""
    labels = name.removesuffix(".").split(".")
    if not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError(f"cannot look up {name!r}: it is not a host name")
    encoded = b"".join(bytes([len(label)]) + label.encode("ascii") for label in labels) + b"\0"
    if len(encoded) > MAX_NAME:
        raise ValueError(f"cannot look up {name!r}: it is longer than {MAX_NAME} bytes")
    return encoded


def decode_name(message: bytes, at: int) -> tuple[str, int]:
    """The name at this place, and where what follows it begins. Raises `MalformedName`.

    A pointer must lead to what came before (§4.1.4: "a prior occurrence").
    """
    labels: list[str] = []
    length = pointers = 0
    after: int | None = None
    limit = at
    while size := _byte(message, at):
        if size >= _POINTER:
            target = (size & ~_POINTER) << 8 | _byte(message, at + 1)
            pointers += 1
            if target >= limit or pointers > MAX_POINTERS:
                raise MalformedName("a pointer that does not lead back")
            after = at + 2 if after is None else after
            at = limit = target
            continue
        length += size + 1
        if size > MAX_LABEL or length >= MAX_NAME or at + 1 + size > len(message):
            raise MalformedName("a label or name that is too long")
        labels.append(_text(message[at + 1 : at + 1 + size]))
        at += 1 + size
    return ".".join(labels), at + 1 if after is None else after


def _byte(message: bytes, at: int) -> int:
    if at >= len(message):
        raise MalformedName("the end within a name")
    return message[at]


def _text(label: bytes) -> str:
    """A label as text that no other label looks like (RFC 4343 §2.1)."""
    text = label.lower().decode("latin-1")  # bytes know of ASCII letters only, as names do
    return _ODD.sub(lambda found: f"\\{ord(found[0]):03d}", text)
