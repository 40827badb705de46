"""Which request goes where, on one machine and on several; and how all of it stops."""

import json
import random
from typing import Any

import pytest
import trio
import trio.testing

from mcpctld.wrap.affinity import MAX_REPLAYED_BYTES
from mcpctld.wrap.front import Front
from mcpctld.wrap.guard import Guard
from mcpctld.wrap.options import OAuth, Options
from mcpctld.wrap.serve import DRAIN_CHECK_S, stop
from mcpctld.wrap.verdicts import Pass, Refusal, refuse
from wrap.clients import ready
from wrap.replies import Ear
from wrap.stage import (
    ALICE,
    CREDENTIALS,
    P,
    Stage,
    call,
    initialize,
    modern,
    stage,
)

SECRET = b"a secret in common"
EVENTS = "text/event-stream"


# ---------------------------------------------------------------- ways in


async def test_a_browser_is_told_what_this_is(autojump_clock):
    async with stage() as made:
        page = made.get(accept="text/html,*/*;q=0.8", path="/")
        assert page.status == 200
        assert b"MCP" in page.body
        assert made.processes == []


@pytest.mark.parametrize("method", ["PUT", "PATCH", "HEAD", "TRACE"])
async def test_other_methods_are_not_allowed(autojump_clock, method: str):
    async with stage() as made:
        refused = made.request(method, "/mcp", b"")
        assert (refused.status, refused.headers["allow"]) == (405, "POST")


async def test_a_get_without_a_session_is_not_allowed_for_those_who_want_events(autojump_clock):
    async with stage() as made:
        assert made.get().status == 405


async def test_a_delete_without_a_session_is_not_allowed(autojump_clock):
    async with stage() as made:
        assert made.delete().status == 405


@pytest.mark.parametrize("path", ["/", "/mcp", "/anything/at/all"])
async def test_the_path_does_not_matter(autojump_clock, path: str):
    async with stage() as made:
        assert (await made.post(initialize(), path=path).wait()).status == 200


@pytest.mark.parametrize(
    ("path", "status"),
    [("/x", 200), ("/x/mcp", 200), ("/", 404), ("/xy", 404), ("/mcp/x", 404)],
)
async def test_but_its_prefix_does(autojump_clock, path: str, status: int):
    async with stage(prefix="/x") as made:
        assert (await made.post(initialize(), path=path).wait()).status == status


async def test_both_eras_live_side_by_side(autojump_clock):
    async with stage(health=True) as made:
        warm = await ready(made)
        session = await made.initialize()
        old = made.post(
            initialize() | {"id": 1, "method": "tools/call", "params": {"name": "x"}}, session
        )
        new = made.ask(modern(1))
        legacy = made.processes[-1]
        assert legacy is not warm
        legacy.answer(await made.asked("tools/call", legacy), {"era": "legacy"})
        warm.answer(await made.asked("tools/call", warm), {"era": "modern"})
        assert (await old.wait()).json["result"] == {"era": "legacy"}
        assert (await new.wait()).json["result"] == {"era": "modern"}


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_there_are_no_sessions_in_the_new_revision(autojump_clock, method: str):
    async with stage() as made:
        session = await made.initialize()
        version = "MCP-Protocol-Version: 2026-07-28"
        accept = "Accept: text/event-stream"
        assert made.request(method, "/mcp", b"", version, session, accept).status == 405


async def test_the_figures_are_told(autojump_clock):
    async with stage(health=True) as made:
        await made.front.health.wait_known()
        await made.initialize()
        told = made.request("GET", "/metrics", b"")
        assert told.headers["content-type"].startswith("text/plain; version=0.0.4")
        assert b'mcpctl_wrap_sessions{way="streamable-http"} 1\n' in told.body
        assert b"mcpctl_wrap_children 2\n" in told.body
        assert b"mcpctl_wrap_ready 1\n" in told.body


async def test_the_figures_are_for_those_who_may(autojump_clock):
    async with stage(credentials=CREDENTIALS) as made:
        assert made.request("GET", "/metrics", b"").status == 401
        assert made.request("GET", "/metrics", b"", ALICE).status == 200


# ---------------------------------------------------------------- bodies


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("application/json", 200),
        ("Application/JSON; charset=utf-8", 200),
        ("text/plain", 415),
        ("application/jsonl", 415),
        ("", 415),
    ],
)
async def test_a_body_must_be_json(autojump_clock, kind: str, status: int):
    async with stage() as made:
        headers = (f"Content-Type: {kind}", f"Accept: application/json, {EVENTS}")
        body = json.dumps(initialize()).encode()
        reply = await made.request("POST", "/mcp", body, *headers).wait()
        assert reply.status == status


@pytest.mark.parametrize(
    ("body", "code", "ident"),
    [
        (b"", -32700, None),
        (b"{", -32700, None),
        (b"\xff", -32700, None),
        (b"[]", -32600, None),
        (b"7", -32600, None),
        (b"[" * 100_000, -32700, None),
        (b'{"jsonrpc":"2.0","id":7,"method":7}', -32600, 7),
        (b'{"jsonrpc":"2.0","id":null,"method":"ping"}', -32600, None),
    ],
)
async def test_what_is_no_message_is_refused(autojump_clock, body: bytes, code: int, ident: Any):
    async with stage() as made:
        reply = made.post(body)
        assert reply.status == 400
        assert (reply.error["code"], reply.json["id"]) == (code, ident)
        assert made.processes == []


async def test_blanks_around_a_message_do_not_matter(autojump_clock):
    async with stage() as made:
        body = b"\r\n " + json.dumps(initialize(), indent=1).encode() + b"\n\n"
        assert (await made.post(body).wait()).status == 200


# ---------------------------------------------------------------- pages of browsers


async def test_answers_and_streams_for_a_page_carry_what_it_needs(autojump_clock):
    async with stage() as made:
        options = Options(command=("x",), hosts=("::",), allowed_origins=("https://app.example",))
        made.front._guard = Guard(options)
        origin = "Origin: https://app.example"
        reply = await made.post(initialize(), origin).wait()
        assert reply.headers["access-control-allow-origin"] == "https://app.example"
        assert "mcp-session-id" in reply.headers["access-control-expose-headers"].lower()
        session = f"Mcp-Session-Id: {reply.headers['mcp-session-id']}"
        listening = made.get(session, origin)
        assert listening.headers["access-control-allow-origin"] == "https://app.example"
        listening.lagging = True
        made.processes[0].say(method="notifications/x")
        made.processes[0].say(method="notifications/y")
        await listening.heard(1)
        listening.leave()
        made.processes[0].say(method="notifications/z")
        await trio.testing.wait_all_tasks_blocked()
        assert len(made.get(session, origin).messages) == 2
        assert made.post(call(1), session, "Origin: https://evil.example").status == 403


async def test_a_page_that_leaves_cancels_its_request(autojump_clock):
    async with stage("modern", health=True) as made:
        options = Options(command=("x",), hosts=("::",), allowed_origins=("https://app.example",))
        made.front._guard = Guard(options)
        await made.front.health.wait_known()
        reply = made.ask(modern(1), "Origin: https://app.example")
        await made.asked("tools/call")
        reply.leave()
        await made.asked("notifications/cancelled")


# ---------------------------------------------------------------- access tokens


class Issuer:
    """What the front needs of `oauth.ResourceServer`: one token is good, after a while."""

    def known(self, token: str) -> Pass | None:
        return None

    def challenge(self) -> str:
        return "Bearer"

    def metadata(self, _path: str) -> bytes:
        return b'{"resource":"https://p/mcp"}'

    async def principal(self, token: str) -> Pass | Refusal:
        await trio.sleep(1)
        return Pass(f"oauth:{token}") if token.startswith("good") else refuse(401, "expired")


async def test_a_token_is_waited_for_and_names_the_principal(autojump_clock):
    async with stage() as made:
        oauth = OAuth(issuer="https://i", audience="https://p", resource="https://p")
        options = Options(command=("x",), hosts=("::",), oauth=oauth)
        issuer: Any = Issuer()
        made.front = Front(made.world, Guard(options, issuer), issuer)
        good, other = ("Authorization: Bearer good1", "Authorization: Bearer good2")
        reply = made.post(initialize(), good)
        assert reply.status == 0
        await reply.wait()
        session = f"Mcp-Session-Id: {reply.headers['mcp-session-id']}"
        assert (await made.post(call(1), session, other).wait()).status == 404
        assert (await made.post(call(1), session, "Authorization: Bearer old").wait()).status == 401
        assert made.post(call(1), session).status == 401
        said = made.request("GET", "/.well-known/oauth-protected-resource", b"")
        assert said.json == {"resource": "https://p/mcp"}
        made.front.close()


async def test_without_an_issuer_there_is_no_metadata(autojump_clock):
    async with stage() as made:
        said = made.get(path="/.well-known/oauth-protected-resource")
        assert said.status == 404


# ---------------------------------------------------------------- several machines


async def session_of(machine: str) -> str:
    """A session that lives on another machine."""
    async with stage(machine=machine, secret=SECRET) as other:
        return await other.initialize()


def everything(made: Stage, session: str) -> list[Ear]:
    """The session, asked for in every way."""
    id = session.partition(": ")[2]
    return [
        made.post(call(1), session),
        made.get(session),
        made.delete(session),
        made.post(call(1), accept="*/*", path=f"/message?sessionId={id}"),
        made.post(call(1), accept="*/*", path=f"/message?x=1&sessionId={id}"),
    ]


async def test_a_request_for_another_machines_session_is_sent_there(autojump_clock):
    session = await session_of("m1")
    async with stage(machine="m2", secret=SECRET) as made:
        for reply in everything(made, session):
            assert reply.status == 200
            assert reply.headers["fly-replay"] == "instance=m1;timeout=10s;fallback=force_self"
            assert reply.body == b""
        assert made.world.figures.replayed == 5
        assert made.processes == []


async def test_an_answer_to_another_machines_question_is_sent_there(autojump_clock):
    async with stage("legacy", machine="m1", secret=SECRET) as other:
        state = other.world.affinity.new_id()
    async with stage("legacy", machine="m2", secret=SECRET, health=True) as made:
        answer = modern(1, inputResponses={}, requestState=state)
        reply = made.ask(answer)
        assert reply.headers["fly-replay"] == "instance=m1;timeout=10s;fallback=force_self"
        gone = made.ask(answer, "fly-replay-failed: instance=m1")
        assert gone.status == 404
        forged = made.ask(modern(1, inputResponses={}, requestState=f"{state[:-2]}zz"))
        assert "fly-replay" not in forged.headers


@pytest.mark.parametrize(
    "forge",
    [
        lambda id: id.replace("m1", "m3"),
        lambda id: f"m3.{id}",
        lambda id: id[:-2],
        lambda id: "m3.AAAAAAAAAAAAAAAAAAAA.AAAAAAAAAAAAAAAAAAAA",
        lambda id: "m3",
    ],
)
async def test_a_forged_machine_is_not_replayed_to(autojump_clock, forge):
    name, _, id = (await session_of("m1")).partition(": ")
    async with stage(machine="m2", secret=SECRET) as made:
        for reply in everything(made, f"{name}: {forge(id)}"):
            assert reply.status == 404
            assert "fly-replay" not in reply.headers


@pytest.mark.parametrize(
    "here",
    [
        {"secret": b"another", "machine": "m2"},
        {"secret": SECRET, "machine": "m2", "replays": False},
        {"secret": SECRET, "machine": ""},
    ],
    ids=["another secret", "replay is off", "not on Fly"],
)
async def test_nothing_is_replayed_where_that_cannot_be(autojump_clock, here: dict[str, Any]):
    session = await session_of("m1")
    async with stage(**here) as made:
        for reply in everything(made, session):
            assert reply.status == 404


async def test_a_body_that_cannot_be_replayed_is_refused_clearly(autojump_clock):
    session = await session_of("m1")
    async with stage(machine="m2", secret=SECRET) as made:
        exact = b" " * MAX_REPLAYED_BYTES
        assert made.post(exact, session).headers["fly-replay"]
        refused = made.post(exact + b" ", session)
        assert refused.status == 413
        assert str(MAX_REPLAYED_BYTES) in refused.error["message"]


async def test_a_session_whose_machine_is_gone_is_gone(autojump_clock):
    session = await session_of("m1")
    async with stage(machine="m2", secret=SECRET) as made:
        failed = "fly-replay-failed: instance_not_found"
        reply = made.post(call(1), session, failed)
        assert (reply.status, reply.error["code"]) == (404, -32001)
        assert "fly-replay" not in reply.headers


async def test_our_own_sessions_stay_here(autojump_clock):
    async with stage(machine="m2", secret=SECRET) as made:
        session = await made.initialize()
        reply = made.post(call(1), session)
        made.processes[0].answer(await made.asked("tools/call"))
        assert (await reply.wait()).json["id"] == 1


async def test_who_may_not_speak_is_not_replayed(autojump_clock):
    session = await session_of("m1")
    async with stage(machine="m2", secret=SECRET, credentials=CREDENTIALS) as made:
        assert made.post(call(1), session).status == 401
        assert made.post(call(1), session, ALICE).headers["fly-replay"]


# ---------------------------------------------------------------- life


async def test_sleep_is_noted(autojump_clock, caplog):
    caplog.set_level("INFO")
    async with stage() as made:
        made.front.wake()
    assert "wrap.woke" in [record.message for record in caplog.records]


async def test_it_stops_when_what_is_under_way_has_finished(autojump_clock):
    async with stage(health=True) as made:
        await made.front.health.wait_known()
        session = await made.initialize()
        listening = made.get(session)
        replies = [made.post(call(1), session), made.ask(modern(1))]
        requests = [
            (process, request)
            for process in (made.processes[0], made.processes[-1])
            for request in [await made.asked("tools/call", process)]
        ]
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stop, made.front, 60.0)
            await trio.sleep(5)
            assert listening.ended
            assert made.request("GET", "/health", b"").status == 503
            assert [reply.ended for reply in replies] == [False, False]
            for process, request in requests:
                process.answer(request)
        for reply in replies:
            assert reply.ended
            assert "error" not in (reply.messages or [reply.json])[-1]
        assert trio.current_time() - began < 5 + 5 * DRAIN_CHECK_S
        assert made.alive == []
        assert made.front.running == 0


async def test_what_does_not_finish_in_time_is_failed(autojump_clock):
    async with stage(health=True) as made:
        await made.front.health.wait_known()
        session = await made.initialize()
        replies = [made.post(call(1), session), made.ask(modern(1))]
        await made.asked("tools/call", count=2)
        began = trio.current_time()
        await stop(made.front, 10.0)
        assert 10 <= trio.current_time() - began < 11
        for reply in replies:
            await reply.wait()
            assert reply.error["data"]["source"] == "mcpctl"
        assert made.alive == []


# ---------------------------------------------------------------- anything at all


def _anything(chance: random.Random, session: str) -> tuple[str, str, bytes, list[str]]:
    """A request that nobody should send, or that somebody might."""
    headers = {
        "Accept": ["*/*", "application/json", EVENTS, f"application/json, {EVENTS}", "", "q=0"],
        "Content-Type": ["application/json", "text/plain", ""],
        "Mcp-Session-Id": [session.partition(": ")[2], "here.x.y", "\u00ff", ""],
        "MCP-Protocol-Version": ["2025-11-25", "2025-03-26", "2026-07-28", "1", ""],
        "Last-Event-ID": ["0-0", "1-1", "x", "9" * 40],
        "Mcp-Method": ["tools/call", "ping"],
        "Mcp-Name": ["x", "=?base64?!?="],
        "Origin": ["null", "https://evil.example"],
        "fly-replay-failed": ["1"],
    }
    chosen = [
        f"{name}: {chance.choice(values)}"
        for name, values in headers.items()
        if chance.random() < 0.4
    ]
    messages: list[Any] = [
        call(chance.choice([1, "a", None, 1.5, [], {}])),
        modern(
            chance.choice([1, "a"]), chance.choice(["tools/call", "subscriptions/listen", "ping"])
        ),
        initialize(chance.choice(["2025-11-25", "x"])),
        {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}},
        {"jsonrpc": "2.0", "id": 1, "result": {}},
        {"id": 1, "method": "x", "params": {"_meta": {P + "protocolVersion": 7}}},
        [call(1), call(1)],
        [call(2), {"jsonrpc": "2.0", "id": 3, "result": 1}],
        7,
    ]
    body = json.dumps(chance.choice(messages)).encode()
    if chance.random() < 0.3:
        at = chance.randrange(len(body) + 1)
        body = body[:at] + bytes([chance.randrange(256)]) + body[at + chance.randrange(3) :]
    method = chance.choice(["POST"] * 6 + ["GET", "GET", "DELETE", "HEAD", "OPTIONS", ""])
    path = chance.choice(
        ["/", "/mcp", "/sse", "/message", "/message?sessionId=x", "/metrics", "/health"]
    )
    return method, path, body, chosen


@pytest.mark.parametrize("seed", range(8))
async def test_nothing_that_is_sent_does_any_harm(autojump_clock, seed: int):
    chance = random.Random(seed)
    async with stage(health=True, beats=True, most=4, call_timeout_s=20) as made:
        await made.front.health.wait_known()
        session = await made.initialize()
        sent: list[Ear] = []
        for _ in range(150):
            method, path, body, headers = _anything(chance, session)
            sent.append(made.request(method, path, body, *headers))
            if chance.random() < 0.2:
                await trio.sleep(chance.random())
            if chance.random() < 0.2:
                for one in [one for one in sent if not one.ended and not one.gone][:3]:
                    one.leave()
        await trio.sleep(60)
        for one in sent:
            assert one.status != 500
            assert one.status or one.gone
            # What is not over listens, and may do so for ever.
            assert one.ended or one.gone or one.headers["content-type"] == EVENTS
        good = await made.post(initialize()).wait()
        assert good.status in (200, 503)
        assert len(made.alive) <= 4
        made.front.close()
        await trio.sleep(20)
        assert all(one.ended or one.gone for one in sent)
