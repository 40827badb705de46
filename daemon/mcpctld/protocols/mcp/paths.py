"""A value deep within a JSON text, read or replaced by the names on the way to it."""

from mcpctld.protocols.mcp.objects import close_object, open_object

Path = tuple[str, ...]
"""Names of members, the outermost first."""


def value_at(text: bytes, path: Path) -> bytes:
    """The JSON text of the value; `b""` where there is none."""
    for name in path:
        text = open_object(text).get(name, b"")
    return text


def replace_at(text: bytes, path: Path, value: bytes) -> bytes:
    """The text with the value replaced by another JSON text; unchanged where there is none."""
    name, *rest = path
    members = open_object(text)
    if name not in members:
        return text
    members[name] = replace_at(members[name], tuple(rest), value) if rest else value
    return close_object(members)
