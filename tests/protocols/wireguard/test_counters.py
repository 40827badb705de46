"""`mcpctld.protocols.wireguard.counters`."""

from mcpctld.protocols.wireguard.counters import Drop, Drops


def test_drops_are_counted_by_reason():
    drops = Drops()
    drops.count(Drop.MALFORMED)
    drops.count(Drop.MALFORMED, 2)
    drops.count(Drop.GAVE_UP, 0)
    seen = drops.snapshot()
    drops.count(Drop.FLOOD)
    assert seen == {Drop.MALFORMED: 3}
    assert drops.snapshot() == {Drop.MALFORMED: 3, Drop.FLOOD: 1}


def test_every_reason_says_something_of_its_own():
    assert len({reason.value for reason in Drop}) == len(Drop)
