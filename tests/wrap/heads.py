"""Heads of requests, as tests of the guard send them."""

from mcpctld.protocols.http1 import Headers
from mcpctld.wrap.verdicts import Refusal


def heads(*lines: str) -> Headers:
    """`"name: value"` each."""
    pairs = (line.partition(":") for line in lines)
    return Headers([(name.encode(), value.strip().encode("latin-1")) for name, _, value in pairs])


def field(refusal: Refusal, name: str) -> list[str]:
    """The values of one header of a refusal."""
    return [value for known, value in refusal.headers if known.lower() == name.lower()]
