"""How wrong guesses are counted: slow for who guesses, harmless for everybody else."""

import tracemalloc

from hypothesis import given, settings
from hypothesis import strategies as st

from mcpctld.wrap.attempts import MAX_CLIENTS, MAX_GUESSES, WINDOW_S, Attempts


def guess(number: int) -> bytes:
    return number.to_bytes(8, "big") + bytes(24)


def test_ten_guesses_a_minute_and_then_the_rest_of_it_is_waited():
    attempts = Attempts()
    for number in range(MAX_GUESSES):
        assert attempts.wait_s("a", 100 + number) == 0
        attempts.add("a", guess(number), 100 + number)
    assert attempts.wait_s("a", 110) == 50
    assert attempts.wait_s("a", 159.5) == 0.5
    assert attempts.wait_s("a", 160) == 0
    assert len(attempts) == 0


def test_the_same_guess_again_is_no_other_guess():
    attempts = Attempts()
    for _ in range(1000):
        attempts.add("a", guess(1), 0)
    assert attempts.wait_s("a", 0) == 0


def test_each_client_has_its_own():
    attempts = Attempts(max_guesses=1)
    attempts.add("a", guess(1), 0)
    assert attempts.wait_s("a", 0) > 0
    assert attempts.wait_s("b", 0) == 0


def test_what_comes_while_it_is_locked_does_not_prolong_it():
    attempts = Attempts(max_guesses=1)
    attempts.add("a", guess(1), 0)
    attempts.add("a", guess(2), 59)
    assert attempts.wait_s("a", WINDOW_S) == 0


def test_of_too_many_clients_the_oldest_is_forgotten():
    attempts = Attempts(max_guesses=1, max_clients=2)
    for second, client in enumerate("abc"):
        attempts.add(client, guess(1), second)
    assert [attempts.wait_s(client, 2) for client in "abc"] == [0, 59, 60]


def test_a_hundred_thousand_addresses_are_not_kept():
    attempts = Attempts()
    for number in range(100_000):
        attempts.add(f"2001:db8:{number:x}::", guess(number), number / 10_000)
    assert len(attempts) == MAX_CLIENTS


def test_a_client_that_has_guessed_all_it_may_costs_little_memory():
    attempts = Attempts(max_clients=200)
    tracemalloc.start()
    for client in range(400):
        for number in range(2 * MAX_GUESSES):
            attempts.add(f"2001:db8:{client:x}::", guess(number), 0)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 200 * 2048


@settings(derandomize=True, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 4), st.floats(0, 5)), max_size=60))
def test_it_counts_as_a_plain_list_would(steps):
    attempts = Attempts(max_guesses=3, window_s=10, max_clients=3)
    began: dict[str, tuple[float, set[int]]] = {}
    now = 0.0
    for client, number, pause in steps:
        now += pause
        if client not in began or began[client][0] + 10 <= now:
            began[client] = (now, set())
        start, seen = began[client]
        locked = len(seen) >= 3
        assert attempts.wait_s(client, now) == (start + 10 - now if locked else 0)
        attempts.add(client, guess(number), now)
        if not locked:
            seen.add(number)
