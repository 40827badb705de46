"""What a client hears, and hears again (MCP 2025-11-25, Transports, "Resumability and Redelivery")."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpctld.wrap.streams import (
    KEEP_ALIVE,
    MAX_BYTES,
    MAX_EVENTS,
    RETRY_MS,
    EventLog,
    Stream,
    event,
    read_id,
)
from wrap.replies import Ear


def stream(number: int = 1, log: EventLog | None = None, *, primes: bool = False) -> Stream:
    return Stream(number, log or EventLog(), primes=primes)


def attached(one: Stream, after: int | None = None) -> Ear:
    ear = Ear()
    one.attach(ear, (), after)
    return ear


def data(ear: Ear) -> list[str]:
    return [heard.data for heard in ear.events if heard.data]


# ---------------------------------------------------------------- the log


def test_events_are_numbered_through_the_session():
    log = EventLog()
    assert [log.add(stream, b"x").number for stream in (0, 1, 0, 2)] == [1, 2, 3, 4]
    assert log.add(7, b"{}").text == b"id: 7-5\nevent: message\ndata: {}\n\n"


def test_the_oldest_events_are_given_up_by_number():
    log = EventLog()
    for _ in range(MAX_EVENTS + 10):
        log.add(1, b"x")
    assert [kept.number for kept in log.after(1, 0)] == list(range(11, MAX_EVENTS + 11))


def test_the_oldest_events_are_given_up_by_size():
    log = EventLog()
    part = b"x" * (MAX_BYTES // 4)
    for _ in range(10):
        log.add(1, part)
    kept = log.after(1, 0)
    assert sum(len(one.text) for one in kept) <= MAX_BYTES
    assert [one.number for one in kept] == [8, 9, 10]


def test_one_that_is_too_large_is_not_kept_and_costs_nobody_elses_place():
    log = EventLog()
    log.add(1, b"before")
    assert log.add(1, b"x" * MAX_BYTES).number == 2
    assert [kept.number for kept in log.after(1, 0)] == [1]


@settings(deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 3), st.binary(max_size=20)), max_size=60), st.data())
def test_what_comes_after_an_event_is_that_streams_and_no_others(said, data):
    log = EventLog()
    kept = [log.add(number, b'"%b"' % text.hex().encode()) for number, text in said]
    wanted = data.draw(st.integers(0, 3))
    after = data.draw(st.integers(0, len(said) + 1))
    found = log.after(wanted, after)
    assert found == [one for one in kept if one.stream == wanted and one.number > after]


# ---------------------------------------------------------------- ids


@pytest.mark.parametrize("number", [0, 1, 12, 10**9])
def test_an_id_is_read_as_it_was_written(number: int):
    log = EventLog()
    kept = log.add(number, b"x")
    text = kept.text.decode().split("\n")[0].removeprefix("id: ")
    assert read_id(text) == (number, 1)


@pytest.mark.parametrize(
    "text",
    ["", "-", "1", "1-", "-1", "a-1", "1-b", "1-2-3", " 1-2", "1-2 ", "+1-2", "\u0661-2", "1--2",
     "1-\u00b2", "9" * 31 + "-1"],
)  # fmt: skip
def test_an_id_that_is_none_of_ours_is_none(text: str):
    assert read_id(text) is None


@settings(deadline=None, derandomize=True)
@given(st.text(max_size=40))
def test_no_text_is_too_odd(text: str):
    found = read_id(text)
    assert found is None or min(found) >= 0


def test_an_event_is_one_line_whatever_the_message_has():
    assert event(b'{\n"a":1}').count(b"\n") == 3


# ---------------------------------------------------------------- a stream


def test_what_is_said_goes_out_at_once():
    one = stream()
    ear = attached(one)
    one.say(b"1")
    one.say(b"2")
    assert data(ear) == ["1", "2"]
    assert ear.headers["x-accel-buffering"] == "no"
    assert "no-cache" in ear.headers["cache-control"]
    assert not ear.ended


def test_what_nobody_has_heard_comes_first_and_only_once():
    one = stream()
    one.say(b"1")
    first = attached(one)
    one.say(b"2")
    first.gone = True
    one.say(b"3")
    second = attached(one)
    one.say(b"4")
    assert data(first) == ["1", "2"]
    assert data(second) == ["3", "4"]


def test_a_client_that_knows_what_it_has_gets_the_rest_again():
    one = stream()
    first = attached(one)
    for number in b"1", b"2", b"3":
        one.say(number)
    last = read_id(first.events[0].id)
    assert last is not None
    first.gone = True
    assert data(attached(one, last[1])) == ["2", "3"]


def test_other_streams_of_the_session_are_not_heard():
    log = EventLog()
    mine, other = stream(1, log), stream(2, log)
    for number in b"1", b"2":
        mine.say(number)
        other.say(b"0")
    assert data(attached(mine, 0)) == ["1", "2"]


def test_a_stream_that_is_over_is_told_and_ended():
    one = stream()
    first = attached(one)
    first.gone = True
    one.say(b"1")
    one.finish()
    assert one.over
    again = attached(one, 0)
    assert data(again) == ["1"]
    assert again.ended
    assert not one.attached


def test_a_new_connection_ends_the_one_before():
    one = stream()
    first, second = attached(one), attached(one)
    one.say(b"1")
    assert first.ended
    assert data(first) == []
    assert data(second) == ["1"]


def test_one_that_is_gone_is_replaced_without_a_word():
    one = stream()
    first = attached(one)
    first.leave()
    assert not one.attached
    second = attached(one)
    assert one.attached
    assert not second.ended


def test_a_client_that_knows_polling_is_primed():
    one = stream(3, primes=True)
    ear = attached(one)
    one.say(b"1")
    assert ear.body.startswith(b"id: 3-0\nretry: %d\ndata: \n\n" % RETRY_MS)
    assert read_id(ear.events[0].id) == (3, 0)
    assert data(attached(one, 0)) == ["1"]


def test_one_that_comes_back_is_not_primed_again():
    one = stream(primes=True)
    attached(one).gone = True
    one.say(b"1")
    assert attached(one, 0).body == event(b"1", b"1-1")


def test_older_clients_are_not_primed():
    assert attached(stream()).body == b""


def test_leaving_tells_when_to_come_back_and_keeps_the_rest():
    one = stream(primes=True)
    first = attached(one)
    one.leave()
    assert first.body.endswith(b"retry: %d\n\n" % RETRY_MS)
    assert first.ended
    assert not one.over
    one.say(b"1")
    assert data(attached(one, 0)) == ["1"]


@pytest.mark.parametrize("do", [Stream.leave, Stream.finish, Stream.keep_alive])
def test_nothing_is_said_where_nobody_listens(do):
    one = stream()
    do(one)
    gone = attached(one)
    gone.gone = True
    before = gone.body
    do(one)
    assert gone.body == before


def test_a_comment_keeps_the_connection_alive():
    one = stream()
    ear = attached(one)
    one.keep_alive()
    assert ear.body == KEEP_ALIVE
    assert ear.events == []


@pytest.mark.parametrize("seed", range(20))
def test_a_client_with_bad_connections_hears_everything_in_order(seed: int):
    chance = random.Random(seed)
    log = EventLog()
    one, other = stream(1, log, primes=True), stream(2, log, primes=True)
    ear, last, heard = attached(one), 0, []
    for number in range(200):
        one.say(b"%d" % number)
        other.say(b"-1")
        if chance.random() < 0.2:
            got = ear.events[: chance.randrange(len(ear.events) + 1)]  # the rest got lost
            heard += [said.data for said in got if said.data]
            last = max([last, *(read_id(said.id)[1] for said in got)])
            ear.gone = True
            ear = attached(one, last)
    one.finish()
    heard += [said.data for said in ear.events if said.data]
    assert heard == [str(number) for number in range(200)]
