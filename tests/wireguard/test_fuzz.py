"""Any datagram, in any state: one drop is counted, nothing else happens, and the session goes on."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wireguard.world import COOKIE_REPLY, INITIATION, RESPONSE, TRANSPORT, Node, World, talk

Pair = tuple[Node, Node]


class Tapped(World):
    """Keeps all that was delivered."""

    def __init__(self) -> None:
        super().__init__()
        self.tapped: list[bytes] = []
        self.network = self.tap

    def tap(self, data: bytes) -> list[tuple[float, bytes]]:
        self.tapped.append(data)
        return self.deliver(data)


def fresh(world: Tapped, pair: Pair) -> None:
    pass


def initiated(world: Tapped, pair: Pair) -> None:
    world.network = lambda data: world.tap(data)[:0]  # which nobody gets
    pair[0].device.initiate(pair[1].key, pair[0].now)
    world.settle()


def answered(world: Tapped, pair: Pair) -> None:
    """The responder has not heard the initiator yet."""
    world.network = lambda data: [] if data[0] == TRANSPORT else world.tap(data)
    pair[0].device.initiate(pair[1].key, pair[0].now)
    world.run(0.1)


def established(world: Tapped, pair: Pair) -> None:
    pair[0].send(pair[1])
    world.run(1)
    talk(world, pair, 1)


def replaced(world: Tapped, pair: Pair) -> None:
    established(world, pair)
    world.run(121)
    talk(world, pair, 2)


def expired(world: Tapped, pair: Pair) -> None:
    established(world, pair)
    world.run(200)


def erased(world: Tapped, pair: Pair) -> None:
    established(world, pair)
    world.run(600)


STATES: dict[str, Callable[[Tapped, Pair], None]] = {
    state.__name__: state
    for state in (fresh, initiated, answered, established, replaced, expired, erased)
}


class Bench:
    """A pair in a state, made once for many datagrams."""

    def __init__(self, state: str) -> None:
        self.world = Tapped()
        self.pair = self.world.pair()
        STATES[state](self.world, self.pair)
        self.old = list(self.world.tapped)
        self.indices = [data[4:8] for data in self.old if data[0] in (INITIATION, RESPONSE)]

    def drops(self) -> int:
        return sum(sum(node.drops().values()) for node in self.pair)

    def feed(self, to: int, data: bytes) -> None:
        node, other = self.pair[to], self.pair[1 - to]
        sessions = node.device.statistics().peers[other.key].handshakes
        before, indices = self.drops(), node.device.statistics().indices
        node.device.receive_datagram(data, ("203.0.113.9", 9), node.now)
        statistics = node.device.statistics().peers[other.key]
        assert self.drops() == before + 1
        assert (statistics.handshakes, statistics.endpoint) == (sessions, other.address)
        assert node.device.statistics().indices == indices
        assert {data[0] for data, _ in node.device.datagrams_to_send(node.now)} <= {COOKIE_REPLY}


HEADS = st.sampled_from([b"", *(bytes([kind, 0, 0, 0]) for kind in range(6))])
LENGTHS = st.sampled_from([31, 32, 63, 64, 91, 92, 147, 148, 200])


@pytest.mark.parametrize("state", STATES)
def test_any_bytes(state):
    bench = Bench(state)

    @settings(deadline=None, derandomize=True, max_examples=80)
    @given(st.integers(0, 1), HEADS, LENGTHS, st.data())
    def feed(to, head, length, data):
        rest = data.draw(st.binary(min_size=length, max_size=length))
        if bench.indices and data.draw(st.booleans()):  # an index that is, or was, somebody's
            index = data.draw(st.sampled_from(bench.indices))
            at = 4 if head[:1] == b"\2" else 0
            rest = rest[:at] + index + rest[at + 4 :]
        bench.feed(to, (head + rest)[: max(length, 4)])

    feed()
    finish(bench)


@pytest.mark.parametrize(
    "state", [state for state in STATES if state not in ("fresh", "initiated")]
)
def test_true_messages_again_or_changed(state):
    bench = Bench(state)

    @settings(deadline=None, derandomize=True, max_examples=80)
    @given(st.data())
    def feed(data):
        message = bytearray(data.draw(st.sampled_from(bench.old)))
        match data.draw(st.sampled_from(["again", "changed", "cut", "longer", "joined"])):
            case "changed":
                at = data.draw(st.integers(0, len(message) - 1))
                message[at] ^= data.draw(st.integers(1, 255))
            case "cut":
                del message[data.draw(st.integers(0, len(message) - 1)) :]
            case "longer":
                message += data.draw(st.binary(min_size=1, max_size=40))
            case "joined":
                message[:16] = data.draw(st.sampled_from(bench.old))[:16]
        bench.feed(data.draw(st.integers(0, 1)), bytes(message))

    feed()
    finish(bench)


def finish(bench: Bench) -> None:
    """They still understand each other."""
    bench.world.network = bench.world.deliver
    for node, other in (bench.pair, bench.pair[::-1]):
        node.send(other)
    bench.world.run(12)
    talk(bench.world, bench.pair)
