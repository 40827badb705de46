"""Notices what cuts connections without a word: this machine has slept, or the network is another one.

Sleep shows as a difference of two clocks, looked at every few seconds. Changes of the network are told by the kernel
(netlink on Linux, a routing socket on macOS); such a message is a hint only, after which the kernel is asked which way
packets to the Internet go now (`protocols.network` says what of that matters). Nothing is sent.
"""

import errno
import logging
import socket
import sys
import time
from collections.abc import Callable

import trio

from mcpctld.protocols.netlink import INET, INET6, read_route, route_request
from mcpctld.protocols.network import Network, Path, Paths

CHECK_S = 5.0
"""How often the clocks are compared: the only cost while nothing changes."""
JUMP_S = 3.0
"""A shorter sleep cuts nothing."""
DEBOUNCE_S = 0.5
"""Changes come in bursts: a link, its addresses, its routes."""
MAX_HINTS = 1000
"""Of one burst; what is left wakes us again."""

# What stands for the Internet: a root name server, to which no route leads but the default one. (Addresses for
# documentation will not do: some do use them.)
ANYWHERE = "198.41.0.4"
ANYWHERE6 = "2001:503:ba3e::2:30"

_log = logging.getLogger("mcpctld.changes")

Notify = Callable[[str], None]
"""Told why connections are not to be trusted any more, for messages. Must neither wait nor raise."""


async def watch_changes(notify: Notify) -> None:
    """Tell of sleep and of changes of the network, for ever."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch_sleep, notify)
        nursery.start_soon(watch_network, notify)


# ---------------------------------------------------------------- sleep


def slept_s() -> float:
    """Seconds that this machine has slept since some point in the past: by two clocks, one of which sleeps too.

    Setting the time of day changes neither of them.
    """
    if sys.platform == "darwin":
        awake = time.clock_gettime(time.CLOCK_UPTIME_RAW)
        return time.clock_gettime(time.CLOCK_MONOTONIC_RAW) - awake
    else:  # noqa: RET505  (so that mypy checks the one of its platform)
        awake = time.clock_gettime(time.CLOCK_MONOTONIC)
        return time.clock_gettime(time.CLOCK_BOOTTIME) - awake


async def watch_sleep(notify: Notify, clock: Callable[[], float] = slept_s) -> None:
    """Tell when this machine has slept, for ever."""
    before = clock()
    while True:
        await trio.sleep(CHECK_S)
        now = clock()
        if now - before > JUMP_S:
            _log.info("system.resumed", extra={"slept_s": round(now - before, 1)})
            notify("this machine has slept")
        before = now


# ---------------------------------------------------------------- the network


async def watch_network(notify: Notify) -> None:
    """Tell when the network is another one, for ever; returns where the system does not say."""
    await trio.lowlevel.checkpoint()
    try:
        with open_hints() as hints:
            await _follow(hints, Network(look()), notify)
    except OSError as exc:
        _log.info("network.unwatched", extra={"error": exc.strerror})


async def _follow(hints: socket.socket, network: Network, notify: Notify) -> None:
    while True:
        await trio.lowlevel.wait_readable(hints)
        await trio.sleep(DEBOUNCE_S)
        drain(hints)
        if is_changed(network):
            _log.info("network.changed")
            notify("the network has changed")


def is_changed(network: Network) -> bool:
    """Look again."""
    try:
        return network.is_changed(look())
    except OSError as exc:  # no descriptor left, say: the next hint is another occasion
        _log.warning("network.not_seen", extra={"error": exc.strerror})
        return False


def drain(hints: socket.socket) -> None:
    """Take what has come, unread. Raises `OSError` when nothing more will come."""
    for _ in range(MAX_HINTS):
        try:
            hints.recv(65536)
        except BlockingIOError:
            return
        except OSError as exc:
            if exc.errno != errno.ENOBUFS:  # more came than was kept, which does not matter to us
                raise


if sys.platform == "linux":
    # RTMGRP_* of <linux/rtnetlink.h>: link, IPv4 addresses, routes and rules, IPv6 addresses and routes, IPv6 rules.
    _GROUPS = 0x1 | 0x10 | 0x40 | 0x80 | 0x100 | 0x400 | 0x40000

    def open_hints() -> socket.socket:
        """Readable after each change of links, addresses, routes and rules. Raises `OSError`."""
        hints = _route_socket()
        try:
            hints.bind((0, _GROUPS))
        except OSError:
            hints.close()
            raise
        return hints

    def look() -> Paths:
        """How packets leave now. Raises `OSError`."""
        with _route_socket() as asking:
            return Paths(
                _ask(asking, INET, socket.inet_pton(socket.AF_INET, ANYWHERE)),
                _ask(asking, INET6, socket.inet_pton(socket.AF_INET6, ANYWHERE6)),
            )

    def _route_socket() -> socket.socket:
        made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        made.setblocking(False)
        return made

    def _ask(asking: socket.socket, family: int, address: bytes) -> Path | None:
        asking.send(route_request(family, address, family))
        return read_route(asking.recv(65536), family)  # the kernel answers while it is asked

else:

    def open_hints() -> socket.socket:
        """Readable after each change of interfaces, addresses and routes (route(4)). Raises `OSError`."""
        hints = socket.socket(socket.AF_ROUTE, socket.SOCK_RAW, 0)
        hints.setblocking(False)
        return hints

    def look() -> Paths:
        """How packets leave now, as far as a socket tells that is connected without sending. Raises `OSError`."""
        return Paths(_path(socket.AF_INET, ANYWHERE), _path(socket.AF_INET6, ANYWHERE6))

    def _path(family: socket.AddressFamily, address: str) -> Path | None:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect((address, 9))
            except OSError:
                return None
            source = socket.inet_pton(family, probe.getsockname()[0].partition("%")[0])
        return Path(0, b"", source[:8] if family == socket.AF_INET6 else source)
