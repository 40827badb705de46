"""`mcpctl.clients._changes`: what a change of a client's file means."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpctl.clients._changes import (
    PUT_BACK_AT_MOST,
    PUT_BACK_WITHIN_S,
    REMEMBERED,
    Known,
    Sight,
    judge,
)

OLD = Sight("old", {"a": "1"})
BOTH = Sight("both", {"a": "1", "ours": "1"})
TRAP = {"wipes": True, "running": True}


def follow(*sights, known=None, ours=("ours",), now=0.0, **how):
    """Judge one look after the other: the last judgement."""
    told, known = None, known or Known()
    for seen in sights:
        told = judge(known, seen, ours, now=now, **{"wipes": False, "running": False, **how})
        known = told.known
    return told


def test_what_came_went_and_became_another_is_told():
    told = follow(Sight("1", {"a": "1", "b": "1"}), Sight("2", {"b": "2", "c": "1"}))
    assert (told.verdict, told.added, told.changed, told.removed) == (
        "changed",
        ("c",),
        ("b",),
        ("a",),
    )


def test_the_same_bytes_are_no_news():
    told = follow(OLD, OLD)
    assert told.verdict == "same"
    assert told.known == follow(OLD).known


@pytest.mark.parametrize("seen", [Sight(None, None), Sight("torn", None), Sight(None, {})])
@pytest.mark.parametrize("how", [TRAP, {}])
def test_a_file_that_is_not_whole_removes_nothing(seen, how):
    told = follow(BOTH, seen, **how)
    assert (told.verdict, told.removed, told.lost) == ("unsure", (), ())
    assert told.known == follow(BOTH).known
    assert follow(BOTH, seen, BOTH, **how).verdict == "same"


def test_an_entry_that_the_client_wiped_is_put_back():
    told = follow(OLD, BOTH, OLD, **TRAP)
    assert (told.verdict, told.lost, told.removed, told.exhausted) == (
        "wiped",
        ("ours",),
        ("ours",),
        False,
    )


@pytest.mark.parametrize(
    ("sights", "how", "ours"),
    [
        ((OLD, BOTH, OLD), {"wipes": False, "running": True}, ("ours",)),
        ((OLD, BOTH, OLD), {"wipes": True, "running": False}, ("ours",)),
        ((OLD, BOTH, Sight("never seen", {"a": "1"})), TRAP, ("ours",)),
        ((OLD, BOTH, OLD), TRAP, ()),
        ((OLD, BOTH, OLD), TRAP, ("other",)),
    ],
)
def test_any_other_removal_is_the_users_and_is_obeyed(sights, how, ours):
    told = follow(*sights, ours=ours, **how)
    assert (told.verdict, told.removed, told.lost) == ("changed", ("ours",), ())


def test_it_is_put_back_three_times_an_hour_and_then_told():
    known = follow(OLD).known
    for round_ in range(PUT_BACK_AT_MOST + 1):
        told = follow(BOTH, OLD, known=known, now=float(round_), **TRAP)
        known = told.known
        assert (told.verdict, told.exhausted) == ("wiped", round_ == PUT_BACK_AT_MOST)
    late = PUT_BACK_WITHIN_S + 1.0
    assert not follow(BOTH, OLD, known=known, now=late, **TRAP).exhausted


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.integers(0, 60), max_size=80), st.booleans(), st.booleans())
def test_whatever_is_seen_the_known_state_is_the_last_whole_one(numbers, wipes, running):
    known, now, put_back = Known(), 0.0, 0
    for number in numbers:
        whole = number % 7 != 0
        seen = Sight(str(number), {str(number % 5): "1"} if whole else None)
        told = judge(known, seen, ("1", "2"), wipes=wipes, running=running, now=now)
        known, now = told.known, now + 1.0
        assert known.digest == (seen.digest if whole else known.digest)
        assert len(known.former) <= REMEMBERED
        assert (told.verdict == "unsure") == (not whole)
        put_back += told.verdict == "wiped" and not told.exhausted
    assert put_back <= (PUT_BACK_AT_MOST if wipes and running else 0)
