"""Order, weight and time: what the transports keep their messages in."""

from typing import Any

import trio
import trio.testing

from mcpctld.protocols.jsonrpc import Batch, Message, id_key, parse
from mcpctld.upstreams._deadlines import Deadlines
from mcpctld.upstreams._lane import Lane, Load, goes_first, requests_in


def message(method: str, ident: int | None = None) -> Message:
    id_part = "" if ident is None else f'"id":{ident},'
    parsed = parse(f'{{{id_part}"method":"{method}"}}'.encode())
    assert isinstance(parsed, Message)
    return parsed


class Lanes:
    def __init__(self) -> None:
        self.sent: list[str] = []
        self.lane = Lane(self.post)

    def post(self, posted: Message | Batch) -> None:
        assert isinstance(posted, Message)
        self.sent.append(posted.method)
        if posted.method == "stop":
            self.lane.hold(posted)


def test_a_request_that_waits_can_be_taken_out_and_nothing_else_is():
    lanes = Lanes()
    stop = message("stop")
    batch = parse(b'[{"id":7,"method":"in a batch"}]')
    for each in (stop, message("a"), message("b", 7), batch, message("c", 8)):
        lanes.lane.send(each)
    taken = lanes.lane.forget(id_key(b"7"))
    assert taken is not None
    assert taken.method == "b"
    assert lanes.lane.forget(id_key(b"7")) is None
    assert list(lanes.lane)[1] is batch
    assert len(list(lanes.lane)) == 3


def test_a_held_lane_keeps_what_comes_until_its_holder_lets_go():
    lanes = Lanes()
    stop = message("stop")
    for each in (message("a"), stop, message("b"), message("stop"), message("c")):
        lanes.lane.send(each)
    assert lanes.sent == ["a", "stop"]
    lanes.lane.release("somebody else")
    assert lanes.sent == ["a", "stop"]
    lanes.lane.release(stop)
    assert lanes.sent == ["a", "stop", "b", "stop"]
    assert [each.method for each in lanes.lane if isinstance(each, Message)] == ["c"]


def test_a_closed_lane_gives_back_what_it_holds_and_sends_nothing_more():
    lanes = Lanes()
    stop = message("stop")
    lanes.lane.send(stop)
    lanes.lane.send(message("a"))
    assert len(lanes.lane.close()) == 1
    lanes.lane.release(stop)
    lanes.lane.send(message("b"))
    assert lanes.sent == ["stop"]


def test_what_is_set_aside_lets_others_pass_and_goes_first_when_it_rejoins():
    lanes = Lanes()
    stop = message("stop")
    for ident, method in ((1, "a"), (2, "b"), (3, "c")):
        lanes.lane.set_aside(message(method, ident))
    lanes.lane.send(stop)
    lanes.lane.send(message("d"))
    assert lanes.sent == ["stop"]
    taken = lanes.lane.forget(id_key(b"2"))
    assert taken is not None
    assert taken.method == "b"
    lanes.lane.rejoin()
    assert lanes.sent == ["stop"]  # the lane is held
    lanes.lane.release(stop)
    assert lanes.sent == ["stop", "a", "c", "d"]


def test_what_is_set_aside_was_not_sent():
    lanes = Lanes()
    lanes.lane.send(message("stop"))
    lanes.lane.set_aside(message("a"))
    lanes.lane.send(message("b"))
    assert [each.method for each in lanes.lane if isinstance(each, Message)] == ["a", "b"]
    assert len(lanes.lane.take_aside()) == 1
    lanes.lane.set_aside(message("c"))
    closed = lanes.lane.close()
    assert [each.method for each in closed if isinstance(each, Message)] == ["c", "b"]
    lanes.lane.rejoin()
    assert lanes.sent == ["stop"]


def test_what_is_no_request_goes_first_and_so_does_initialize():
    assert goes_first(message("initialize", 1))
    assert goes_first(message("notifications/x"))
    assert goes_first(parse(b'{"id":1,"result":{}}'))
    assert goes_first(parse(b'[{"method":"n"}]'))
    assert not goes_first(message("tools/call", 1))
    assert not goes_first(parse(b'[{"method":"n"},{"method":"x","id":1}]'))
    assert len(requests_in(parse(b'[{"method":"n"},{"method":"x","id":1}]'))) == 1


async def test_a_load_is_full_until_enough_was_taken_off(autojump_clock):
    load = Load(10)
    await load.wait_room()
    load.add(6)
    load.add(6)
    assert load.full
    async with trio.open_nursery() as nursery:
        nursery.start_soon(load.wait_room)
        await trio.testing.wait_all_tasks_blocked()
        load.add(1)
        load.remove(2)
        await trio.testing.wait_all_tasks_blocked()
        assert nursery.child_tasks
        load.remove(6)
    assert not load.full


async def test_deadlines_are_met_in_order_and_a_new_one_replaces_the_old(autojump_clock):
    met: list[tuple[str, float]] = []
    start = trio.current_time()

    def note(name: str) -> None:
        met.append((name, trio.current_time() - start))

    def never(name: str) -> None:
        raise AssertionError(name)

    async with trio.open_nursery() as nursery:
        deadlines: Deadlines[Any] = Deadlines(nursery)
        deadlines.set("late", 30, note)
        deadlines.set("soon", 20, note)
        deadlines.set("moved", 5, never)
        deadlines.set("moved", 25, note)
        deadlines.set("dropped", 1, never)
        await trio.testing.wait_all_tasks_blocked()
        deadlines.set("first", 2, note)
        deadlines.drop("dropped")
        deadlines.drop("unknown")
    assert met == [("first", 2), ("soon", 20), ("moved", 25), ("late", 30)]


async def test_an_action_may_set_and_drop_deadlines(autojump_clock):
    met: list[str] = []
    async with trio.open_nursery() as nursery:
        deadlines: Deadlines[Any] = Deadlines(nursery)

        def first(name: str) -> None:
            met.append(name)
            deadlines.drop("second")
            deadlines.set("third", 1, met.append)

        deadlines.set("first", 1, first)
        deadlines.set("second", 1, met.append)
    assert met == ["first", "third"]


async def test_without_deadlines_there_is_no_task_and_with_many_there_is_one(autojump_clock):
    async with trio.open_nursery() as nursery:
        deadlines: Deadlines[Any] = Deadlines(nursery)
        assert not nursery.child_tasks
        for key in range(10):
            deadlines.set(key, 10, lambda _: None)
        assert len(nursery.child_tasks) == 1


async def test_what_was_cleared_is_not_done(autojump_clock):
    met: list[str] = []
    async with trio.open_nursery() as nursery:
        deadlines: Deadlines[Any] = Deadlines(nursery)
        deadlines.set("a", 1, met.append)
        deadlines.clear()
    assert met == []
