"""A hundred thousand initiations by somebody who knows only our public key."""

import random
import tracemalloc

import pytest

from mcpctld.protocols.wireguard.cookies import CookieJar
from mcpctld.protocols.wireguard.counters import Drop
from mcpctld.protocols.wireguard.messages import Initiation, encode_initiation
from wireguard.world import World, talk

COUNT = 100_000
PER_SECOND = 5_000


@pytest.mark.slow
def test_neither_memory_nor_state_grows_and_the_session_goes_on():
    world = World()
    client, gateway = world.pair()
    client.send(gateway)
    world.run(1)
    rng, jar = random.Random(7), CookieJar(gateway.key)

    def forge(count: int) -> None:
        for number in range(count):
            message = encode_initiation(Initiation(rng.getrandbits(32), rng.randbytes(108)))
            source = (f"203.0.{rng.randrange(256)}.{rng.randrange(256)}", rng.randrange(65536))
            gateway.device.receive_datagram(jar.add_macs(message, 0.0), source, gateway.now)
            if number % 40 == 39:
                assert len(gateway.take()) <= 40
                world.now += 40 / PER_SECOND

    forge(COUNT // 10)
    tracemalloc.start()
    try:
        forge(COUNT // 10)
        before, _ = tracemalloc.get_traced_memory()
        forge(COUNT // 10)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    forge(COUNT - 3 * (COUNT // 10))

    assert after - before < 100_000
    device = gateway.device
    assert device.statistics().indices <= 2
    assert device.statistics().sources == 0  # nobody has proved where he is
    drops = gateway.drops()
    assert sum(drops.values()) == COUNT
    assert drops[Drop.UNDER_LOAD] > 0.9 * COUNT
    world.run(1)
    talk(world, (client, gateway))


def test_a_new_peer_gets_in_while_it_lasts():
    world = World()
    client, gateway = world.pair()
    rng, jar = random.Random(8), CookieJar(gateway.key)
    sent = client.send(gateway)
    until = world.now + 12
    while not gateway.packets and world.now < until:
        for _ in range(20):
            message = encode_initiation(Initiation(rng.getrandbits(32), rng.randbytes(108)))
            gateway.device.receive_datagram(
                jar.add_macs(message, 0.0), ("203.0.113.1", 1), gateway.now
            )
        world.run(20 / PER_SECOND)
    assert gateway.packets == [sent]
