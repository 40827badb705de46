"""The bus: nobody waits for a listener, and a listener knows what it missed."""

import pytest
import trio
import trio.testing

from mcpctld.sessions.events import DROPPED, QUEUE_LIMIT, EventBus


def test_publishing_to_nobody_does_nothing():
    EventBus().publish("session.opened", {"id": "s1"})


async def test_every_listener_gets_every_event_from_when_it_began_to_listen():
    bus = EventBus()
    with bus.subscribe() as first:
        bus.publish("one")
        with bus.subscribe() as second:
            bus.publish("two", {"more": 1})
            assert (await first.receive())["type"] == "one"
            assert (await first.receive())["type"] == "two"
            assert (await second.receive())["data"] == {"more": 1}
            assert bus.listening == 2
    assert bus.listening == 0


async def test_a_waiting_listener_is_woken(autojump_clock):
    bus = EventBus()
    got = []

    async def listen(task_status: trio.TaskStatus[None]) -> None:
        with bus.subscribe() as events:
            task_status.started()
            got.extend([event["type"] async for event in events])

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            await nursery.start(listen)
            await trio.testing.wait_all_tasks_blocked()
            bus.publish("one")
            await trio.testing.wait_all_tasks_blocked()
            bus.publish("two")
            bus.close()
    assert got == ["one", "two"]


async def test_a_slow_listener_loses_the_oldest_and_is_told_how_many():
    bus = EventBus()
    with bus.subscribe() as events:
        for number in range(QUEUE_LIMIT + 3):
            bus.publish("tick", {"number": number})
        told = await events.receive()
        assert (told["type"], told["data"]) == (DROPPED, {"count": 3})
        assert (await events.receive())["data"] == {"number": 3}
        bus.publish("tick", {"number": "after"})
        bus.close()
        rest = [event["data"]["number"] async for event in events]
    assert rest[-1] == "after"
    assert len(rest) == QUEUE_LIMIT


async def test_a_cancelled_wait_loses_nothing(autojump_clock):
    bus = EventBus()
    with bus.subscribe() as events:
        with trio.move_on_after(1) as scope:
            await events.receive()
        assert scope.cancelled_caught
        bus.publish("one")
        with trio.CancelScope() as scope:
            scope.cancel()
            await events.receive()
        assert scope.cancelled_caught
        assert (await events.receive())["type"] == "one"


async def test_listening_to_a_closed_bus_ends_at_once():
    bus = EventBus()
    bus.close()
    with bus.subscribe() as events, pytest.raises(trio.EndOfChannel):
        await events.receive()


async def test_a_closed_subscription_says_so_to_whoever_waits():
    bus = EventBus()
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            with bus.subscribe() as events:

                async def wait() -> None:
                    with pytest.raises(trio.ClosedResourceError):
                        await events.receive()

                nursery.start_soon(wait)
                await trio.testing.wait_all_tasks_blocked()
                await events.aclose()
