"""`mcpctld.protocols.wireguard.keypairs`: which session sends, and which may still receive."""

import random

from mcpctld.protocols.wireguard.keypair import Keypair
from mcpctld.protocols.wireguard.keypairs import Keypairs
from mcpctld.protocols.wireguard.noise import TransportKeys


def keypair(index: int) -> Keypair:
    return Keypair(TransportKeys(bytes(32), bytes(32)), index, index, 0.0, initiated_at=0.0)


def receiving(keypairs: Keypairs) -> list[int]:
    return [index for index in range(100) if keypairs.find(index) is not None]


def test_at_first_there_is_none():
    keypairs = Keypairs()
    assert (keypairs.current, keypairs.next, len(keypairs)) == (None, None, 0)
    assert keypairs.find(1) is None


def test_as_initiator_the_new_one_sends_at_once():
    keypairs = Keypairs()
    first, second = keypair(1), keypair(2)
    assert keypairs.initiated(first) == []
    assert keypairs.current is first
    assert keypairs.initiated(second) == []
    assert keypairs.current is second
    assert keypairs.find(1) is first


def test_as_responder_it_sends_once_it_is_proved():
    keypairs = Keypairs()
    old, new = keypair(1), keypair(2)
    keypairs.initiated(old)
    assert keypairs.responded(new) == []
    assert (keypairs.current, keypairs.next) == (old, new)
    assert keypairs.promote() == []
    assert (keypairs.current, keypairs.next) == (new, None)
    assert receiving(keypairs) == [1, 2]


def test_one_that_was_never_proved_makes_room():
    keypairs = Keypairs()
    keypairs.responded(keypair(1))
    assert keypairs.responded(keypair(2)) == [1]
    assert receiving(keypairs) == [2]


def test_when_both_began_nothing_on_its_way_is_lost():
    keypairs = Keypairs()
    keypairs.initiated(keypair(1))
    keypairs.responded(keypair(2))  # the peer's
    assert (
        keypairs.initiated(keypair(3)) == []
    )  # ours: the peer sends with 2, and messages with 1 are on the way
    assert receiving(keypairs) == [1, 2, 3]
    assert (
        keypairs.responded(keypair(4)) == []
    )  # and the peer goes on sending with 2 until it has our answer
    assert receiving(keypairs) == [1, 2, 3, 4]
    assert keypairs.promote() == []
    assert receiving(keypairs) == [1, 2, 3, 4]


def test_when_both_begin_once_more_nothing_on_its_way_is_lost():
    keypairs = Keypairs()
    for ours, theirs in ((1, 2), (3, 4)):
        keypairs.responded(keypair(theirs))
        assert keypairs.initiated(keypair(ours)) == []
    assert receiving(keypairs) == [1, 2, 3, 4]
    assert keypairs.responded(keypair(6)) == []
    assert keypairs.initiated(keypair(5)) == [1, 2]


def test_clear_forgets_all():
    keypairs = Keypairs()
    keypairs.initiated(keypair(1))
    keypairs.responded(keypair(2))
    assert keypairs.clear() == [1, 2]
    assert (keypairs.current, keypairs.next, len(keypairs)) == (None, None, 0)


def test_there_are_never_more_than_five_and_every_index_is_given_back_once():
    rng = random.Random(3)
    keypairs, given_back = Keypairs(), []
    for index in range(100):
        act = rng.choice((keypairs.initiated, keypairs.responded))
        given_back += act(keypair(index))
        if keypairs.next is not None and rng.random() < 0.5:
            given_back += keypairs.promote()
        assert len(keypairs) <= 5
    assert sorted(given_back + receiving(keypairs)) == list(range(100))
