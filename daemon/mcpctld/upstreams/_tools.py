"""What the sessions with a server know of its tools, and the listing of those that none has listed.

MCP 2026-07-28, Transports, "Custom Headers from Tool Parameters": a call repeats arguments in headers, as the tool's
schema says. So the schema must be known before the first call, whether or not the client has asked for it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice

import trio

from mcpctld.errors import McpctlError, PeerError
from mcpctld.protocols.jsonrpc import Kind, read_error
from mcpctld.protocols.mcp.asides import Envelope, make_request
from mcpctld.protocols.mcp.objects import close_text
from mcpctld.protocols.mcp.tools import ToolFacts, ToolPage, read_tools
from mcpctld.upstreams._aside import Outside, Question
from mcpctld.upstreams._base import Context
from mcpctld.upstreams._shared import Shared

LIST_BOUND_S = 10.0
MAX_PAGES = 100
MAX_TOOLS = 10_000
"""Of more the facts are not kept, which stand on disk."""
LISTED_S = 30.0
"""For so long after a listing, a tool that was not on it does not cause another."""

HUB = "tools"


def learn_tools(shared: Shared, page: ToolPage, *, whole: bool) -> None:
    """Keep what a `tools/list` told; `whole`: what was known before and is not on it, is gone."""
    known = shared.facts.tools
    told = page.facts if whole else {**known, **page.facts}
    learned = dict(islice(told.items(), MAX_TOOLS))
    if learned != known:
        shared.facts.tools = learned
        shared.changed()


def catalogue_of(context: Context) -> "Catalogue":
    """The one of the server."""
    hubs = context.shared.hubs
    if HUB not in hubs:
        hubs[HUB] = Catalogue(context.shared, Outside.of(context))
    catalogue = hubs[HUB]
    assert isinstance(catalogue, Catalogue)
    return catalogue


@dataclass(slots=True)
class _Listing:
    """One under way, and what is to be done when it is over."""

    envelope: Envelope
    waiting: dict["Ticket", Callable[[], None]] = field(default_factory=dict)
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)


class Ticket:
    """A call that waits for a listing."""

    def __init__(self, catalogue: "Catalogue", listing: _Listing) -> None:
        self._catalogue = catalogue
        self._listing = listing

    def cancel(self) -> None:
        """It does not wait any more."""
        self._catalogue.leave(self, self._listing)


class Catalogue:
    """Lists all tools of a server, once for all who wait for it; a task runs only meanwhile."""

    def __init__(self, shared: Shared, outside: Outside) -> None:
        self._shared = shared
        self._outside = outside
        self._listing: _Listing | None = None
        self._listed_at: float | None = None

    @property
    def is_fresh(self) -> bool:
        """Whether there was a listing just now, so that another would bring nothing."""
        listed = self._listed_at
        return listed is not None and trio.current_time() < listed + LISTED_S

    def list_then(self, envelope: Envelope, go_on: Callable[[], None]) -> Ticket:
        """List all tools in the name of a client, and then, however that went, call `go_on`."""
        listing = self._listing
        if listing is None:
            listing = self._listing = _Listing(envelope)
            self._shared.nursery.start_soon(self._run, listing)
        ticket = Ticket(self, listing)
        listing.waiting[ticket] = go_on
        return ticket

    def leave(self, ticket: Ticket, listing: _Listing) -> None:
        """One does not wait any more; the last one ends the listing."""
        if listing.waiting.pop(ticket, None) is not None and not listing.waiting:
            listing.scope.cancel()
            self._over(listing)

    def _over(self, listing: _Listing) -> None:
        if self._listing is listing:
            self._listing = None

    async def _run(self, listing: _Listing) -> None:
        error: McpctlError | None = PeerError(f"not within {LIST_BOUND_S:.0f} s")
        with listing.scope:
            with trio.move_on_after(LIST_BOUND_S):
                error = await self._try_to_list(listing.envelope)
            if error is not None:
                self._outside.log.warning("tools.not_listed", extra={"error": str(error)})
            self._listed_at = trio.current_time()
            self._over(listing)
            for go_on in tuple(listing.waiting.values()):
                go_on()

    async def _try_to_list(self, envelope: Envelope) -> McpctlError | None:
        try:
            learn_tools(self._shared, await self._list(envelope), whole=True)
        except McpctlError as exc:
            return exc  # noqa: ASYNC910  (what failed has waited)
        return None

    async def _list(self, envelope: Envelope) -> ToolPage:
        """All pages as one."""
        facts: dict[str, ToolFacts] = {}
        members: dict[str, bytes] = {}
        for number in range(MAX_PAGES):
            id = b'"mcpctl:tools:%d"' % number
            request = make_request(id, "tools/list", envelope, members)
            answer = await Question(self._outside, request).ask()
            if answer.kind is Kind.ERROR:
                raise PeerError(read_error(answer)[1] or "the server answered with an error")
            page = read_tools(answer.result)
            facts.update(page.facts)
            if page.next_cursor is None:
                return page._replace(facts=facts)
            members = {"cursor": close_text(page.next_cursor)}
        raise PeerError(f"more than {MAX_PAGES} pages")
