"""`mcpctld.protocols.inet.path_mtu`: what is known of each way, for a while."""

import pytest

from mcpctld.protocols.inet.path_mtu import LIFETIME_S, MAX_DESTINATIONS, PathMtus

HOST, OTHER = bytes(15) + b"\1", bytes(15) + b"\2"


def test_what_is_not_known_is_the_links():
    assert PathMtus(1420).get(HOST, 0.0) == 1420


@pytest.mark.parametrize(
    ("told", "holds"), [(1400, 1400), (1280, 1280), (1279, 1280), (0, 1280), (1500, 1420)]
)
def test_a_router_may_lower_it_down_to_what_every_path_carries(told, holds):
    paths = PathMtus(1420)
    assert paths.lower(HOST, told, 5.0) == holds
    assert paths.get(HOST, 5.0) == holds
    assert paths.get(OTHER, 5.0) == 1420


def test_nobody_raises_it_by_saying_more():
    paths = PathMtus(1420)
    paths.lower(HOST, 1300, 0.0)
    assert paths.lower(HOST, 1400, 1.0) == 1300


def test_after_a_while_the_larger_size_is_tried_again():
    paths = PathMtus(1420)
    paths.note(HOST, 1300, 0.0)
    assert paths.get(HOST, LIFETIME_S - 1) == 1300
    assert paths.get(HOST, LIFETIME_S) == 1420


def test_only_so_many_are_kept_and_the_oldest_goes():
    paths = PathMtus(1420)
    for number in range(MAX_DESTINATIONS + 1):
        paths.note(number.to_bytes(16, "big"), 1300, 0.0)
    assert paths.get((0).to_bytes(16, "big"), 1.0) == 1420
    assert paths.get((1).to_bytes(16, "big"), 1.0) == 1300
    paths.note((1).to_bytes(16, "big"), 1290, 0.0)  # one that is known takes no room
    assert paths.get((2).to_bytes(16, "big"), 1.0) == 1300
