"""`mcpctld.localfly.edge.autostop`: who may rest."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpctld.localfly.edge.autostop import Running, pick, way_to_rest


def machine(id: str, load: int = 0, idle_s: float = 1000, **settings) -> Running:
    fields = {"region": "iad", "soft_limit": 2, "way": "stop"} | settings
    return Running(id, load=load, idle_s=0 if load else idle_s, **fields)


def picked(*machines: Running) -> list[str]:
    return [each.id for each in pick(machines, primary="iad", quiet_s=300)]


@pytest.mark.parametrize(
    ("machines", "expected"),
    [
        ([], []),
        ([machine("a")], ["a"]),
        ([machine("a", load=1)], []),
        ([machine("a", idle_s=299)], []),
        ([machine("a", way="off")], []),
        ([machine("a", way="suspend")], ["a"]),
        ([machine("a", min_running=1)], []),
        ([machine("a", min_running=1, region="ams")], ["a"]),
        # excess = running - (number at or above the soft limit + 1)
        ([machine("a"), machine("b", load=1)], ["a"]),
        ([machine("a"), machine("b", load=2)], []),
        ([machine("a"), machine("b"), machine("c", load=2)], ["a"]),
        ([machine("a", load=1), machine("b", load=1)], []),
        # the one that has been idle for longest, one in each pass
        ([machine("a", idle_s=400), machine("b", idle_s=500), machine("c", idle_s=450)], ["b"]),
        ([machine("a", min_running=2), machine("b", min_running=2)], []),
        (
            [machine("a", min_running=2), machine("b", min_running=2), machine("c", min_running=2)],
            ["a"],
        ),
        # each region by itself
        ([machine("a"), machine("b", region="ams")], ["a", "b"]),
    ],
)
def test_who_is_too_many_rests(machines, expected):
    assert picked(*machines) == expected


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["iad", "ams"]),
            st.integers(0, 3),
            st.floats(0, 1000),
            st.integers(0, 3),
            st.sampled_from(["off", "stop", "suspend"]),
        ),
        max_size=8,
    )
)
@settings(deadline=None, derandomize=True, max_examples=120)  # fmt: skip
def test_nobody_is_taken_who_is_needed(rows):
    machines = [
        machine(str(number), load, idle, region=region, min_running=least, way=way)
        for number, (region, load, idle, least, way) in enumerate(rows)
    ]
    chosen = pick(machines, primary="iad", quiet_s=300)
    for region in ("iad", "ams"):
        here = [each for each in machines if each.region == region]
        gone = [each for each in chosen if each.region == region]
        assert len(gone) <= 1
        if gone and region == "iad":
            assert len(here) - 1 >= max(each.min_running for each in here)
        busy = sum(each.load >= each.soft_limit for each in here)
        if gone and len(here) > 1:
            assert len(here) - 1 >= busy + 1
    assert all(not each.load and each.idle_s >= 300 and each.way != "off" for each in chosen)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, True),
        ({"guest": {"memory_mb": 256}}, True),
        ({"guest": {"memory_mb": 2048}}, True),
        ({"guest": {"memory_mb": 2049}}, False),
        ({"guest": {"gpu_kind": "a10"}}, False),
        ({"guest": {"gpus": 1}}, False),
        ({"init": {"swap_size_mb": 512}}, False),
        ({"schedule": "daily"}, False),
        ({"guest": None, "init": None, "schedule": None}, True),
    ],
)
def test_what_cannot_be_suspended_is_stopped(config, expected):
    assert way_to_rest("suspend", config) == ("suspend" if expected else "stop")
    assert way_to_rest("stop", config) == "stop"
