"""`mcpctld.protocols.network`: which changes of the network matter."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpctld.protocols.network import Network, Path, Paths

WIFI = Path(3, b"\xc0\xa8\1\1", b"\xc0\xa8\1\5")
WIRE = Path(2, b"\x0a\0\0\1", b"\x0a\0\0\7")
WIFI6 = Path(3, b"\xfe\x80" + bytes(14), b"\x20\1" + bytes(6))
WIRE6 = WIFI6._replace(interface=2)
NOTHING = Paths()

# (what is seen, one after the other; which of it, but the first, is a change that matters)
STORIES = {
    "nothing happens": ([Paths(WIFI), Paths(WIFI)], [False]),
    "another network": ([Paths(WIFI), Paths(WIRE)], [True]),
    "another gateway": ([Paths(WIFI), Paths(WIFI._replace(gateway=b"\xc0\xa8\1\2"))], [True]),
    "another address": ([Paths(WIFI), Paths(WIFI._replace(source=b"\xc0\xa8\1\6"))], [True]),
    "another interface, the rest alike": ([Paths(WIFI), Paths(WIFI._replace(interface=4))], [True]),
    "away": ([Paths(WIFI), NOTHING], [False]),
    "away and elsewhere": ([Paths(WIFI), NOTHING, Paths(WIRE)], [False, True]),
    "away and back, alike": ([Paths(WIFI), NOTHING, NOTHING, Paths(WIFI)], [False, False, True]),
    "away and back, then rest": ([Paths(WIFI), NOTHING, Paths(WIFI), Paths(WIFI)], [False, True, False]),
    "none at first": ([NOTHING, Paths(WIFI), Paths(WIFI)], [True, False]),
    "IPv6 comes later": ([Paths(WIFI), Paths(WIFI, WIFI6)], [False]),
    "IPv6 comes later and changes": (
        [Paths(WIFI), Paths(WIFI, WIFI6), Paths(WIFI, WIRE6)],
        [False, True],
    ),
    "IPv6 goes": ([Paths(WIFI, WIFI6), Paths(WIFI)], [True]),
    "IPv6 goes and comes": ([Paths(WIFI, WIFI6), Paths(WIFI), Paths(WIFI, WIFI6)], [True, False]),
    "from one family to the other": ([Paths(WIFI), Paths(None, WIFI6)], [True]),
    "back to the first": ([Paths(WIFI), Paths(WIRE), Paths(WIFI)], [True, True]),
}  # fmt: skip


@pytest.mark.parametrize(("seen", "changes"), STORIES.values(), ids=STORIES)
def test_a_change_matters_when_connections_may_be_cut_by_it(seen, changes):
    first, *rest = seen
    network = Network(first)
    assert [network.is_changed(paths) for paths in rest] == changes


SIGHTS = st.builds(
    Paths, st.sampled_from([None, WIFI, WIRE]), st.sampled_from([None, WIFI6, WIRE6])
)


@given(st.lists(SIGHTS, min_size=2))
def test_whenever_there_is_a_way_out_nothing_is_trusted_that_took_another(seen):
    network = Network(seen[0])
    trusted = seen[0]
    for before, now in itertools.pairwise(seen):
        if network.is_changed(now):
            assert now != NOTHING
            trusted = now
        elif now != NOTHING:
            trusted = Paths(trusted.ipv4 or now.ipv4, trusted.ipv6 or now.ipv6)
            assert before != NOTHING
            assert now == trusted
