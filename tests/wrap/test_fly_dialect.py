"""What `fly mcp proxy` speaks: lines in, lines out."""

import json
from typing import Any

import pytest
import trio
import trio.testing

from mcpctld.protocols.jsonrpc import Malformed, Message
from mcpctld.wrap.fly_dialect import BLANK, MAX_WAITING, read_lines
from mcpctld.wrap.pulse import BEAT_S
from wrap.replies import Ear
from wrap.stage import ALICE, BOB, CREDENTIALS, Stage, call, initialize, stage

ANYTHING = "*/*"


def lines(*messages: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(message).encode() + b"\n" for message in messages)


def send(made: Stage, *messages: dict[str, Any], who: tuple[str, ...] = ()) -> Ear:
    """A POST as curl makes it."""
    return made.post(lines(*messages), *who, accept=ANYTHING)


def listen(made: Stage, *who: str) -> Ear:
    return made.get(*who, accept=ANYTHING)


def said(ear: Ear) -> list[Any]:
    return [json.loads(line) for line in ear.body.splitlines() if line]


async def hears(ear: Ear, count: int) -> list[Any]:
    await ear.until(lambda ear: len(said(ear)) >= count)
    return said(ear)


# ---------------------------------------------------------------- lines


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b"", []),
        (b"\n\n", []),
        (lines(call(1), call(2)), ["tools/call", "tools/call"]),
        (lines(call(1)).strip(), ["tools/call"]),
        (lines(call(1)).replace(b"\n", b"\r\n"), ["tools/call"]),
        (b"nonsense\n" + lines(call(1)), [-32700, "tools/call"]),
        (b"7\n", [-32600]),
        (b"x" * 2000, [-32600]),
    ],
)
def test_the_lines_of_a_body_are_messages_or_not(body: bytes, found: list[Any]):
    read = read_lines(body, 1000)
    kinds = [one.code if isinstance(one, Malformed) else one.method for one in read]  # type: ignore[union-attr]
    assert kinds == found
    assert all(isinstance(one, Malformed | Message) for one in read)


# ---------------------------------------------------------------- one client


async def test_the_script_of_flys_guide_works(autojump_clock):
    """Three lines in one POST, then a GET that shows the answers."""
    async with stage() as made:
        initialized = {"jsonrpc": "2.0", "method": "notifications/initialized"}
        tools = {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}
        sent = send(made, initialize(ident=1), initialized, tools)
        assert (sent.status, sent.body) == (202, b"")
        await made.asked("tools/list")
        await trio.sleep(5)
        ear = listen(made)
        assert [message["id"] for message in await hears(ear, 2)] == [1, 2]
        assert ear.status == 200
        assert len(made.processes) == 1


async def test_what_the_server_says_goes_out_in_order(autojump_clock):
    async with stage() as made:
        ear = listen(made)
        send(made, initialize())
        await hears(ear, 1)
        for number in range(5):
            made.processes[0].say(method="notifications/x", params={"number": number})
        heard = await hears(ear, 6)
        assert [one["params"]["number"] for one in heard[1:]] == list(range(5))


@pytest.mark.parametrize(
    ("parts", "kept"), [([1] * 6, [3, 4, 5]), ([1] * 6 + [5], []), ([5, 1], [1])], ids=str
)
async def test_what_nobody_hears_waits_but_not_without_bound(
    autojump_clock, parts: list[int], kept: list[int]
):
    """`parts` are sizes in quarters of what may wait; the latest are `kept`."""
    async with stage() as made:
        send(made, initialize())
        await made.asked("initialize")
        await trio.testing.wait_all_tasks_blocked()
        for number, size in enumerate(parts):
            padding = "x" * (size * MAX_WAITING // 4)
            made.processes[0].say(method="notifications/x", params={"n": number, "p": padding})
        await trio.testing.wait_all_tasks_blocked()
        ear = listen(made)
        assert len(ear.body) <= MAX_WAITING
        assert [one["params"]["n"] for one in said(ear)] == kept


async def test_a_get_that_broke_off_is_followed_by_another(autojump_clock):
    async with stage() as made:
        first = listen(made)
        send(made, initialize())
        await hears(first, 1)
        first.leave()
        made.processes[0].say(method="notifications/x")
        await trio.testing.wait_all_tasks_blocked()
        second = listen(made)
        assert [one["method"] for one in said(second)] == ["notifications/x"]


async def test_there_is_one_listener(autojump_clock):
    async with stage() as made:
        first, second = listen(made), listen(made)
        assert (first.status, second.status) == (200, 409)
        send(made, initialize())
        await hears(first, 1)


async def test_a_blank_line_keeps_the_connection_alive(autojump_clock):
    async with stage(beats=True) as made:
        ear = listen(made)
        await trio.sleep(BEAT_S * 2 + 1)
        assert ear.body == BLANK * 2


async def test_an_empty_post_wakes_the_server(autojump_clock):
    async with stage() as made:
        assert made.post(b"", accept=ANYTHING).status == 202
        await made.process(1)


async def test_a_line_that_is_no_message_has_the_whole_refused(autojump_clock):
    async with stage() as made:
        ear = made.post(lines(call(1)) + b"nonsense", accept=ANYTHING)
        assert ear.status == 400
        assert ear.error["code"] == -32700
        assert made.processes == []


# ---------------------------------------------------------------- several clients


async def test_another_initialize_begins_another_process_under_the_same_get(autojump_clock):
    async with stage() as made:
        ear = listen(made)
        send(made, initialize(ident=1))
        await hears(ear, 1)
        send(made, initialize(ident=2))
        assert [one["id"] for one in await hears(ear, 2)] == [1, 2]
        assert len(made.processes) == 2
        await trio.testing.wait_all_tasks_blocked()
        assert made.processes[0].closed
        assert not ear.ended
        made.processes[1].say(method="notifications/x")
        await hears(ear, 3)


async def test_a_caller_hears_nothing_of_anothers_session(autojump_clock):
    async with stage(credentials=CREDENTIALS) as made:
        send(made, initialize(ident="alice"), who=(ALICE,))
        await made.process(1)
        await trio.testing.wait_all_tasks_blocked()
        bob = listen(made, BOB)
        assert bob.status == 200
        send(made, initialize(ident="bob"), who=(BOB,))
        assert [one["id"] for one in await hears(bob, 1)] == ["bob"]
        alice = listen(made, ALICE)
        assert [one["id"] for one in await hears(alice, 1)] == ["alice"]
        assert len(made.processes) == 2


# ---------------------------------------------------------------- ends


async def test_a_call_is_failed_when_the_process_dies_and_the_next_one_has_another(autojump_clock):
    async with stage() as made:
        ear = listen(made)
        send(made, initialize(), {"jsonrpc": "2.0", "method": "notifications/initialized"})
        await hears(ear, 1)
        send(made, call(1))
        await made.asked("tools/call")
        made.processes[0].die("the process of x exited with code 3: no more memory")
        _, failed = await hears(ear, 2)
        assert failed["id"] == 1
        assert "exited with code 3: no more memory" in failed["error"]["message"]
        send(made, call(2))
        question = await made.asked("tools/call", await made.process(2))
        made.processes[1].answer(question)
        assert (await hears(ear, 3))[2]["id"] == 2


async def test_a_server_that_cannot_be_started_fails_every_call_and_ends_the_get(autojump_clock):
    async with stage() as made:
        made.behaviour.broken = "no such database"
        ear = listen(made)
        send(made, initialize(ident=1), call(2))
        await ear.wait()
        assert [one["id"] for one in said(ear)] == [1, 2]
        assert all("no such database" in one["error"]["message"] for one in said(ear))
        made.behaviour.broken = None
        again = listen(made)
        send(made, initialize(ident=3))
        await hears(again, 1)


async def test_the_end_of_all_ends_the_get_once(autojump_clock):
    async with stage() as made:
        ear = listen(made)
        send(made, initialize(), call(1))
        await hears(ear, 1)
        made.front.close()
        made.processes[0].say(method="notifications/late")
        await ear.wait()
        assert said(ear)[-1]["error"]["data"]["source"] == "mcpctl"


async def test_a_reader_that_lags_is_waited_for_by_its_own_process_only(autojump_clock):
    async with stage(credentials=CREDENTIALS) as made:
        slow, quick = listen(made, ALICE), listen(made, BOB)
        send(made, initialize(), who=(ALICE,))
        await hears(slow, 1)
        send(made, initialize(), who=(BOB,))
        await hears(quick, 1)
        slow.lagging = True
        for process in made.processes:
            for _ in range(3):
                process.say(method="notifications/x")
        await hears(quick, 4)
        assert len(said(slow)) == 2
        slow.read_on()
        await hears(slow, 4)


@pytest.mark.parametrize("why", ["stopping", "does not read"])
async def test_a_call_that_cannot_be_taken_is_told_to_come_back(autojump_clock, why: str):
    async with stage() as made:
        ear = listen(made)
        send(made, initialize())
        await hears(ear, 1)
        if why == "stopping":
            made.front.drain()
        else:
            made.processes[0].lagging = True
        before = len(made.processes[0].sent)
        refused = send(made, call(1))
        assert (refused.status, refused.headers["retry-after"]) == (503, "5")
        assert why in refused.body.decode()
        await trio.testing.wait_all_tasks_blocked()
        assert len(made.processes[0].sent) == before


async def test_a_client_that_does_not_listen_now_has_no_say_in_what_is_read(autojump_clock):
    async with stage() as made:
        send(made, initialize(), {"jsonrpc": "2.0", "method": "notifications/initialized"})
        await made.asked("notifications/initialized")
        for _ in range(10):
            made.processes[0].say(method="notifications/x")
        await trio.testing.wait_all_tasks_blocked()
        assert len(said(listen(made))) == 11
