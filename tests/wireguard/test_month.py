"""Thirty days of virtual time: work, idleness, sleep, clocks that are set, restarts, new addresses."""

import pytest

from mcpctld.protocols.wireguard.events import SessionEstablished
from wireguard.world import Node, World, talk

HOUR = 3600.0
DAY = 24 * HOUR


class Month:
    """`client` is a laptop, `gateway` is always there."""

    def __init__(self, seed: int) -> None:
        self.world = World(seed)
        self.client, self.gateway = self.world.pair()
        self.pair = (self.client, self.gateway)
        self.longest = 0.0
        self.recoveries = 0

    def work(self) -> None:
        """Packets both ways for a while; none is lost."""
        rng = self.world.rng
        for _ in range(rng.randrange(2, 12)):
            talk(self.world, self.pair, 1, rng.choice((1.0, 7.0, 19.0, 61.0, 130.0)))

    def idle(self) -> None:
        self.world.run(self.world.rng.uniform(0, 3 * HOUR))

    def sleep(self) -> None:
        """The laptop is closed; what comes for it is lost."""
        self.client.asleep = True
        if self.world.rng.random() < 0.5:
            self.gateway.send(self.client)
        self.world.run(self.world.rng.choice((3.0, 30.0, 170.0, 600.0, HOUR, 9 * HOUR)))
        self.client.asleep = False

    def step_clock(self) -> None:
        """The clock that must not be set is set all the same."""
        self.client.step += self.world.rng.uniform(-2 * DAY, 2 * DAY)

    def restart(self) -> None:
        """With another idea of what day it is, but with the last timestamp."""
        node, other = self.world.rng.choice((self.pair, self.pair[::-1]))
        last = node.device.last_timestamp(other.key)
        node.restart(wall_clock_step=self.world.rng.uniform(-400 * DAY, 400 * DAY))
        node.add(other, last_timestamp=last)

    def move(self) -> None:
        """The laptop is in another network."""
        self.client.address = (f"198.51.100.{self.world.rng.randrange(1, 255)}", 1)

    def be_evicted(self) -> None:
        self.gateway.device.remove_peer(self.client.key)
        self.gateway.add(self.client)

    def recover(self) -> None:
        """The laptop sends, and is answered, until both have heard the other."""
        began = self.world.now
        for node in self.pair:
            node.packets.clear()
        while not all(node.packets for node in self.pair):
            self.client.send(self.gateway)
            if self.gateway.packets:
                self.gateway.send(self.client)
            self.world.run(0.2)
            assert self.world.now - began < 60
        self.world.run(20)  # whatever was begun beside is over
        self.longest = max(self.longest, self.world.now - began - 20)
        self.recoveries += 1


@pytest.mark.slow
def test_a_month():
    month = Month(seed=1)
    begin = month.world.now
    disturbances = (
        *(month.idle, month.idle, month.sleep, month.sleep),
        *(month.step_clock, month.restart, month.move, month.be_evicted),
    )
    while month.world.now < begin + 30 * DAY:
        month.world.rng.choice(disturbances)()
        month.recover()
        month.work()
    assert month.recoveries > 200
    assert month.longest <= 16
    assert sessions(month.client) > 1000
    assert month.client.device.statistics().indices <= 6


def sessions(node: Node) -> int:
    return len(node.seen(SessionEstablished))


def test_steady_traffic_has_a_session_every_two_minutes_and_no_loss():
    world = World()
    pair = world.pair()
    pair[0].send(pair[1])
    world.run(1)
    for _ in range(int(4 * HOUR / 30)):
        talk(world, pair, 1, 30.0)
    assert 4 * HOUR / 151 <= sessions(pair[0]) <= 4 * HOUR / 119
    assert sessions(pair[0]) == sessions(pair[1])
    assert pair[0].drops() == pair[1].drops() == {}
