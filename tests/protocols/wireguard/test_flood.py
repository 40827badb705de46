"""`mcpctld.protocols.wireguard.flood`: how many handshakes are too many, and whose."""

import pytest

from mcpctld.protocols.wireguard import flood
from mcpctld.protocols.wireguard.flood import Load, SourceLimits
from mcpctld.protocols.wireguard.limits import MAX_SOURCES, SOURCE_BURST


def test_a_burst_within_the_bound_is_no_load():
    load = Load(50, 0.0)
    assert not any(load.note(0.0) for _ in range(50))
    assert load.note(0.0)


def test_load_lasts_a_second_after_the_last_one_too_many():
    load = Load(10, 0.0)
    assert [load.note(0.0) for _ in range(11)][-1]
    assert load.note(0.99)  # though there is room again
    assert not load.note(1.0)


@pytest.mark.parametrize(("per_second", "loaded"), [(9.5, False), (25, True)])
def test_what_comes_steadily_is_judged_by_its_rate(per_second, loaded):
    load = Load(10, 0.0)
    seen = [load.note(number / per_second) for number in range(200)]
    assert any(seen) is loaded


def test_without_any_room_we_are_always_under_load():
    load = Load(0, 0.0)
    assert all(load.note(now) for now in (0.0, 10.0, 1000.0))


def test_each_source_has_its_own_bound():
    limits = SourceLimits()
    for source in ("one", "other"):
        allowed = [limits.allow(source, 0.0) for _ in range(SOURCE_BURST + 2)]
        assert allowed == [True] * SOURCE_BURST + [False] * 2
    assert limits.allow("one", 0.06)  # 20 a second
    assert not limits.allow("one", 0.06)


def test_the_number_of_sources_is_bounded(monkeypatch):
    limits = SourceLimits()
    for number in range(MAX_SOURCES):
        assert limits.allow(str(number), 0.0)
    assert not limits.allow("one more", 0.1)
    assert limits.allow("7", 0.1)
    assert not limits.allow("one more", 0.2)  # looked at a moment ago
    assert len(limits) == MAX_SOURCES
    assert limits.allow("one more", 1.2)
    assert len(limits) == 1


def test_a_source_that_is_still_at_it_is_not_forgotten(monkeypatch):
    monkeypatch.setattr(flood, "MAX_SOURCES", 2)
    limits = SourceLimits()
    limits.allow("quiet", 0.0)
    assert [limits.allow("busy", 1.9) for _ in range(SOURCE_BURST + 1)][-1] is False
    assert limits.allow("new", 2.0)
    assert not limits.allow("busy", 2.0 - 0.06)
    assert len(limits) == 2
