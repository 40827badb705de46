"""What the control API needs of the daemon, and nothing more. `run` implements it."""

from typing import Protocol

from mcpctl import shapes
from mcpctld.sessions.events import EventBus


class Engine(Protocol):
    """The daemon as the control API sees it.

    Whatever cannot be done is raised as an `McpctlError`, which the API turns into its answer.
    """

    @property
    def draining(self) -> bool:
        """True once the daemon has begun to stop; event streams end then."""

    @property
    def events(self) -> EventBus:
        """What happens, as it happens. `close()` it when draining begins, after the last event."""

    def status(self) -> shapes.Status:
        """All there is to know at this instant; cheap, and the caller may change its copy."""

    async def reload(self) -> shapes.Reloaded:
        """Read all configuration files again; the answer, not an exception, names broken ones."""

    async def end_session(self, session_id: str) -> None:
        """End one session and return when it is gone. Raises `NotFound`."""

    async def wake(self, name: str) -> shapes.Woken:
        """Have a server's machine awake, and return when it is.

        Raises `NotFound` without such a server, `UserError` when it has no machine, others for why it is not awake.
        """

    def cost(self) -> shapes.Cost:
        """The ledger of machine-seconds, up to now."""

    async def set_secret(self, server: str, key: str, value: str) -> None:
        """Keep a secret; the server need not exist yet, as `mcpctl add` stores secrets first.

        Raises `UserError` for a name that cannot be one, `NotFound` never.
        """

    async def delete_secret(self, server: str, key: str) -> None:
        """Forget one secret of a server; not having it is not an error."""

    async def delete_secrets(self, server: str) -> None:
        """Forget all secrets of a server; having none is not an error."""

    def tunnels(self) -> shapes.TunnelList:
        """All tunnels that are configured, now."""

    async def probe_tunnel(self, name: str) -> shapes.TunnelProbe:
        """Open a tunnel and ask for echoes through it. Raises `NotFound`, `Unreachable`, `UserError`."""

    async def forget_tunnel(self, name: str) -> None:
        """Close a tunnel, and take away the peer that was made for it. Raises as `probe_tunnel`."""

    def shutdown(self, *, hand_over: bool = False) -> None:
        """Begin draining, and return at once. A second call changes nothing.

        Sessions end, or (`hand_over`) go on in the next daemon, which their stubs start.
        """
