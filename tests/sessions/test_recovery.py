"""From daemon to daemon: the client's session goes on, and each of its requests ends once."""

import json
from collections.abc import AsyncIterator

import pytest
import trio
import trio.testing

from mcpctld.errors import Unreachable, UserError
from mcpctld.protocols.checkpoint_format import Mark
from mcpctld.protocols.mcp.tools import ToolFacts
from mcpctld.sessions.recovery import last_words
from sessions.client import bounded, error_of
from sessions.stub import Daemon, Stub
from sessions.upstream import Puppet

INITIALIZE = (
    b'{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25",'
    b'"capabilities":{},"clientInfo":{"name":"tester","version":"1"}}}'
)
INITIALIZED = b'{"jsonrpc":"2.0","method":"notifications/initialized"}'
LEVEL = b'{"jsonrpc":"2.0","id":1,"method":"logging/setLevel","params":{"level":"info"}}'
RESULT = (
    b'{"protocolVersion":"2025-11-25","capabilities":{"tools":{"listChanged":true},"prompts":{}},'
    b'"serverInfo":{"name":"s","version":"1"}}'
)
SESSION = ((Mark.KEPT, INITIALIZE), (Mark.KEPT, INITIALIZED))
NOTES = {"revision": "2025-11-25", "promised": ["tools"]}
META = b'"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}'


def call(ident: int, tool: bytes = b"t", method: bytes = b"tools/call") -> bytes:
    return b'{"jsonrpc":"2.0","id":%d,"method":"%b","params":{"name":"%b"}}' % (ident, method, tool)


def id_of(line: bytes) -> bytes:
    return json.dumps(json.loads(line)["id"]).encode()


@pytest.fixture
async def stub() -> AsyncIterator[Stub]:
    made = Stub()
    try:
        yield made
    finally:
        with trio.CancelScope(shield=True):
            await made.aclose()


async def begun_again(daemon: Daemon, result: bytes = RESULT) -> list[bytes]:
    """The server hears `initialize` again, and answers; what it hears besides."""
    first = (await daemon.upstream.heard(1))[0]
    assert json.loads(first)["method"] == "initialize"
    assert json.loads(first)["params"] == json.loads(INITIALIZE)["params"]
    assert id_of(first) != b"0"
    daemon.upstream.answer(id_of(first), result)
    return daemon.upstream.sent


# ---------------------------------------------------------------- a session is made again


@bounded
async def test_the_first_daemon_finds_nothing_and_the_client_begins(stub: Stub):
    async with stub.attached() as daemon:
        await stub.client.write(INITIALIZE + b"\n")
        await daemon.upstream.heard(1)
        daemon.upstream.answer(b"0", RESULT)
        assert "result" in await stub.client.answer(0)
        assert [line.mark for line in stub.found().lines] == [Mark.KEPT]
        assert stub.found().notes.promised == ["tools"]


@bounded
async def test_what_made_the_session_is_said_again_and_the_client_hears_nothing_of_it(stub: Stub):
    stub.leave(*SESSION, (Mark.KEPT, LEVEL), **NOTES)
    async with stub.attached() as daemon:
        await begun_again(daemon)
        sent = await daemon.upstream.heard(3)
        assert sent[1] == INITIALIZED
        assert json.loads(sent[2])["params"] == {"level": "info"}
        daemon.upstream.answer(id_of(sent[2]))
        assert (await stub.client.message())["method"] == "notifications/tools/list_changed"
        await stub.client.write(call(5) + b"\n")
        await daemon.upstream.heard(4)
        daemon.upstream.answer(b"5")
        assert (await stub.client.message())["id"] == 5
        info = daemon.session.info()
        assert (info["client"], info["protocol_version"]) == ("tester", "2025-11-25")
        assert info["state"] == "ready"


@bounded
async def test_it_is_kept_for_the_daemon_after_that(stub: Stub):
    stub.leave(*SESSION, (Mark.KEPT, LEVEL), **NOTES)
    for _ in range(2):
        async with stub.attached() as daemon:
            await begun_again(daemon)
            await daemon.upstream.heard(3)
            await stub.client.notified("notifications/tools/list_changed")
    assert [line.text for line in stub.found().lines] == [INITIALIZE, INITIALIZED, LEVEL]


@bounded
async def test_a_newer_level_and_a_subscription_given_up_are_not_said_again(stub: Stub):
    stub.leave(*SESSION, (Mark.KEPT, LEVEL), **NOTES)
    requests = [
        LEVEL.replace(b"info", b"error").replace(b'"id":1', b'"id":11'),
        b'{"jsonrpc":"2.0","id":12,"method":"resources/subscribe","params":{"uri":"x:1"}}',
        b'{"jsonrpc":"2.0","id":13,"method":"resources/subscribe","params":{"uri":"x:2"}}',
        b'{"jsonrpc":"2.0","id":14,"method":"resources/unsubscribe","params":{"uri":"x:1"}}',
    ]
    async with stub.attached() as daemon:
        await begun_again(daemon)
        await daemon.upstream.heard(3)
        for number, request in enumerate(requests, 4):
            await stub.client.write(request + b"\n")
            await daemon.upstream.heard(number)
            daemon.upstream.answer(id_of(request))
            await stub.client.answer(json.loads(request)["id"])
    kept = [line.text for line in stub.found().lines]
    assert kept == [INITIALIZE, INITIALIZED, requests[0], requests[2]]


@bounded
async def test_a_server_that_speaks_another_revision_now_is_told_to_every_call(stub: Stub):
    stub.leave(*SESSION, (Mark.HANDED, call(3, method=b"prompts/get")), **NOTES)
    async with stub.attached() as daemon:
        await begun_again(daemon, RESULT.replace(b"2025-11-25", b"2024-11-05"))
        said = "speaks revision 2024-11-05 now, not 2025-11-25; start the client again"
        assert said in error_of(await stub.client.answer(3))["message"]
        await stub.client.write(call(4) + b"\n")
        assert said in error_of(await stub.client.answer(4))["message"]


@bounded
async def test_a_session_that_cannot_be_made_again_now_does_not_hold_requests_back(stub: Stub):
    stub.leave(*SESSION, **NOTES)
    async with stub.attached() as daemon:
        first = (await daemon.upstream.heard(1))[0]
        daemon.upstream.downstream.fail(id_of(first), UserError("no"))
        await stub.client.write(call(4) + b"\n")
        while (info := daemon.session.info())["last_error"] is None or not info["figures"]["calls"]:
            await trio.testing.wait_all_tasks_blocked(0.001)
        daemon.session.end(daemon.session._ending or _over())
        assert "error" in await stub.client.answer(4)


def _over():
    from mcpctld.sessions.session import Ending

    return Ending()


# ---------------------------------------------------------------- requests in flight


@bounded
async def test_a_call_that_the_server_may_have_got_fails_once(stub: Stub):
    stub.leave(*SESSION, (Mark.HANDED, call(3)), (Mark.LOST, call(4)), **NOTES)
    async with stub.attached() as daemon:
        for ident in (3, 4):
            error = error_of(await stub.client.answer(ident))
            assert "the daemon was restarted while somebody worked on the call" in error["message"]
        await begun_again(daemon)
        await stub.client.notified("notifications/tools/list_changed")
    assert [line.mark for line in stub.found().lines] == [Mark.KEPT, Mark.KEPT]


@bounded
async def test_what_only_reads_is_asked_again_and_answered_under_its_id(stub: Stub):
    stub.facts.tools = {"safe": ToolFacts(repeatable=True), "t": ToolFacts()}
    handed = [call(3, b"safe"), call(4, method=b"prompts/get"), call(5)]
    stub.leave(*SESSION, *((Mark.HANDED, line) for line in handed), **NOTES)
    async with stub.attached() as daemon:
        await begun_again(daemon)
        sent = await daemon.upstream.heard(4)
        assert sent[2:] == handed[:2]
        daemon.upstream.answer(b"3")
        daemon.upstream.answer(b"4")
        assert [(await stub.client.answer(ident))["result"] for ident in (3, 4)] == [{}, {}]
        error_of(await stub.client.answer(5))


@bounded
async def test_what_was_read_and_not_handed_on_is_handed_on_in_order_with_what_follows(stub: Stub):
    stub.leave(*SESSION, (Mark.READ, call(3)), (Mark.READ, call(4)), partial=call(5)[:20], **NOTES)
    async with stub.attached() as daemon:
        await begun_again(daemon)
        await stub.client.write(call(5)[20:] + b"\n")
        assert (await daemon.upstream.heard(5))[2:] == [call(3), call(4), call(5)]


@bounded
async def test_a_request_that_was_cancelled_meanwhile_is_not_made_again(stub: Stub):
    cancel = b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":3}}'
    stub.leave(*SESSION, (Mark.READ, call(3)), (Mark.READ, cancel), **NOTES)
    async with stub.attached() as daemon:
        await begun_again(daemon)
        assert (await daemon.upstream.heard(4))[3] == cancel
        assert [line.mark for line in stub.found().lines] == [Mark.KEPT, Mark.KEPT]


@bounded
async def test_nonsense_in_a_checkpoint_costs_nothing_but_itself(stub: Stub):
    lines = [b"nonsense", b"[]", b'[{"id":1,"method":"x"}]', INITIALIZED, b'{"id":1,"result":{}}']
    stub.leave(
        *((Mark.HANDED, line) for line in lines), (Mark.HANDED, call(7)), (Mark.HANDED, call(7))
    )
    async with stub.attached() as daemon:
        error_of(await stub.client.answer(7))
        await stub.client.write(call(8) + b"\n")
        assert await daemon.upstream.heard(1) == [call(8)]
    assert [line.text for line in stub.found().lines] == [call(8)]


@bounded
async def test_a_server_that_cannot_be_set_up_any_more_fails_what_was_in_flight(stub: Stub):
    class Broken(Puppet):
        def __init__(self, context):
            raise UserError("the URL is no URL")

    stub.leave(*SESSION, (Mark.HANDED, call(3, method=b"prompts/get")), **NOTES)
    async with stub.attached(Broken) as daemon:
        assert "no URL" in error_of(await stub.client.answer(3))["message"]
        await daemon.over.wait()
        assert daemon.said().startswith(b"2 ")


# ---------------------------------------------------------------- subscriptions of the newest revision

LISTEN = (
    b'{"jsonrpc":"2.0","id":9,"method":"subscriptions/listen","params":{%b,"notifications":'
    b'{"toolsListChanged":true}}}' % META
)
ACKNOWLEDGED = (
    b'{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"_meta":'
    b'{"io.modelcontextprotocol/subscriptionId":9},"notifications":{"toolsListChanged":true}}}'
)


@bounded
async def test_a_subscription_is_made_again_and_acknowledged_once(stub: Stub):
    async with stub.attached() as daemon:
        await stub.client.write(LISTEN + b"\n")
        await daemon.upstream.heard(1)
        daemon.upstream.say(ACKNOWLEDGED)
        await stub.client.notified("notifications/subscriptions/acknowledged")
        assert [line.mark for line in stub.found().lines] == [Mark.HEARD]
    async with stub.attached() as daemon:
        assert await daemon.upstream.heard(1) == [LISTEN]
        daemon.upstream.say(ACKNOWLEDGED)
        told = await stub.client.message()
        assert told["method"] == "notifications/tools/list_changed"
        assert told["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"] == 9
        daemon.upstream.say(ACKNOWLEDGED)
        assert (await stub.client.message())["method"].endswith("acknowledged")


@bounded
async def test_an_acknowledgement_that_the_client_has_not_got_is_passed_on(stub: Stub):
    stub.leave((Mark.HANDED, LISTEN))
    async with stub.attached() as daemon:
        assert await daemon.upstream.heard(1) == [LISTEN]
        daemon.upstream.say(ACKNOWLEDGED)
        await stub.client.notified("notifications/subscriptions/acknowledged")


# ---------------------------------------------------------------- what the client is owed


@bounded
async def test_a_line_that_was_cut_off_is_ended_before_anything_else_is_said(stub: Stub):
    stub.leave((Mark.HANDED, call(3)))
    memory = stub.found()
    assert not memory.midline
    _set_midline(stub)
    async with stub.attached():
        assert await stub.client.line() == b""
        assert json.loads(await stub.client.line())["id"] == 3
    assert not stub.found().midline


def _set_midline(stub: Stub) -> None:
    import os

    from mcpctl import wire
    from mcpctld.protocols.checkpoint_format import MIDLINE

    os.pwrite(stub.fds[3], b"\1", wire.CHECKPOINT_AT + MIDLINE)


@bounded
async def test_what_a_slow_client_has_not_taken_comes_from_the_next_daemon_whole_and_once(
    stub: Stub,
):
    big = b'{"text":"%b"}' % (b"x" * 3_000_000)
    async with stub.attached() as daemon:
        await stub.client.write(call(1) + b"\n" + call(2) + b"\n")
        await daemon.upstream.heard(2)
        daemon.upstream.answer(b"1", big)
        daemon.upstream.answer(b"2")
        await daemon.session.hand_over(5)
        await daemon.over.wait()
    assert stub.found().notes.output.endswith(b'"id":2,"result":{}}\n')
    assert stub.found().lines == []
    async with stub.attached() as daemon:
        assert len((await stub.client.answer(1))["result"]["text"]) == 3_000_000
        assert (await stub.client.answer(2))["result"] == {}
        await trio.testing.wait_all_tasks_blocked()
        assert stub.found().notes.output == b""
        assert not stub.found().midline


@bounded
async def test_it_may_take_several_daemons(stub: Stub):
    big = b'{"text":"%b"}' % (b"x" * 5_000_000)
    async with stub.attached() as daemon:
        await stub.client.write(call(1) + b"\n")
        await daemon.upstream.heard(1)
        daemon.upstream.answer(b"1", big)
        await daemon.session.hand_over(5)
        await daemon.over.wait()
    for _ in range(3):
        async with stub.attached():  # cut off in the middle of it
            await trio.testing.wait_all_tasks_blocked()
            with trio.fail_after(5):
                stub.client._buffer += await stub.client.stdout.receive_some(600_000)
            await trio.testing.wait_all_tasks_blocked()
    async with stub.attached():
        assert len((await stub.client.answer(1))["result"]["text"]) == 5_000_000


# ---------------------------------------------------------------- handing over


@bounded
async def test_calls_in_flight_are_finished_before_and_what_comes_meanwhile_is_for_the_next(
    stub: Stub,
):
    async with stub.attached() as daemon:
        await stub.client.write(call(1) + b"\n")
        await daemon.upstream.heard(1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(daemon.session.hand_over, 10)
            await trio.testing.wait_all_tasks_blocked(0.01)
            cancel = (
                b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":2}}'
            )
            batch = b'[{"jsonrpc":"2.0","id":3,"method":"x"}]'
            await stub.client.write(b"\n".join((call(2), cancel, batch, INITIALIZED, b"")))
            # The call may need an answer of the client before it can finish.
            daemon.upstream.say(b'{"jsonrpc":"2.0","id":"q","method":"roots/list"}')
            await stub.client.notified("roots/list")
            await stub.client.send(id="q", result={})
            assert len(await daemon.upstream.heard(2)) == 2
            daemon.upstream.answer(b"1")
            assert (await stub.client.answer(1))["result"] == {}
        await daemon.over.wait()
        assert daemon.said() == b""
    assert [line.mark for line in stub.found().lines] == [Mark.READ] * 4
    async with stub.attached() as daemon:
        assert await daemon.upstream.heard(4) == [call(2), cancel, batch, INITIALIZED]


@bounded
async def test_calls_that_take_longer_than_the_bound_are_left_to_the_next(stub: Stub):
    async with stub.attached() as daemon:
        await stub.client.write(call(1) + b"\n")
        await daemon.upstream.heard(1)
        await daemon.session.hand_over(0.05)
        await daemon.over.wait()
        daemon.upstream.answer(b"1")  # too late
    async with stub.attached():
        error_of(await stub.client.answer(1))


@bounded
async def test_what_the_server_has_not_got_yet_is_given_to_it_by_the_next(stub: Stub):
    class Waiting(Puppet):
        def surrender(self):
            from mcpctld.protocols.jsonrpc import parse

            return [parse(line) for line in self.sent] + [parse(INITIALIZED)]

    async with stub.attached(Waiting) as daemon:
        daemon.session._upstream.surrender = lambda: daemon.upstream.surrender()  # type: ignore[union-attr]
        await stub.client.write(call(1) + b"\n")
        await daemon.upstream.heard(1)
        await daemon.session.hand_over(0.05)
        await daemon.over.wait()
    async with stub.attached() as daemon:
        assert await daemon.upstream.heard(1) == [call(1)]


@bounded
async def test_a_session_that_is_cut_off_goes_on_in_the_next_daemon(stub: Stub):
    async with stub.attached() as daemon:
        await stub.client.write(call(1, method=b"prompts/get") + b"\n")
        await daemon.upstream.heard(1)
        daemon.running.cancel()
        await daemon.over.wait()
        assert daemon.said() == b""
    async with stub.attached() as daemon:
        await daemon.upstream.heard(1)
        daemon.upstream.answer(b"1")
        assert (await stub.client.answer(1))["result"] == {}


@bounded
async def test_a_client_that_has_closed_its_input_is_answered_and_let_go(stub: Stub):
    stub.leave((Mark.HANDED, call(3)))
    await stub.client.stdin.aclose()
    async with stub.attached() as daemon:
        error_of(await stub.client.answer(3))
        await daemon.over.wait()
        assert daemon.said() == b"0 \n"


@bounded
async def test_a_server_that_ends_the_session_while_it_is_made_again(stub: Stub):
    stub.leave(*SESSION, (Mark.HANDED, call(3, method=b"prompts/get")), **NOTES)
    async with stub.attached() as daemon:
        await daemon.upstream.heard(1)
        daemon.upstream.end(Unreachable("gone"))
        assert "gone" in error_of(await stub.client.answer(3))["message"]
        await daemon.over.wait()
        assert daemon.said().startswith(b"6 ")


# ---------------------------------------------------------------- checkpoints that cannot be used


@bounded
async def test_a_checkpoint_of_another_version_is_refused_by_name(stub: Stub):
    import os

    from mcpctl import wire

    os.pwrite(stub.fds[3], b"other", wire.CHECKPOINT_AT)
    with pytest.raises((UserError, ExceptionGroup)) as caught:
        async with stub.attached():
            pass
    group = caught.value
    error = group if isinstance(group, UserError) else group.exceptions[0]
    assert "another version" in str(error)
    assert "start the client again" in str(error)


@bounded
async def test_a_big_message_gives_its_memory_back(
    stub: Stub, autojump_clock: trio.testing.MockClock
):
    import os

    async with stub.attached() as daemon:
        text = call(1)[:-1] + b" " * (8 << 20) + b"}"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stub.client.write, text + b"\n")
            await daemon.upstream.heard(1)
        daemon.upstream.answer(b"1")
        await stub.client.answer(1)
        await trio.sleep(3)
        assert os.fstat(stub.fds[3]).st_blocks * 512 < 1 << 20


@pytest.mark.parametrize(
    ("notes", "midline", "before"),
    [({}, False, b""), ({}, True, b"\n"), ({"output": b"owed\n"}, True, b"owed\n")],
)
async def test_the_last_words_of_a_session_that_cannot_go_on(stub: Stub, notes, midline, before):
    stub.leave(
        *SESSION,
        (Mark.HANDED, call(3)),
        (Mark.READ, call(4)),
        (Mark.READ, INITIALIZED),
        (Mark.HANDED, b"nonsense"),
        **notes,
    )
    if midline:
        _set_midline(stub)
    words = last_words(stub.found(), UserError("no such server"))
    assert words.startswith(before)
    answers = [json.loads(line) for line in words[len(before) :].splitlines()]
    assert [answer["id"] for answer in answers] == [3, 4]
    assert error_of(answers[0])["message"] == "mcpctl: no such server"
