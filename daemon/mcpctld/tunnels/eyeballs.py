"""Several addresses, a little apart: the first that connects is taken (RFC 8305 §5)."""

from collections.abc import Awaitable, Callable, Sequence
from ipaddress import IPv6Address

import trio

from mcpctld.drivers.inet.stream import TunnelStream
from mcpctld.errors import McpctlError, Unreachable

ATTEMPT_DELAY_S = 0.25
"""RFC 8305 §8: the recommended pause between two attempts."""

Connect = Callable[[IPv6Address], Awaitable[TunnelStream]]
"""Raises `McpctlError`; leaves nothing behind when it is cancelled."""


async def connect_first(addresses: Sequence[IPv6Address], connect: Connect) -> TunnelStream:
    """A stream to one of them. Raises `Unreachable` with what the first one said, once all have failed."""
    won: list[TunnelStream] = []
    failures: dict[IPv6Address, McpctlError] = {}

    async def attempt(address: IPv6Address, failed: trio.Event) -> None:
        try:
            stream = await connect(address)
        except McpctlError as exc:
            failures[address] = exc
            failed.set()
            return  # noqa: ASYNC910  (`connect` has waited)
        if won:  # two at the same instant
            await trio.aclose_forcefully(stream)
            return
        won.append(stream)
        nursery.cancel_scope.cancel()

    try:
        async with trio.open_nursery() as nursery:
            for address in addresses:
                failed = trio.Event()
                nursery.start_soon(attempt, address, failed)
                with trio.move_on_after(ATTEMPT_DELAY_S):
                    await failed.wait()
    except BaseException:
        for stream in won:  # we were cancelled at the very moment
            stream.connection.abort()
        raise
    if won:
        return won[0]
    raise failures[addresses[0]] if addresses else Unreachable("there is no address to connect to")
