"""The kernel's own TCP as a peer: run in a network namespace of its own, `kernel_side.py SOCKET MTU [SETTING=VALUE…]`.

Makes a TUN interface, passes its descriptor over the inherited socket, and serves on the interface's address until that
socket is closed. SETTING is of `net.ipv4`, such as `tcp_sack`.
"""

import fcntl
import hashlib
import os
import random
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path

ADDRESS, PREFIX = "fdaa:0:18::1", 64
ECHO, SINK, SOURCE, RESET, SLOW, UDP_ECHO = 7, 9, 19, 20, 21, 22
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 1, 0x1000
CONGESTION = b"cubic"


def make_tun(mtu: int) -> int:
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", b"tun0", IFF_TUN | IFF_NO_PI))
    for command in (
        "ip link set lo up",
        f"ip link set tun0 mtu {mtu} txqueuelen 1000 up",
        f"ip addr add {ADDRESS}/{PREFIX} dev tun0 nodad",
    ):
        subprocess.run(command.split(), check=True)
    return tun


def echo(peer: socket.socket) -> None:
    while data := peer.recv(65536):
        peer.sendall(data)


def sink(peer: socket.socket) -> None:
    """Tell what came by its digest."""
    digest = hashlib.sha256()
    while data := peer.recv(1 << 18):
        digest.update(data)
    peer.sendall(digest.digest())


def source(peer: socket.socket) -> None:
    """Asked for a number of bytes, send as many, made from that number."""
    size = int.from_bytes(peer.recv(8), "big")
    peer.sendall(random.Random(size).randbytes(size))


def reset(peer: socket.socket) -> None:
    peer.recv(1)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def slow(peer: socket.socket) -> None:
    """Read nothing before a byte comes over the control socket; then tell what came."""
    CONTROL.recv(1)
    sink(peer)


def serve(handler, port: int) -> None:
    listener = socket.create_server((ADDRESS, port), family=socket.AF_INET6)
    if handler is slow:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)

    def handle(peer: socket.socket) -> None:
        with peer:
            try:
                handler(peer)
            except OSError as exc:
                CONTROL.send(type(exc).__name__.encode())

    def accept() -> None:
        while True:
            peer, _ = listener.accept()
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, CONGESTION)
            threading.Thread(target=handle, args=(peer,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()


def serve_udp() -> None:
    served = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    served.bind((ADDRESS, UDP_ECHO))

    def answer() -> None:
        while True:
            data, peer = served.recvfrom(65536)
            served.sendto(data, peer)

    threading.Thread(target=answer, daemon=True).start()


if __name__ == "__main__":
    CONTROL = socket.socket(fileno=int(sys.argv[1]))
    for setting in sys.argv[3:]:
        name, value = setting.split("=")
        Path("/proc/sys/net/ipv4", name).write_text(value)
    descriptor = make_tun(int(sys.argv[2]))
    for handler, port in (
        (echo, ECHO),
        (sink, SINK),
        (source, SOURCE),
        (reset, RESET),
        (slow, SLOW),
    ):
        serve(handler, port)
    serve_udp()
    socket.send_fds(CONTROL, [b"ready"], [descriptor])
    while CONTROL.recv(1, socket.MSG_PEEK):  # for `slow` to take
        threading.Event().wait(0.05)
