"""`mcpctld.protocols.inet.limiter`: so many at once, so many a second."""

from mcpctld.protocols.inet.limiter import Limiter


def allowed(limiter: Limiter, now: float, attempts: int = 100) -> int:
    return sum(limiter.allows(now) for _ in range(attempts))


def test_a_burst_goes_through_and_then_so_many_a_second():
    limiter = Limiter(rate=2.0, burst=5)
    assert allowed(limiter, 100.0) == 5
    assert allowed(limiter, 100.0) == 0
    assert allowed(limiter, 100.4) == 0
    assert allowed(limiter, 101.0) == 2
    assert allowed(limiter, 1000.0) == 5


def test_in_the_long_run_it_is_the_rate():
    limiter = Limiter(rate=10.0, burst=20)
    total = sum(allowed(limiter, now / 100, attempts=3) for now in range(10_000))
    assert 1000 <= total <= 1020


def test_a_clock_that_goes_back_gives_nothing():
    limiter = Limiter(rate=1.0, burst=1)
    assert limiter.allows(50.0)
    assert not limiter.allows(10.0)
    assert limiter.allows(11.0)
