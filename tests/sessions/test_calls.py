"""Calls are answered, cancelled or failed at most once; figures count what happened."""

import pytest
import trio
import trio.testing

from mcpctld.errors import Unreachable
from mcpctld.protocols.jsonrpc import Message, parse
from mcpctld.sessions import calls as calls_module
from mcpctld.sessions.calls import Calls
from mcpctld.sessions.figures import KEPT, Recorder


def request(ident: str, method: str = "x") -> Message:
    parsed = parse(f'{{"id":{ident},"method":"{method}"}}'.encode())
    assert isinstance(parsed, Message)
    return parsed


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


async def test_a_call_ends_once(recorder: Recorder):
    calls = Calls((recorder,))
    assert calls.begin(request("1"))
    assert not calls.begin(request("1.0"))
    assert calls.begin(request('"1"'))
    assert len(calls) == 2
    call = calls.end(b"1", failed=False)
    assert call is not None
    assert call.method == "x"
    assert calls.end(b"1", failed=False) is None
    assert [call.id for call in calls] == [b'"1"']
    assert recorder.figures()["in_flight"] == 1


async def test_a_cancelled_call_is_neither_answered_nor_failed_and_is_remembered_once():
    recorder = Recorder()
    calls = Calls((recorder,))
    calls.begin(request("1"))
    calls.cancel(b"1")
    calls.cancel(b"1")
    calls.cancel(b"unknown")
    assert calls.end(b"1", failed=True) is None
    assert calls.was_cancelled(b"1")
    assert not calls.was_cancelled(b"1")
    figures = recorder.figures()
    assert (figures["calls"], figures["errors"], figures["in_flight"]) == (1, 0, 0)


async def test_only_so_many_cancelled_calls_are_remembered():
    calls = Calls(())
    for number in range(calls_module.REMEMBERED + 1):
        calls.begin(request(str(number)))
        calls.cancel(str(number).encode())
    assert not calls.was_cancelled(b"0")
    assert calls.was_cancelled(b"1")


async def test_who_waits_for_calls_to_end_does_not_wait_for_those_that_stay_open(autojump_clock):
    calls = Calls(())
    await calls.wait_at_most(0)
    calls.begin(request("1", "subscriptions/listen"))
    await calls.wait_at_most(0)
    calls.begin(request("2"))
    calls.begin(request("3"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(calls.wait_at_most, 0)
        await trio.testing.wait_all_tasks_blocked()
        calls.end(b"2", failed=False)
        await trio.testing.wait_all_tasks_blocked()
        assert nursery.child_tasks
        calls.cancel(b"3")
    calls.end(b"1", failed=True)
    assert len(calls) == 0


async def test_the_oldest_call_is_waited_for_and_is_none_that_stays_open(autojump_clock):
    calls = Calls(())
    found: list[bytes] = []

    async def wait() -> None:
        found.append((await calls.wait_oldest()).id)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        calls.begin(request("1", "subscriptions/listen"))
        await trio.testing.wait_all_tasks_blocked()
        assert found == []
        calls.begin(request("2"))
    assert found == [b"2"]
    calls.begin(request("3"))
    assert (await calls.wait_oldest()).id == b"2"


# ---------------------------------------------------------------- figures


def test_without_calls_there_are_no_percentiles(recorder: Recorder):
    assert recorder.figures() == {
        "calls": 0, "errors": 0, "in_flight": 0, "p50_ms": None, "p99_ms": None,
    }  # fmt: skip


def test_percentiles_are_those_of_the_nearest_rank(recorder: Recorder):
    for number in range(100, 0, -1):
        recorder.begin()
        recorder.end(number / 1000, failed=number > 97)
    figures = recorder.figures()
    assert (figures["p50_ms"], figures["p99_ms"]) == (50.0, 99.0)
    assert (figures["calls"], figures["errors"], figures["in_flight"]) == (100, 3, 0)


def test_one_call_is_every_percentile(recorder: Recorder):
    recorder.begin()
    recorder.end(0.0123456)
    assert recorder.figures()["p50_ms"] == recorder.figures()["p99_ms"] == 12.346


def test_only_the_newest_calls_count(recorder: Recorder):
    for seconds in (5.0, 0.001):
        for _ in range(KEPT):
            recorder.begin()
            recorder.end(seconds)
    assert recorder.figures()["p99_ms"] == 1.0


def test_a_call_that_says_nothing_of_speed_is_not_timed(recorder: Recorder):
    recorder.begin()
    recorder.end(None, failed=True)
    figures = recorder.figures()
    assert (figures["calls"], figures["errors"], figures["p50_ms"]) == (1, 1, None)


def test_the_newest_error_is_kept(recorder: Recorder):
    recorder.note(Unreachable("first"))
    recorder.note(Unreachable("second"))
    assert recorder.last_error is not None
    assert recorder.last_error["message"] == "second"
    assert recorder.last_error["kind"] == "unreachable"
