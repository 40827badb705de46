"""Our stack on one end of a TUN interface, the kernel's on the other; a bad link between them if wanted. Real time."""

import contextlib
import functools
import math
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from mcpctld.protocols.inet.stack import Stack
from netsim.network import Conditions, Link, entropy

OURS = socket.inet_pton(socket.AF_INET6, "fdaa:0:18::2")
THEIRS = socket.inet_pton(socket.AF_INET6, "fdaa:0:18::1")
BATCH = 64
MAX_WAIT_S = 0.1
"""What is waited for may come another way than by packets."""
SCRIPT = Path(__file__).with_name("kernel_side.py")


@functools.cache
def unavailable() -> str:
    """Why there is no such thing here; empty if there is."""
    if sys.platform != "linux" or not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        return "no TUN device for this user"
    script = "ip tuntap add dev tun0 mode tun && ip -6 route show"
    try:
        argv = ["unshare", "--net", "--map-root-user", "sh", "-c", script]
        made = subprocess.run(argv, capture_output=True, timeout=20, check=False)
    except FileNotFoundError:
        return "no TUN device for this user"
    return "no TUN device for this user" if made.returncode else ""


class Host:
    """Our stack, pumped."""

    def __init__(self, tun: int, control: socket.socket, mtu: int, conditions: Conditions | None):
        self.control = control
        self.stack = Stack(OURS, mtu, entropy(time.monotonic_ns()))
        self._mtu = mtu
        self.tun = tun
        self._said = b""
        self._links = None
        if conditions is not None:
            self._links = Link(conditions, 1), Link(conditions, 2)

    def restart(self) -> None:
        """Forget all connections, as a process that was killed does."""
        self.stack = Stack(OURS, self._mtu, entropy(time.monotonic_ns()))

    def control_said(self, word: bytes) -> bool:
        """Whether the kernel's side has said this, an error of one of its servers."""
        with contextlib.suppress(BlockingIOError):
            self._said += self.control.recv(4096)
        return word in self._said

    def pump(self, until: Callable[[], object], seconds: float = 30.0) -> None:
        """Carry packets until something is so."""
        end = time.monotonic() + seconds
        while not until():
            now = time.monotonic()
            assert now < end, "nothing has come of it"
            for packet in self.stack.packets_to_send(now):
                self._send(packet, now)
            self._wait(end)
            self._receive()

    def _send(self, packet: bytes, now: float) -> None:
        if self._links is None:
            self._write(packet)
        else:
            self._links[0].send(packet, now)

    def _write(self, packet: bytes) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(self.tun, packet)

    def _wait(self, end: float) -> None:
        timer = self.stack.next_timer()
        at = min(end, time.monotonic() + MAX_WAIT_S, math.inf if timer is None else timer)
        for link in self._links or ():
            at = min(at, link.next_arrival())
        select.select([self.tun], [], [], max(0.0, at - time.monotonic()))

    def _receive(self) -> None:
        now = time.monotonic()
        for _ in range(BATCH):
            try:
                packet = os.read(self.tun, 65536)
            except BlockingIOError:
                break
            if self._links is None:
                self.stack.receive_packet(packet, now)
            else:
                self._links[1].send(packet, now)
        if self._links is not None:
            for packet in self._links[0].arrivals(now):
                self._write(packet)
            for packet in self._links[1].arrivals(now):
                self.stack.receive_packet(packet, now)
        timer = self.stack.next_timer()
        if timer is not None and timer <= now:
            self.stack.handle_timer(now)


@contextlib.contextmanager
def kernel_peer(
    *settings: str, mtu: int = 1420, conditions: Conditions | None = None
) -> Iterator[Host]:
    """A namespace with servers in it, and a stack of ours that reaches them."""
    control, inherited = socket.socketpair()
    argv = ["unshare", "--net", "--map-root-user", sys.executable, str(SCRIPT)]
    argv += [str(inherited.fileno()), str(mtu), *settings]
    with control, subprocess.Popen(argv, pass_fds=[inherited.fileno()]) as process:
        inherited.close()
        control.settimeout(20)
        _, [tun], _, _ = socket.recv_fds(control, 16, 1)
        control.setblocking(False)
        try:
            yield Host(tun, control, mtu, conditions)
        finally:
            os.close(tun)
            process.kill()
