"""`fly-replay` over real sockets."""

import json

import pytest
import trio

from harness import until
from localfly.edge.town import Visit, ask, calling, echo, open_town, request
from mcpctld.localfly.edge.holding import Patience

MEGABYTE = 1_000_000


def replaying(*fields: str, **headers: str):
    """A program that never answers itself, but for requests that come back."""

    async def program(visit: Visit) -> None:
        if visit.get("fly-replay-failed"):
            await echo(visit)
            return
        more = [(name.replace("_", "-"), value) for name, value in headers.items()]
        await visit.answer(b"not for you", "200 OK", ("fly-replay", ";".join(fields)), *more)

    return program


def instructing(**told: object):
    async def program(visit: Visit) -> None:
        kind = ("Content-Type", "application/vnd.fly.replay+json; charset=utf-8")
        await visit.answer(json.dumps(told).encode(), "307 X", kind)

    return program


@pytest.mark.parametrize("state", ["started", "stopped", "suspended"])
async def test_a_request_is_replayed_as_it_was(autojump_clock, state):
    async with open_town() as fleet:
        app = fleet.add_app()
        await app.add("m1", replaying("instance=m2", "state=a b=c"))
        await app.add("m2", state=state)
        body = b"x" * MEGABYTE
        answer = await ask(fleet, "POST", "/mcp?q", body, Fly_Prefer_Instance_Id="m1", X_Own="kept")
        assert answer.told["machine"] == "m2"
        assert answer.told["line"] == "POST /mcp?q HTTP/1.1"
        assert answer.told["body"].encode() == body
        assert answer.seen("x-own") == ["kept"]
        (source,) = answer.seen("fly-replay-src")
        assert source.startswith("instance=m1;region=iad;t=")
        assert source.endswith(";state=a b=c")
        assert not any(name.lower().startswith("fly-replay") for name, _ in answer.fields)


async def test_a_body_that_is_still_coming_is_replayed_whole(autojump_clock):
    async with open_town() as fleet:
        app = fleet.add_app()
        first = await app.add("m1", replaying("instance=m2"))
        second = await app.add("m2")
        async with calling(fleet) as caller:
            head = request("POST", Content_Length="6", Fly_Prefer_Instance_Id="m1")
            await caller.send(head + b"abc")
            await until(lambda: second.visits, "the request is with the second machine")
            await caller.send(b"def")
            answer = await caller.answer()
        assert answer.told["body"] == "abcdef"
        assert first.visits == 1


@pytest.mark.parametrize("chunked", [False, True])
async def test_more_than_a_megabyte_is_not_replayed(autojump_clock, chunked):
    async def late(visit: Visit) -> None:
        await visit.body()
        await visit.answer(b"", "200 OK", ("fly-replay", "instance=m2"))

    async with open_town() as fleet:
        app = fleet.add_app()
        await app.add("m1", late)
        second = await app.add("m2", state="stopped")
        body = b"x" * (MEGABYTE + 1)
        if chunked:
            body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
            head = request("POST", Transfer_Encoding="chunked")
        else:
            head = request("POST", Content_Length=str(len(body)))
        async with calling(fleet) as caller:
            await caller.send(head + body)
            answer = await caller.answer()
        assert answer.status == 502
        assert b"1 MB" in answer.body
        assert fleet.said("[PA01]")
        assert second.visits == 0


@pytest.mark.parametrize("count", [10, 11])
async def test_after_ten_replays_it_is_enough(autojump_clock, count):
    async def pass_on(visit: Visit) -> None:
        number = int(visit.machine.id[1:])
        if number == count:
            await echo(visit)
        else:
            await visit.answer(b"", "200 OK", ("fly-replay", f"instance=m{number + 1}"))

    async with open_town() as fleet:
        app = fleet.add_app()
        for number in range(count + 1):
            await app.add(f"m{number}", pass_on)
        answer = await ask(fleet, Fly_Force_Instance_Id="m0")
        assert answer.status == (200 if count <= 10 else 502)
        assert bool(fleet.said("[PA02]")) is (count > 10)


async def test_elsewhere_is_anybody_else(autojump_clock):
    async with open_town() as fleet:
        app = fleet.add_app()
        await app.add("m1", replaying("elsewhere=true"))
        await app.add("m2")
        for _ in range(6):
            assert (await ask(fleet)).told["machine"] == "m2"


async def test_another_app_may_have_it(autojump_clock):
    async with open_town() as fleet:
        await fleet.add_app("router").add("m1", replaying("app=time"))
        await fleet.add_app("time", public=False).add("m2", state="stopped")
        answer = await ask(fleet, host="router.localhost")
        assert answer.told["machine"] == "m2"
        assert answer.seen("host") == ["router.localhost"]


async def test_a_region_is_the_only_one(autojump_clock):
    async with open_town() as fleet:
        app = fleet.add_app()
        await app.add("m1", replaying("region=eu"))
        await app.add("m2", region="fra", state="stopped")
        assert (await ask(fleet)).told["machine"] == "m2"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        (("instance=m9",), "retries_exhausted|no_candidate"),
        (("instance=dead", "timeout=500ms"), "timeout"),
        (("app=other",), "no_candidate"),
        (("region=syd",), "no_candidate"),
    ],
)
@pytest.mark.parametrize("fallback", ["", "force_self", "prefer_self"])
async def test_what_leads_nowhere_falls_back(autojump_clock, fields, reason, fallback):
    async with open_town() as fleet:
        app = fleet.add_app()
        said = (*fields, f"fallback={fallback}") if fallback else fields
        await app.add("m1", replaying(*said))
        await app.add("m2", replaying(*said))
        await app.add("dead", state="starting")
        answer = await ask(fleet, Fly_Prefer_Instance_Id="m1")
        if not fallback:
            assert answer.status == 503
            return
        assert answer.told["machine"] == "m1"
        (failed,) = answer.seen("fly-replay-failed")
        told = dict(field.split("=") for field in failed.split(";"))
        assert told["reason"] in reason.split("|")
        assert told["replay_source"] == "m1"
        assert int(told["elapsed_ms"]) >= 0
        assert told.get("app") == ("other" if fields == ("app=other",) else "time")


async def test_a_machine_that_was_asked_and_gave_no_answer_is_not_fallen_back_from(autojump_clock):
    """It may have acted on the request."""

    async def hang_up(visit: Visit) -> None:
        await visit.body()

    async with open_town() as fleet:
        app = fleet.add_app()
        first = await app.add("m1", replaying("instance=m2", "fallback=force_self"))
        await app.add("m2", hang_up)
        assert (await ask(fleet, Fly_Force_Instance_Id="m1")).status == 502
        assert first.visits == 1


async def test_a_preference_that_cannot_be_met_is_told(autojump_clock):
    async with open_town() as fleet:
        app = fleet.add_app()
        await app.add("m1", replaying("prefer_instance=m9", "elsewhere=true"))
        await app.add("m2")
        answer = await ask(fleet, Fly_Force_Instance_Id="m1")
        assert answer.told["machine"] == "m2"
        assert answer.seen("fly-preferred-instance-unavailable") == ["m9"]


async def test_instructions_may_change_the_request(autojump_clock):
    async with open_town() as fleet:
        app = fleet.add_app()
        transform = {
            "path": "/other?x=2",
            "delete_headers": ["X-Gone"],
            "set_headers": [{"name": "X-New", "value": "1"}, {"name": "X-Own", "value": "2"}],
        }
        await app.add("m1", instructing(instance="m2", transform=transform))
        await app.add("m2")
        answer = await ask(fleet, Fly_Force_Instance_Id="m1", X_Own="1", X_Gone="yes", X_Kept="k")
        assert answer.told["line"] == "GET /other?x=2 HTTP/1.1"
        assert answer.seen("x-new") == ["1"]
        assert answer.seen("x-own") == ["2"]
        assert answer.seen("x-gone") == []
        assert answer.seen("x-kept") == ["k"]


@pytest.mark.parametrize(
    "program",
    [
        replaying("instance"),
        replaying("fallback=nobody", "instance=m1"),
        replaying("state=x"),
        instructing(instance=7),
        instructing(instance="m2", transform={"set_headers": {"X": "a\r\nY: b"}}),
        instructing(pad="x" * 100_000),
    ],
)
async def test_instructions_that_cannot_be_followed_are_a_bad_gateway(autojump_clock, program):
    async with open_town(patience=Patience(hopeless_s=1)) as fleet:
        await fleet.add_app().add("m1", program)
        assert (await ask(fleet)).status in (502, 503)


# ---------------------------------------------------------------- the cache


def counting(target: str, **headers: str):
    return replaying(f"instance={target}", **headers)


async def test_what_is_to_be_remembered_goes_there_at_once(autojump_clock):
    async with open_town() as fleet:
        app = fleet.add_app()
        cached = {"fly_replay_cache": "/api/*", "fly_replay_cache_ttl_secs": "60"}
        router = await app.add("m1", counting("m2", **cached), cordoned=False)
        target = await app.add("m2", autostart=True)
        target.cordoned = False
        statuses = []
        for _ in range(3):
            answer = await ask(fleet, path="/api/x?y", Fly_Prefer_Instance_Id="m1")
            statuses.append(answer.get("fly-replay-cache-status"))
        assert (router.visits, target.visits) == (1, 3)
        assert statuses == ["miss", "hit", "hit"]
        await ask(fleet, path="/apix", Fly_Force_Instance_Id="m1")
        assert router.visits == 2
        await trio.sleep(61)
        await ask(fleet, path="/api/x", Fly_Force_Instance_Id="m1")
        assert router.visits == 3


async def test_sessions_stick_by_the_configuration_s_rule(autojump_clock):
    rule = {"path_prefix": "/", "ttl_seconds": 60, "type": "header", "name": "Mcp-Session-Id"}
    ports = [{"port": 443, "http_options": {"replay_cache": [rule | {"allow_bypass": True}]}}]
    async with open_town() as fleet:
        app = fleet.add_app()
        router = await app.add("m1", replaying("instance=m2"), ports=ports)
        await app.add("m2", ports=ports)
        first = {"Mcp_Session_Id": "a", "Fly_Prefer_Instance_Id": "m1"}
        for expected in ("miss", "hit", "hit"):
            answer = await ask(fleet, **first)
            assert (answer.told["machine"], answer.get("fly-replay-cache-status")) == (
                "m2",
                expected,
            )
        assert router.visits == 1
        answer = await ask(fleet, Fly_Replay_Cache_Control="skip", **first)
        assert answer.get("fly-replay-cache-status") == "bypass"
        await ask(fleet, Mcp_Session_Id="b", Fly_Prefer_Instance_Id="m1")
        assert router.visits == 3


async def test_what_was_remembered_and_has_gone_is_forgotten(autojump_clock):
    rule = {"path_prefix": "/", "ttl_seconds": 600, "type": "cookie", "name": "s"}
    ports = [{"port": 443, "http_options": {"replay_cache": [rule]}}]
    async with open_town() as fleet:
        app = fleet.add_app()
        await app.add("m1", replaying("instance=m2", "fallback=force_self"), ports=ports)
        target = await app.add("m2", ports=ports)
        fields = {"Cookie": "a=b; s=1", "Fly_Prefer_Instance_Id": "m1"}
        assert (await ask(fleet, **fields)).told["machine"] == "m2"
        target.end("destroyed")
        del app.machines["m2"]
        for _ in range(2):
            answer = await ask(fleet, **fields)
            assert answer.told["machine"] == "m1"
            assert answer.get("fly-replay-cache-status") != "hit"
