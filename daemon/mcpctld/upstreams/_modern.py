"""What MCP 2026-07-28 asks of a client over HTTP, beyond the standard headers, and no client of a stdio server does.

Transports, "Custom Headers from Tool Parameters": tools with broken annotations are left out of lists, calls repeat
arguments in headers. And listens are shared with other sessions.
"""

from collections.abc import Callable
from functools import partial

from mcpctld.protocols.jsonrpc import Kind, Message, Params, parse, read_error, read_params
from mcpctld.protocols.mcp.asides import envelope_of
from mcpctld.protocols.mcp.headers import PARAMETER_PREFIX, parameter_headers
from mcpctld.protocols.mcp.listening import read_filter
from mcpctld.protocols.mcp.objects import close_object, open_object
from mcpctld.protocols.mcp.tools import ToolFacts, read_tools
from mcpctld.upstreams._base import Context
from mcpctld.upstreams._hub import join
from mcpctld.upstreams._post import Owner, Post
from mcpctld.upstreams._refusals import Refusal, json_rpc_error
from mcpctld.upstreams._tools import catalogue_of, learn_tools

HEADER_MISMATCH = -32020
MAX_NAMED = 20
MAX_NAME_SHOWN = 100
"""A server must not fill the log with the tools that are left out of one list."""


class Duties:
    """Of one session."""

    def __init__(self, context: Context, owner: Owner, submit: Callable[[Post], None]) -> None:
        """`submit` sends a POST of the owner's."""
        self._context = context
        self._shared = context.shared
        self._owner = owner
        self._submit = submit

    def take(self, post: Post, params: Params) -> bool:
        """Get a modern POST ready. True when it must not be sent now: it will be later, or never."""
        message = post.message
        assert isinstance(message, Message)
        match message.method:
            case "tools/call":
                return self._prepare_call(post, message, params.name or "")
            case "tools/list":
                post.review = partial(self._review, message)
            case "subscriptions/listen":
                return self._share(post, message, params.protocol_version or "")
        return False

    # ------------------------------------------------------------ tools

    def _review(self, request: Message, response: Message) -> Message:
        """A list as the client may see it."""
        if response.kind is not Kind.RESULT:
            return response
        page = read_tools(response.result)
        first = "cursor" not in open_object(request.params)
        learn_tools(self._shared, page, whole=first and page.next_cursor is None)
        if not page.excluded:
            return response
        for name, reason in page.excluded[:MAX_NAMED]:
            extra = {"tool": name[:MAX_NAME_SHOWN], "reason": reason}
            self._context.log.warning("tools.excluded", extra=extra)
        members = {**open_object(response.raw), "result": page.result}
        reviewed = parse(close_object(members))
        assert isinstance(reviewed, Message)
        return reviewed

    def _prepare_call(self, post: Post, message: Message, name: str) -> bool:
        facts = self._shared.facts.tools.get(name)
        if facts is not None:
            if facts.headers:
                post.headers += parameter_headers(facts.headers, message.params)
            return False
        catalogue = catalogue_of(self._context)
        if not name or catalogue.is_fresh:
            return False
        envelope = envelope_of(message.params)
        post.exchange = catalogue.list_then(envelope, partial(self._send_call, post, message, name))
        return True

    def _send_call(self, post: Post, message: Message, name: str) -> None:
        """The tools are known now, or will not be."""
        if post.pending:
            post.headers = self._headers(post, message, name)
            self._submit(post)

    def _headers(self, post: Post, message: Message, name: str) -> tuple[tuple[str, str], ...]:
        facts = self._shared.facts.tools.get(name) or ToolFacts()
        standard = [pair for pair in post.headers if not pair[0].startswith(PARAMETER_PREFIX)]
        return (*standard, *parameter_headers(facts.headers, message.params))

    def take_refusal(self, post: Post, refusal: Refusal) -> bool:
        """Whether a call was refused because its headers are not what the tool wants: then they are looked up anew."""
        message = post.message
        if not post.modern or post.listed_again or not isinstance(message, Message):
            return False
        if message.method != "tools/call" or not _is_header_mismatch(refusal):
            return False
        post.listed_again = True
        again = partial(self._call_again, post, message, refusal)
        post.exchange = catalogue_of(self._context).list_then(envelope_of(message.params), again)
        return True

    def _call_again(self, post: Post, message: Message, refusal: Refusal) -> None:
        """With the headers that the tool wants now; without another try if they were those."""
        if not post.pending:
            return
        before = post.headers
        post.headers = self._headers(post, message, read_params(message).name or "")
        if post.headers == before:
            self._owner.refused(post, refusal)
        else:
            self._submit(post)

    # ------------------------------------------------------------ listens

    def _share(self, post: Post, message: Message, version: str) -> bool:
        wanted = read_filter(message.params)
        if wanted is None:
            return False
        post.exchange = seat = join(self._context, self._owner, post, version, wanted)
        if not post.pending:  # acknowledged and given up within `join`
            seat.cancel()
        return True


def _is_header_mismatch(refusal: Refusal) -> bool:
    error = json_rpc_error(refusal) if refusal.status == 400 else None
    return error is not None and read_error(error)[0] == HEADER_MISMATCH
