"""What a row of the table is, and what its handler is given."""

import enum
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from quart.wrappers import Response

from mcpctld.api.engine import Engine
from mcpctld.api.streams import EventStreams


class Access(enum.Enum):
    """What a route can do. Whoever may open the socket may do all three; writes are logged."""

    OPEN = "open"
    """Tells nothing about servers or sessions."""
    READ = "read"
    """Changes nothing."""
    WRITE = "write"
    """Changes something."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request, as a handler sees it."""

    engine: Engine
    streams: EventStreams
    routes: "tuple[Route, ...]"
    method: str
    """The route's own, or HEAD where that is GET."""
    arguments: Mapping[str, str]
    """What stood in the braces of the path."""
    body: Any
    """Already decoded to the request shape of the route; None where it has none."""


Answer = Mapping[str, object] | Response
"""What a handler returns: an object to be sent as JSON, or a response of its own making."""

Handler = Callable[[Call], Answer | Awaitable[Answer]]
"""Async only where it waits for the engine; a plain one runs in the trio thread all the same."""


@dataclass(frozen=True, slots=True)
class Route:
    """One thing that the API can do."""

    method: str
    path: str
    """Variable parts stand in braces and match one segment."""
    access: Access
    handler: Handler
    summary: str
    answer: Any
    """The TypedDict of the answer, or the content type where that is not JSON."""
    request: Any = None
    """The TypedDict of the request's body."""
