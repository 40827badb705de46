"""`mcpctld.protocols.inet.drops`: reasons."""

from mcpctld.protocols.inet.drops import Drop, Dropped


def test_a_dropped_packet_says_why():
    dropped = Dropped(Drop.CHECKSUM)
    assert dropped.reason is Drop.CHECKSUM
    assert str(dropped) == "checksum"


def test_reasons_have_names_that_can_be_told_apart():
    assert len({drop.value for drop in Drop}) == len(Drop)
