"""What can go wrong, by whose fault it is.

McpctlError
├── UserError       the request, command line or configuration is wrong        bad-request
├── NotFound        no such server, session or tool                            not-found
├── Conflict        it exists already, or is held by another                   conflict
├── Denied          not allowed, or credentials are wanted                     denied
├── Unreachable     the network or the process is gone                         unreachable
│   └── SessionLost     the server does not know the session any more          unreachable
├── TimedOut        no answer within the bound                                 timeout
├── PeerError       the other side broke the protocol                          peer
└── InternalError   a bug of ours                                              internal

Messages say what failed, on what, and what to do next. `kind` is a key of `mcpctl.wire.KINDS`.
"""

from collections.abc import Mapping
from types import MappingProxyType


class McpctlError(Exception):
    """The root; never raised itself."""

    kind = "internal"

    unprocessed = False
    """The server has provably not acted on the request that failed with this: it may be made again."""

    interrupted = False
    """The answer was cut off, or got lost, on its way."""

    exhausted = False
    """The request has waited for the server as long as it may."""

    rpc_code: int | None = None
    """The JSON-RPC code by which a client knows it; None where it has none but that of an internal error."""

    rpc_data: Mapping[str, object] = MappingProxyType({})
    """What the code promises in the error's `data`, beside what we always say there."""

    @property
    def message(self) -> str:
        """The text for the user."""
        return str(self)


class UserError(McpctlError):
    """The request, command line or configuration is wrong."""

    kind = "bad-request"


class NotFound(McpctlError):
    """No such server, session or tool."""

    kind = "not-found"


class Conflict(McpctlError):
    """It exists already, or is held by another."""

    kind = "conflict"


class Denied(McpctlError):
    """Not allowed, or the server wants credentials."""

    kind = "denied"


class Unreachable(McpctlError):
    """The network, or a process, is gone."""

    kind = "unreachable"


class SessionLost(Unreachable):
    """The server does not know the session any more; whatever was asked in it can be asked in a new one."""

    unprocessed = True


class TimedOut(McpctlError):
    """No answer came within the bound."""

    kind = "timeout"


class PeerError(McpctlError):
    """The other side broke the protocol."""

    kind = "peer"


class InternalError(McpctlError):
    """A bug of ours."""

    kind = "internal"
