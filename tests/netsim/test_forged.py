"""A flood of forged packets leaves nothing behind: neither memory, nor state, nor a flood of answers."""

import gc
import random
import sys

import pytest

from mcpctld.protocols.inet.dns.message import Kind
from mcpctld.protocols.inet.stack import MAX_ERRORS
from mcpctld.protocols.inet.tcp.reassembly import MAX_RANGES
from mcpctld.protocols.inet.tcp.segment import ACK, SYN, Flow
from mcpctld.protocols.inet.tcp.state import Settings
from mcpctld.protocols.inet.udp import encode
from netsim.network import LEFT, LEFT_PORT, RIGHT, RIGHT_PORT, Conditions, Network

FLOOD = 100_000
MAX_BLOCKS = 1000
"""Of memory, of any size: one for each forged packet would be a hundred times as many."""


class Flooded:
    """A network with a connection that works, and one that waits for its answer; forged packets come to the left."""

    def __init__(self) -> None:
        self.network = Network(Conditions())
        self.left, self.right = self.network.connect()
        assert self.network.run(lambda: self.right.state.value == "ESTABLISHED")
        waiting = Settings(local_port=LEFT_PORT + 1)
        self.waiting = self.network.left.connect(RIGHT, 9, self.network.now, waiting)
        self.network.flush()
        self.sent = 0

    def receive(self, packet: bytes) -> None:
        self.network.left.receive_packet(packet, self.network.now)
        self.sent += len(self.network.left.packets_to_send(self.network.now))

    def still_works(self) -> bool:
        self.right.send_data(b"still here")
        return self.network.run(lambda: self.left.receive_data(99) == b"still here", seconds=5.0)


def growth(flooded: Flooded, packets: list[bytes]) -> int:
    """Blocks of memory that a flood leaves behind, after a first one has filled what is filled once."""
    for packet in packets[:1000]:
        flooded.receive(packet)
    gc.collect()
    before = sys.getallocatedblocks()
    for packet in packets:
        flooded.receive(packet)
    gc.collect()
    return sys.getallocatedblocks() - before


def check(flooded: Flooded, packets: list[bytes], answers: int) -> None:
    connections = flooded.network.left.statistics().connections
    assert growth(flooded, packets) < MAX_BLOCKS
    assert flooded.network.left.statistics().connections == connections
    assert flooded.sent <= answers
    assert flooded.still_works()


def syn_acks(draw: random.Random, flow: Flow) -> list[bytes]:
    return [
        flow.encode(draw.getrandbits(32), draw.getrandbits(32), SYN | ACK, draw.getrandbits(16))
        for _ in range(FLOOD)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("port", [LEFT_PORT, LEFT_PORT + 1, LEFT_PORT + 2])
def test_forged_syn_acks(port):
    """To a connection that is established, to one that waits for a SYN-ACK, to nobody."""
    theirs = 9 if port == LEFT_PORT + 1 else RIGHT_PORT
    flooded = Flooded()
    check(flooded, syn_acks(random.Random(1), Flow(RIGHT, theirs, LEFT, port)), MAX_ERRORS + 20)
    assert flooded.waiting.outcome is None


@pytest.mark.slow
def test_forged_answers_of_the_dns():
    flooded, draw = Flooded(), random.Random(1)
    stack = flooded.network.left
    lookup = stack.resolve("app.internal", Kind.AAAA, [RIGHT], flooded.network.now)
    flooded.network.flush()
    [socket] = stack._udp.values()
    packets = [
        encode(RIGHT, LEFT, (53, socket.port), draw.randbytes(40)) for _ in range(FLOOD // 4)
    ]
    check(flooded, packets, 0)
    assert lookup.malformed == FLOOD // 4 + 1000


@pytest.mark.slow
def test_text_with_gaps_is_kept_up_to_a_limit():
    """The peer itself may be the enemy: single bytes with holes between them, all over the window."""
    flooded, draw = Flooded(), random.Random(1)
    left = flooded.left
    nxt, una = left._receiver.nxt, left._sender.una
    flow = Flow(RIGHT, RIGHT_PORT, LEFT, LEFT_PORT)
    holes = [nxt + 2 + 2 * draw.randrange(400_000) for _ in range(FLOOD // 10)]
    packets = [flow.encode(hole, una, ACK, 60000, b"x") for hole in holes]
    assert growth(flooded, packets) < 10 * MAX_RANGES
    assert len(left._receiver._early.blocks(FLOOD)) == MAX_RANGES
    assert left.statistics().unread == 0
