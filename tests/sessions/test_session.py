"""One attached client: nothing is answered twice, nothing hangs, and every ending is told once."""

import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest
import trio
import trio.testing

from mcpctl import shapes
from mcpctld.errors import Denied, PeerError, Unreachable, UserError
from mcpctld.model import MiB, ServerSpec
from mcpctld.sessions import intake, session
from mcpctld.upstreams import Context, Upstream
from sessions.client import Attachment, attached, bounded, error_of, journal
from sessions.upstream import Puppet

REQUEST = b'{"jsonrpc":"2.0","id":%b,"method":"%b","params":%b}'


@contextlib.asynccontextmanager
async def puppet(**more: Any) -> AsyncIterator[tuple[Attachment, Puppet]]:
    """A client, and the upstream of its session."""
    made: list[Puppet] = []

    def make(context: Context) -> Upstream:
        made.append(Puppet(context))
        return made[0]

    spec = more.pop("spec", ServerSpec(url="http://nowhere.example/mcp"))
    async with attached(spec, make=make, **more) as client:
        while not made:
            await trio.lowlevel.checkpoint()
        yield client, made[0]
        await client.aclose()
        await client.ended.wait()
    assert made[0].closed >= 1


async def ask(
    client: Attachment, ident: bytes, method: bytes = b"x", params: bytes = b"{}"
) -> None:
    await client.write(REQUEST % (ident, method, params) + b"\n")


# ---------------------------------------------------------------- client to server and back


@bounded
@pytest.mark.parametrize(
    "ident", [b"1", b'"1"', b"0", b"-5", b'"\xc3\xa9"', b'"a b"', b"1.0", b"1e400"]
)
async def test_a_request_and_its_answer_pass_as_they_are(ident: bytes):
    async with puppet() as (client, upstream):
        await ask(client, ident)
        assert await upstream.heard(1) == [REQUEST % (ident, b"x", b"{}")]
        answer = b'{ "x":1.50, "id":%b,"result":{"b":1,"a":2} }' % ident
        upstream.say(answer)
        assert await client.line() == answer


@bounded
async def test_what_the_server_says_unasked_passes_and_answers_to_nothing_do_not():
    async with puppet() as (client, upstream):
        upstream.answer(b"77")
        upstream.say(b'{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":"whose?"}}')
        upstream.say(b'[{"id":78,"result":1},{"id":79,"result":1}]')
        upstream.say(b'{"jsonrpc":"2.0","method":"n"}')
        assert await client.message() == {"jsonrpc": "2.0", "method": "n"}


@bounded
async def test_a_second_answer_is_dropped():
    async with puppet() as (client, upstream):
        await ask(client, b"1")
        await upstream.heard(1)
        upstream.answer(b"1", b'"first"')
        upstream.answer(b"1", b'"second"')
        await ask(client, b"2")
        await upstream.heard(2)
        upstream.answer(b"2", b'"third"')
        assert [(await client.message())["result"] for _ in range(2)] == ["first", "third"]


@bounded
async def test_a_batch_of_answers_of_which_one_is_wanted_passes():
    async with puppet() as (client, upstream):
        await client.write(b'[{"id":1,"method":"a"},{"id":2,"method":"b"}]\n')
        await upstream.heard(1)
        line = b'[{"id":1,"result":1},{"id":2,"result":2},{"method":"n"}]'
        upstream.say(line)
        assert await client.line() == line
        assert client.session.info()["figures"]["in_flight"] == 0


@bounded
async def test_an_id_in_use_is_refused_and_the_first_call_goes_on():
    async with puppet() as (client, upstream):
        await ask(client, b"1")
        await ask(client, b"1")
        await ask(client, b"1.0")
        for _ in range(2):
            error = error_of(await client.message())
            assert error["code"] == -32600
            assert "in use" in error["message"]
        assert len(upstream.sent) == 1
        upstream.answer(b"1")
        assert (await client.message())["result"] == {}
        await ask(client, b"1")
        await upstream.heard(2)


@bounded
async def test_a_batch_with_an_id_in_use_is_not_sent_and_each_of_its_requests_is_told():
    async with puppet() as (client, upstream):
        await ask(client, b"1")
        await client.write(b'[{"id":1,"method":"a"},{"id":2,"method":"b"},{"id":2,"method":"c"}]\n')
        errors = [await client.message() for _ in range(3)]
        assert [answer["id"] for answer in errors] == [1, 2, 2]
        assert [error_of(answer)["code"] for answer in errors] == [-32600, -32600, -32603]
        await ask(client, b"3")
        assert len(await upstream.heard(2)) == 2


@bounded
async def test_blank_lines_and_carriage_returns_are_nothing():
    async with puppet() as (client, upstream):
        await client.write(b'\n\r\n  \n{"id":1,"method":"x"}\r\n\n')
        assert await upstream.heard(1) == [b'{"id":1,"method":"x"}']


@bounded
@pytest.mark.parametrize(
    ("line", "code", "ident"),
    [
        (b'{"id":1,"method":"x","params":"\xff"}', -32700, None),
        (b"hello?", -32700, None),
        (b"[]", -32600, None),
        (b"42", -32600, None),
        (b'{"id":7,"params":1}', -32600, 7),
        (b'{"id":null,"method":"x"}', -32600, None),
    ],
)
async def test_what_is_no_message_is_answered_and_the_session_goes_on(
    line: bytes, code: int, ident: object
):
    with journal() as log:
        async with puppet() as (client, upstream):
            await client.write(line + b"\n")
            answer = await client.message()
            assert answer["id"] == ident
            assert error_of(answer)["code"] == code
            await ask(client, b"2")
            await upstream.heard(1)
    assert len(log.of("client.garbage")) == 1


@bounded
async def test_a_line_over_the_limit_is_refused_by_its_id():
    async with puppet(max_message_bytes=MiB) as (client, upstream):
        await client.write(b'{"jsonrpc":"2.0","id":"big","method":"x","params":"')
        for _ in range(3):
            await client.write(b"x" * MiB)
        await client.write(b'"}\n')
        error = error_of(await client.answer("big"))
        assert "max_message_bytes" in error["message"]
        await client.write(b'["' + b"x" * 2 * MiB + b'"]\n')
        assert (await client.message())["id"] is None
        last = client.session.info()["last_error"]
        assert last is not None
        assert last["kind"] == "bad-request"
        await ask(client, b"1")
        await upstream.heard(1)


# ---------------------------------------------------------------- cancelling, and taking too long


@bounded
async def test_the_late_answer_to_a_cancelled_call_passes_once():
    async with puppet() as (client, upstream):
        await ask(client, b"1")
        await client.send(method="notifications/cancelled", params={"requestId": 1})
        await upstream.heard(2)
        info = client.session.info()["figures"]
        assert (info["calls"], info["in_flight"], info["errors"]) == (1, 0, 0)
        upstream.answer(b"1")
        assert (await client.message())["id"] == 1
        upstream.answer(b"1")
        upstream.downstream.fail(b"1", Unreachable("late"))
        upstream.say(b'{"method":"n"}')
        assert (await client.message())["method"] == "n"


@bounded
async def test_a_failure_that_has_a_code_of_its_own_is_told_with_it():
    async with puppet() as (client, upstream):
        await ask(client, b"1")
        await upstream.heard(1)
        failure = UserError("it is not known")
        failure.rpc_code, failure.rpc_data = -32022, {"supported": ["2026-07-28"]}
        upstream.downstream.fail(b"1", failure)
        error = error_of(await client.answer(1))
        assert error["code"] == -32022
        assert error["data"] == {
            "source": "mcpctl", "kind": "bad-request", "supported": ["2026-07-28"],
        }  # fmt: skip


@bounded
async def test_cancelling_in_a_batch_counts_too():
    async with puppet() as (client, upstream):
        await ask(client, b"1")
        await client.write(b'[{"method":"notifications/cancelled","params":{"requestId":1}}]\n')
        await upstream.heard(2)
        assert client.session.info()["figures"]["in_flight"] == 0


@bounded
async def test_a_call_that_takes_too_long_fails_and_the_server_is_told():
    spec = ServerSpec(url="http://nowhere.example/", call_timeout_s=0.05)
    async with puppet(spec=spec) as (client, upstream):
        await ask(client, b'"slow"', b"tools/call")
        await ask(client, b"2", b"initialize")
        await ask(client, b"3", b"subscriptions/listen")
        error = error_of(await client.answer("slow"))
        assert error["data"]["kind"] == "timeout"
        assert "somebody did not answer tools/call within 0.05 s" in error["message"]
        error_of(await client.answer(2))
        while upstream.forgotten != [b'"slow"', b"2"]:
            await upstream.changed.wait()
        told = [json.loads(line) for line in upstream.sent if b"cancelled" in line]
        assert [message["params"]["requestId"] for message in told] == ["slow"]
        upstream.answer(b'"slow"')  # nobody waits for it any more
        upstream.answer(b"3")
        assert (await client.message())["id"] == 3
        last = client.session.info()["last_error"]
        assert last is not None
        assert last["kind"] == "timeout"


# ---------------------------------------------------------------- back-pressure


@bounded
async def test_an_upstream_that_is_full_is_not_sent_more():
    async with puppet() as (client, upstream):
        upstream.lagging = True
        await ask(client, b"1")
        await upstream.heard(1)
        await ask(client, b"2")
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert len(upstream.sent) == 1
        upstream.make_room()
        await upstream.heard(2)


@bounded
async def test_a_client_that_writes_nonsense_and_reads_nothing_is_not_listened_to_for_ever():
    async with puppet() as (client, _):
        written = 0

        async def write() -> None:
            nonlocal written
            for _ in range(200):
                await client.write(b"nonsense\n" * 1000)
                written += 1

        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            await trio.testing.wait_all_tasks_blocked(0.1)
            assert written < 200
            nursery.cancel_scope.cancel()


@bounded
async def test_no_more_than_so_many_calls_are_in_flight():
    async with puppet() as (client, upstream):
        most = intake.MAX_IN_FLIGHT
        lines = [REQUEST % (b"%d" % n, b"x", b"{}") + b"\n" for n in range(most + 1)]
        await client.write(b"".join(lines))
        await upstream.heard(most + 1)
        await ask(client, b'"more"')
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert len(upstream.sent) == most + 1
        upstream.answer(b"0")
        await upstream.heard(most + 2)


# ---------------------------------------------------------------- endings of the client


@bounded
async def test_at_the_end_of_input_calls_in_flight_are_still_answered():
    async with puppet() as (client, upstream):
        await ask(client, b"1")
        await ask(client, b"2", b"subscriptions/listen")
        await client.stdin.aclose()
        await upstream.heard(2)
        await trio.testing.wait_all_tasks_blocked(0.01)
        upstream.answer(b"1")
        assert (await client.answer(1))["result"] == {}
        # What is meant to stay open is not waited for.
        assert "has ended" in error_of(await client.answer(2))["message"]
        assert await client.released() == (0, "")
        with pytest.raises(EOFError):
            await client.line()


@bounded
async def test_the_wait_for_calls_at_the_end_of_input_is_bounded(monkeypatch):
    monkeypatch.setattr(session, "END_OF_INPUT_GRACE_S", 0.1)
    async with puppet() as (client, _):
        await ask(client, b"1")
        await client.stdin.aclose()
        assert "has ended" in error_of(await client.answer(1))["message"]
        assert await client.released() == (0, "")


@bounded
async def test_a_client_that_was_killed_is_not_waited_for():
    with journal() as log:
        async with puppet() as (client, upstream):
            await ask(client, b"1")
            await upstream.heard(1)
            await client.kill()
            with trio.fail_after(2):
                assert await client.released() == (0, "")
    assert log.of("session.closed")[0].reason == "end of input"


@bounded
async def test_a_client_that_is_killed_while_it_is_waited_for_is_noticed():
    async with puppet() as (client, upstream):
        await ask(client, b"1")
        await upstream.heard(1)
        await client.stdin.aclose()
        await trio.testing.wait_all_tasks_blocked(0.01)
        await client.stdout.aclose()
        with trio.fail_after(2):
            assert await client.released() == (0, "")


@bounded
async def test_a_client_that_closes_its_stdout_is_gone():
    with journal() as log:
        async with puppet() as (client, upstream):
            await client.stdout.aclose()
            upstream.say(b'{"method":"n"}')
            assert await client.released() == (0, "")
    assert log.of("session.closed")[0].reason == "client gone"


@bounded
async def test_a_killed_stub_ends_the_session():
    with journal() as log:
        async with puppet() as (client, upstream):
            await ask(client, b"1")
            await upstream.heard(1)
            client.control.close()
            await client.ended.wait()
            error_of(await client.answer(1))
            with pytest.raises(EOFError):
                await client.line()
    assert log.of("session.closed")[0].reason == "stub gone"


@bounded
async def test_what_a_stub_says_is_not_listened_to():
    async with puppet() as (client, upstream):
        await client.control.send(b"hello?" * 1000)
        await ask(client, b"1")
        await upstream.heard(1)


@bounded
async def test_half_a_line_at_the_end_of_input_is_told_and_a_whole_one_counts():
    async with puppet() as (client, upstream):
        await client.write(b'{"id":1,"method":"x"}\n{"id":2,"meth')
        await client.stdin.aclose()
        assert "ended within a line" in error_of(await client.message())["message"]
        upstream.answer(b"1")
        assert await client.released() == (0, "")
        assert len(upstream.sent) == 1
    async with puppet() as (client, upstream):
        await client.write(b'{"id":2,"method":"x"}')
        await client.stdin.aclose()
        await upstream.heard(1)
        upstream.answer(b"2")
        assert (await client.message())["id"] == 2
        assert await client.released() == (0, "")


@bounded
async def test_a_client_that_owes_us_reading_is_waited_for_within_a_bound(monkeypatch):
    monkeypatch.setattr(session, "FLUSH_BOUND_S", 0.1)
    async with puppet() as (client, upstream):
        for _ in range(20):
            upstream.say(b'{"method":"n","params":"%s"}' % (b"x" * MiB))
        await client.stdin.aclose()
        assert await client.released() == (0, "")


@bounded
async def test_a_slow_reader_gets_all_that_it_is_owed():
    async with puppet() as (client, upstream):
        await ask(client, b"1")
        await client.stdin.aclose()
        await upstream.heard(1)
        for _ in range(20):
            upstream.say(b'{"method":"n","params":"%s"}' % (b"x" * MiB))
        upstream.answer(b"1")
        for _ in range(20):
            assert (await client.message())["method"] == "n"
        assert (await client.message())["id"] == 1
        assert await client.released() == (0, "")


# ---------------------------------------------------------------- endings of the server and the daemon


@bounded
async def test_the_end_of_the_server_fails_its_calls_and_is_told_once():
    with journal() as log:
        async with puppet() as (client, upstream):
            await ask(client, b"1")
            await ask(client, b'"two"')
            await upstream.heard(2)
            upstream.end(Denied("somebody wants\ncredentials"))
            for ident in (1, "two"):
                assert error_of(await client.answer(ident))["data"]["kind"] == "denied"
            assert await client.released() == (3, "mcpctl: somebody wants credentials")
            info = client.session.info()
            assert info["state"] == "closing"
            assert info["last_error"] is not None
            assert info["last_error"]["kind"] == "denied"
            assert info["figures"]["errors"] == 2
    assert len(log.of("session.error")) == 1


@bounded
async def test_a_server_that_cannot_be_set_up_is_told():
    def make(context: Context) -> Upstream:
        raise UserError("the URL is no URL")

    async with attached(ServerSpec(url="x"), make=make) as client:
        assert await client.released() == (2, "mcpctl: the URL is no URL")
        await client.ended.wait()
        await client.session.drain(0)
        assert client.session.info()["transport"] == "auto"


@bounded
async def test_draining_lets_calls_finish_and_takes_no_more():
    async with puppet() as (client, upstream):
        await ask(client, b"1")
        await upstream.heard(1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.session.drain, 10)
            await trio.testing.wait_all_tasks_blocked(0.01)
            await ask(client, b"2")
            assert "is stopping" in error_of(await client.answer(2))["message"]
            # The call may need an answer of the client before it can finish.
            upstream.say(b'{"id":"q","method":"roots/list"}')
            await client.notified("roots/list")
            await client.send(id="q", result={})
            await upstream.heard(2)
            upstream.answer(b"1")
            assert (await client.answer(1))["result"] == {}
        assert await client.released() == (69, "mcpctl: the daemon is stopping")


@bounded
async def test_draining_fails_what_is_not_finished_in_time():
    async with puppet() as (client, upstream):
        await ask(client, b"1")
        await upstream.heard(1)
        await client.session.drain(0.05)
        error = error_of(await client.answer(1))
        assert "the daemon is stopping" in error["message"]
        assert (await client.released())[0] == 69


@bounded
async def test_the_first_ending_counts():
    async with puppet() as (client, upstream):
        client.session.end(session.Ending(0, "first", "request"))
        client.session.end(session.STOPPED)
        upstream.end(PeerError("third"))
        assert await client.released() == (0, "first")
        await client.session.drain(0)
        assert client.session.info()["last_error"] is None


@bounded
async def test_a_bug_is_told_as_one():
    class Buggy(Puppet):
        def send(self, message: Any) -> None:
            raise RuntimeError("boom")

    async def live() -> None:
        async with attached(ServerSpec(url="x"), make=Buggy) as client:
            await ask(client, b"1")
            assert error_of(await client.answer(1))["data"]["kind"] == "internal"
            code, text = await client.released()
            assert code == 70
            assert "bug" in text
            await client.ended.wait()

    with pytest.raises(ExceptionGroup) as caught:
        await live()
    assert caught.group_contains(RuntimeError, match="boom")


@bounded
async def test_an_upstream_that_cannot_be_made_for_a_bug_is_told_as_one():
    def make(context: Context) -> Upstream:
        raise RuntimeError("boom")

    async def live() -> None:
        async with attached(ServerSpec(url="x"), make=make) as client:
            assert (await client.released())[0] == 70

    with pytest.raises(ExceptionGroup) as caught:
        await live()
    assert caught.group_contains(RuntimeError, match="boom")


@bounded
async def test_a_session_that_is_cut_off_tells_its_client_all_the_same():
    async with puppet() as (client, upstream):
        await ask(client, b"1")
        await upstream.heard(1)
        client.running.cancel()
        assert (await client.released())[0] == 70


# ---------------------------------------------------------------- what there is to show


@bounded
async def test_a_session_shows_who_is_there_and_what_they_do():
    fields = [("cwd", "/somewhere"), ("ppid", "1"), ("version", "0")]
    async with puppet(fields=fields) as (client, upstream):
        before = msgspec.convert(client.session.info(), shapes.SessionInfo)
        assert before["state"] == "starting"
        assert before["cwd"] == "/somewhere"
        assert before["client"]
        await client.send(
            id=0,
            method="initialize",
            params={"protocolVersion": "2025-11-25", "clientInfo": {"name": "X", "version": "2"}},
        )
        await upstream.heard(1)
        assert client.session.info()["state"] == "starting"
        upstream.answer(b"0", b'{"protocolVersion":"2025-06-18"}')
        await client.message()
        await ask(client, b"1")
        await upstream.heard(2)
        upstream.say(b'{"id":1,"error":{"code":1,"message":"no"}}')
        await client.message()
        info = msgspec.convert(client.session.info(), shapes.SessionInfo)
        assert (info["client"], info["client_version"]) == ("X", "2")
        assert (info["protocol_version"], info["state"]) == ("2025-06-18", "ready")
        assert info["transport"] == "puppet"
        figures = info["figures"]
        assert (figures["calls"], figures["errors"], figures["in_flight"]) == (2, 1, 0)
        assert figures["p50_ms"] is not None


@bounded
async def test_a_client_of_the_newest_revision_shows_who_it_is_in_its_first_request():
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "M", "version": "3"},
    }
    async with puppet() as (client, upstream):
        await client.send(id=0, method="server/discover", params={"_meta": meta})
        await upstream.heard(1)
        info = client.session.info()
        assert (info["client"], info["client_version"]) == ("M", "3")
        assert (info["protocol_version"], info["state"]) == ("2026-07-28", "ready")
        await client.send(id=1, method="x", params={"_meta": meta | {
            "io.modelcontextprotocol/clientInfo": {"name": "N"}}})  # fmt: skip
        await upstream.heard(2)
        assert client.session.info()["client"] == "M"


@bounded
async def test_events_tell_of_the_beginning_the_errors_and_the_end():
    made: list[Puppet] = []

    def make(context: Context) -> Upstream:
        made.append(Puppet(context))
        return made[0]

    async with attached(ServerSpec(url="x"), make=make) as client:
        with client.events.subscribe() as events:
            while not made:
                await trio.lowlevel.checkpoint()
            made[0].end(Unreachable("gone"))
            await client.released()
            await client.ended.wait()
            client.events.close()
            seen = [event async for event in events]
    assert [event["type"] for event in seen][-2:] == ["session.error", "session.closed"]
    assert all(event["data"]["id"] == "s1" for event in seen)
    assert seen[-1]["data"]["server"] == "somebody"
    assert seen[-2]["data"]["kind"] == "unreachable"


@bounded
@pytest.mark.parametrize("end", [lambda u: u.end(Unreachable("gone")), lambda u: None])
async def test_no_secret_shows_up_anywhere(end: Callable[[Puppet], None]):
    secret = "s3cr3t-s3cr3t"
    spec = ServerSpec(url="http://x.example/", headers={"Authorization": f"Bearer {secret}"})
    contexts: list[Context] = []
    with journal() as log:
        async with puppet(spec=spec) as (client, upstream):
            contexts.append(upstream.context)
            await ask(client, b"1", b"tools/call", b'{"password":"%s"}' % secret.encode())
            await upstream.heard(1)
            upstream.answer(b"1", b'"%s"' % secret.encode())
            shown = [repr(client.session.info()), repr(upstream.context), repr(upstream)]
            end(upstream)
    assert secret not in log.text
    assert not [text for text in shown if secret in text]
