"""`python benchmarks/inet_stack.py [MEGABYTES]`: what the network stack costs, without a tunnel around it.

Two stacks pass each other packets in memory, in one thread; a batch is what the window allows. CPU time is counted for
each side by itself, so the figures are those of an upload and of a download.
"""

import itertools
import os
import sys
import time

from mcpctld.protocols.inet.stack import Stack
from mcpctld.protocols.inet.tcp.connection import Connection
from mcpctld.protocols.inet.tcp.state import Settings, State

OURS, THEIRS = bytes(15) + b"\2", bytes(15) + b"\3"
PORT = 40000
STEP_S = 0.0005
CHUNK = bytes(65536)


def connect(left: Stack, right: Stack) -> tuple[Connection, Connection]:
    """Both open at once."""
    settings = Settings(local_port=PORT)
    ends = left.connect(THEIRS, PORT, 0.0, settings), right.connect(OURS, PORT, 0.0, settings)
    while ends[0].state is not State.ESTABLISHED or ends[1].state is not State.ESTABLISHED:
        there, back = left.packets_to_send(0.0), right.packets_to_send(0.0)
        for packet in there:
            right.receive_packet(packet, 0.0)
        for packet in back:
            left.receive_packet(packet, 0.0)
    return ends


def measure(mtu: int, size: int) -> str:
    """Send so many bytes from left to right."""
    left, right = Stack(OURS, mtu, os.urandom), Stack(THEIRS, mtu, os.urandom)
    writer, reader = connect(left, right)
    spent = [0.0, 0.0]
    got, clock = 0, time.process_time
    for step in itertools.count(1):
        now, begin = step * STEP_S, clock()
        writer.send_data(CHUNK)
        packets = left.packets_to_send(now)
        spent[0] += (middle := clock()) - begin
        for packet in packets:
            right.receive_packet(packet, now)
        while data := reader.receive_data(1 << 18):
            got += len(data)
        acks = right.packets_to_send(now)
        spent[1] += (end := clock()) - middle
        for packet in acks:
            left.receive_packet(packet, now)
        spent[0] += clock() - end
        if got >= size:
            break
    segments = left.statistics().packets_sent
    up, down = (f"{1e6 * s / segments:.1f} µs a segment, {got / s / 1e6:.0f} MB/s" for s in spent)
    return f"MTU {mtu}: sending {up}; receiving {down}"


if __name__ == "__main__":
    megabytes = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    for mtu in (1280, 1420):
        print(measure(mtu, megabytes * 1_000_000))
