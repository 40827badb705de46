"""`mcpctld.localfly.edge.routing`: which machine gets a request, or is started for it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpctld.localfly.edge.routing import (
    COMING,
    LOST,
    RESTING,
    RUNNING,
    Await,
    Candidate,
    Hold,
    Send,
    Wish,
    choose,
)


def machine(id: str, state: str = "started", load: int = 0, **settings) -> Candidate:
    return Candidate(id, settings.pop("region", "iad"), state, load, **settings)


def decide(*candidates: Candidate, turn: int = 0, **wish):
    return choose(candidates, Wish(**wish), near="iad", turn=turn)


LIMITS = {"soft_limit": 2, "hard_limit": 4}


@pytest.mark.parametrize(
    ("candidates", "expected"),
    [
        # the least loaded below its soft limit
        ([machine("a", load=1), machine("b")], Send("b")),
        ([machine("a", load=3, **LIMITS), machine("b", load=1, **LIMITS)], Send("b")),
        # the nearest, as long as it takes anything
        ([machine("a", region="ams"), machine("b", load=9)], Send("b")),
        ([machine("a", region="ams"), machine("b", load=4, **LIMITS)], Send("a")),
        # at the soft limit another one is started besides
        ([machine("a", load=2, **LIMITS), machine("b", "stopped")], Send("a", start="b")),
        ([machine("a", load=2, **LIMITS), machine("b", "starting")], Send("a")),
        ([machine("a", load=2, **LIMITS), machine("b", "stopped", autostart=False)], Send("a")),
        ([machine("a", load=2, **LIMITS), machine("b", "stopped", leased=True)], Send("a")),
        # at the hard limit it gets nothing
        ([machine("a", load=4, **LIMITS), machine("b", "suspended")], Await("b")),
        # nobody runs: the nearest is started
        ([machine("a", "stopped", region="ams"), machine("b", "suspended")], Await("b")),
        ([machine("a", "suspending")], Await("a")),
        # one that is coming is waited for, unless it has as many waiting as it can take
        ([machine("a", "starting", load=1, **LIMITS), machine("b", "stopped")], Await("a")),
        ([machine("a", "starting", load=2, **LIMITS), machine("b", "stopped")], Await("b")),
        ([machine("a", "starting", load=2, **LIMITS)], Await("a")),
        # what takes no requests
        ([machine("a", cordoned=True), machine("b", load=1)], Send("b")),
        ([machine("a", healthy=False), machine("b", load=1)], Send("b")),
        ([machine("a", healthy=False), machine("b", "stopped")], Await("b")),
    ],
)
def test_a_request_goes_where_there_is_room(candidates, expected):
    assert decide(*candidates) == expected
    assert decide(*reversed(candidates)) == expected


@pytest.mark.parametrize(
    ("candidates", "code", "hopeless"),
    [
        ([], "PR04", True),
        ([machine("a", cordoned=True)], "PR04", True),
        ([machine("a", load=4, **LIMITS)], "PR03", False),
        ([machine("a", "stopped", leased=True)], "PM01", False),
        ([machine("a", healthy=False)], "PR01", False),
        ([machine("a", "stopped", autostart=False)], "PR03", True),
        ([machine("a", "stopped", autostart=False), machine("b", "failed")], "PR03", True),
        ([machine("a", "failed")], "PM08", True),
        ([machine("a", "stopping")], "PM08", False),
        ([machine("a", "starting", load=4, **LIMITS)], "PM08", False),
    ],
)
def test_where_there_is_no_room_it_is_held_and_why_is_told(candidates, code, hopeless):
    verdict = decide(*candidates)
    assert isinstance(verdict, Hold)
    assert (verdict.code, verdict.hopeless) == (code, hopeless)
    assert verdict.reason


@pytest.mark.parametrize(
    ("wish", "expected"),
    [
        ({"instance": "b"}, Send("b")),
        ({"instance": "c"}, Await("c")),
        ({"prefer_instance": "b"}, Send("b")),
        ({"prefer_instance": "c"}, Await("c")),
        ({"prefer_instance": "x"}, Send("a")),
        ({"prefer_instance": "d"}, Send("a")),
        ({"regions": frozenset({"ams"})}, Send("b")),
        ({"prefer_region": "ams"}, Send("b")),
        ({"prefer_region": "syd"}, Send("a")),
        ({"excluded": frozenset({"a"})}, Send("b")),
        ({"excluded": frozenset({"a", "b"})}, Await("c")),
    ],
)
def test_a_wish_narrows_it_down(wish, expected):
    candidates = [
        machine("a"), machine("b", load=1, region="ams"), machine("c", "stopped"), machine("d", "failed"),
    ]  # fmt: skip
    assert decide(*candidates, **wish) == expected


@pytest.mark.parametrize("wish", [{"instance": "x"}, {"regions": frozenset({"syd"})}])
def test_a_wish_that_nobody_meets_says_whom_it_meant(wish):
    verdict = decide(machine("a"), **wish)
    assert isinstance(verdict, Hold)
    assert verdict.hopeless
    assert "x" in verdict.reason or "syd" in verdict.reason


def test_equals_take_turns():
    candidates = [machine(name) for name in "abc"]
    assert [decide(*candidates, turn=turn).machine for turn in range(6)] == list("abcabc")


CANDIDATES = st.lists(
    st.builds(
        Candidate,
        id=st.uuids().map(str),
        region=st.sampled_from(["iad", "ams"]),
        state=st.sampled_from(sorted(RUNNING | RESTING | COMING | LOST | {"stopping", "other"})),
        load=st.integers(0, 6),
        soft_limit=st.integers(1, 4),
        hard_limit=st.none() | st.integers(1, 6),
        autostart=st.booleans(),
        cordoned=st.booleans(),
        leased=st.booleans(),
        healthy=st.booleans(),
    ),
    max_size=6,
)


@given(CANDIDATES, st.integers(0, 100))
@settings(deadline=None, derandomize=True, max_examples=150)
def test_nothing_is_done_that_must_not_be(candidates, turn):
    verdict = choose(candidates, Wish(), near="iad", turn=turn)
    known = {each.id: each for each in candidates}
    if isinstance(verdict, Send):
        chosen = known[verdict.machine]
        assert chosen.state in RUNNING
        assert chosen.healthy
    if isinstance(verdict, Send | Await):
        chosen = known[verdict.machine]
        assert not chosen.cordoned
        assert chosen.takes_more or chosen.state in RESTING
        for id in {getattr(verdict, "start", ""), verdict.machine} - {""}:
            if known[id].state in RESTING:
                assert known[id].autostart
                assert not known[id].leased
    able = [each for each in candidates if not each.cordoned]
    ready = [e for e in able if e.state in RUNNING and e.healthy and e.takes_more]
    assert isinstance(verdict, Send) is bool(ready)
    if any(e.state in RESTING and e.autostart and not e.leased for e in able):
        assert not isinstance(verdict, Hold)
