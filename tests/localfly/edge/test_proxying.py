"""Requests and answers through the edge, over real sockets: byte for byte, piece by piece."""

import json

import pytest
import trio

from harness import until
from localfly.edge.town import Visit, ask, calling, echo, open_town, request


async def test_a_request_reaches_the_machine_as_it_was_meant(autojump_clock):
    async with open_town() as fleet:
        await fleet.add_app().add("m1")
        answer = await ask(fleet, "POST", "/mcp?x=1", b"{}", X_Own="kept", Authorization="Bearer t")
        assert answer.status == 200
        assert answer.told["line"] == "POST /mcp?x=1 HTTP/1.1"
        assert answer.told["body"] == "{}"
        assert answer.seen("x-own") == ["kept"]
        assert answer.seen("authorization") == ["Bearer t"]
        assert answer.seen("host") == ["time.localhost"]
        assert answer.seen("x-forwarded-proto") == ["https"]
        assert answer.get("server") == "Fly/localfly"
        assert answer.seen("fly-request-id") == [answer.get("fly-request-id")]


async def test_what_only_the_edge_may_say_is_not_believed(autojump_clock):
    forged = {
        "Fly_Client_IP": "10.0.0.1", "Fly_Replay_Src": "instance=m9", "Fly_Replay_Failed": "x",
        "Fly_Region": "xxx", "Fly_Preferred_Instance_Unavailable": "m9", "X_Forwarded_Proto": "gopher",
        "X_Forwarded_For": "1.2.3.4",
    }  # fmt: skip
    async with open_town() as fleet:
        await fleet.add_app().add("m1")
        answer = await ask(fleet, **forged)
        assert answer.seen("fly-client-ip") == ["203.0.113.1"]
        assert answer.seen("x-forwarded-for") == ["1.2.3.4, 203.0.113.1"]
        assert answer.seen("fly-region") == ["iad"]
        assert answer.seen("x-forwarded-proto") == ["https"]
        for name in ("fly-replay-src", "fly-replay-failed", "fly-preferred-instance-unavailable"):
            assert answer.seen(name) == []


async def test_a_private_request_comes_from_the_private_network(autojump_clock):
    async with open_town() as fleet:
        await fleet.add_app(private=True).add("m1")
        answer = await ask(fleet, host="time.flycast.localhost")
        assert answer.seen("fly-client-ip")[0].startswith("fdaa:")
        assert answer.seen("x-forwarded-proto") == ["http"]
        assert answer.seen("fly-forwarded-port") == ["80"]


@pytest.mark.parametrize(
    ("host", "addresses", "status"),
    [
        ("time.localhost", {}, 200),
        ("TIME.localhost:4000", {}, 200),
        ("time.fly.dev", {}, 200),
        ("time.localhost", {"public": False}, 404),
        ("time.flycast.localhost", {}, 404),
        ("time.flycast", {"private": True, "public": False}, 200),
        ("other.localhost", {}, 404),
        ("localhost", {}, 404),
        ("127.0.0.1", {}, 404),
    ],
)
async def test_an_app_is_reached_by_the_addresses_that_it_has(
    autojump_clock, host, addresses, status
):
    async with open_town() as fleet:
        await fleet.add_app(**addresses).add("m1")
        assert (await ask(fleet, host=host)).status == status


@pytest.mark.parametrize(("host", "status"), [("time.flycast", 403), ("time.localhost", 200)])
async def test_web_pages_do_not_reach_the_private_network(autojump_clock, host, status):
    async with open_town() as fleet:
        await fleet.add_app(private=True).add("m1")
        assert (await ask(fleet, host=host, Origin="https://evil.example")).status == status


async def test_a_connection_takes_one_request_after_the_other_also_ahead_of_time(autojump_clock):
    async with open_town() as fleet:
        await fleet.add_app().add("m1")
        async with calling(fleet) as caller:
            await caller.send(b"".join(request(path=f"/{number}") for number in range(5)))
            for number in range(5):
                answer = await caller.answer()
                assert answer.told["line"] == f"GET /{number} HTTP/1.1"


async def test_a_refused_request_does_not_end_the_connection(autojump_clock):
    async with open_town() as fleet:
        await fleet.add_app().add("m1")
        async with calling(fleet) as caller:
            for host, status in (("other.localhost", 404), ("time.localhost", 200)) * 2:
                await caller.send(request(host=host))
                # The request has to be read whole for that, which may be later than the refusal.
                assert (await caller.answer()).status == status


@pytest.mark.parametrize("size", [1, 7, 1000, 300_000])
async def test_a_body_in_chunks_arrives_whole(autojump_clock, size):
    async with open_town() as fleet:
        await fleet.add_app().add("m1")
        body = bytes(range(97, 123)) * (size // 26 + 1)
        async with calling(fleet) as caller:
            await caller.send(request("POST", Transfer_Encoding="chunked"))
            for start in range(0, len(body), 100_000):
                piece = body[start : start + 100_000]
                await caller.send(b"%x\r\n%s\r\n" % (len(piece), piece))
            await caller.send(b"0\r\n\r\n")
            answer = await caller.answer()
        assert answer.told["body"].encode() == body


async def test_a_body_is_asked_for_where_the_client_waits_for_that(autojump_clock):
    async with open_town() as fleet:
        await fleet.add_app().add("m1")
        async with calling(fleet) as caller:
            await caller.send(
                b"POST / HTTP/1.1\r\nHost: time.localhost\r\nExpect: 100-continue\r\n"
            )
            await caller.send(b"Content-Length: 2\r\n\r\n")
            assert await caller.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            await caller.send(b"{}")
            answer = await caller.answer()
        assert answer.told["body"] == "{}"
        assert answer.seen("expect") == []


@pytest.mark.parametrize(("host", "status"), [("time.localhost", 413), ("other.localhost", 404)])
async def test_a_body_that_nobody_wants_need_not_be_sent(autojump_clock, host, status):
    async def refuse(visit: Visit) -> None:
        await visit.answer(b"", "413 Too Large")

    async with open_town() as fleet:
        await fleet.add_app().add("m1", refuse)
        for _ in range(10):  # whichever is first, the client hears of nothing after its answer
            async with calling(fleet) as caller:
                head = request("POST", host=host, Expect="100-continue", Content_Length="5000000")
                await caller.send(head)
                told, fields = await caller.head()
                if told == 100:
                    told, fields = await caller.head()
                assert told == status
                assert dict(fields)["Connection" if status == 404 else "connection"] == "close"
                length = dict(fields)["Content-Length" if status == 404 else "content-length"]
                await caller.exactly(int(length))
                assert await caller.until(b"never") == b""


async def test_the_body_streams_while_the_answer_does(autojump_clock):
    """Both ways at once, piece by piece: neither side waits for the other's end."""

    async def shout(visit: Visit) -> None:
        await visit.stream.send_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while (data := await visit.more()) != b"0\r\n\r\n":
            word = data.split(b"\r\n")[1].upper()
            await visit.stream.send_all(b"%x\r\n%s\r\n" % (len(word), word))
        await visit.stream.send_all(b"0\r\n\r\n")

    async with open_town() as fleet:
        await fleet.add_app().add("m1", shout)
        async with calling(fleet) as caller:
            await caller.send(request("POST", Transfer_Encoding="chunked"))
            status, fields = await caller.head()
            assert (status, dict(fields)["connection"]) == (200, "close")
            for word in (b"one", b"two", b"three"):
                await caller.send(b"%x\r\n%s\r\n" % (len(word), word))
                assert await caller.chunk() == word.upper()
            await caller.send(b"0\r\n\r\n")
            assert await caller.chunk() == b""


async def test_events_pass_one_by_one(autojump_clock):
    """Each is with the client before the next one is made."""
    ready, seen = trio.open_memory_channel[bytes](0)

    async def events(visit: Visit) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
        await visit.stream.send_all(head)
        async for event in seen:
            await visit.stream.send_all(event)
        await visit.stream.aclose()

    async with open_town() as fleet:
        await fleet.add_app().add("m1", events)
        async with calling(fleet) as caller:
            await caller.send(request())
            _, fields = await caller.head()
            assert dict(fields)["content-type"] == "text/event-stream"
            for number in range(20):
                await ready.send(b"data: %d\n\n" % number)
                assert await caller.chunk() == b"data: %d\n\n" % number
            await ready.aclose()
            assert await caller.chunk() == b""


@pytest.mark.parametrize(
    ("wire", "body", "whole"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", b"hi", True),
        (b"HTTP/1.1 200 OK\r\n\r\nhi", b"hi", True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", b"hi", True),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b"", True),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", b"", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhi", b"hi", False),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n", b"hi", False),
    ],
)
async def test_an_answer_arrives_as_whole_as_it_was(autojump_clock, wire, body, whole):
    async def say(visit: Visit) -> None:
        await visit.stream.send_all(wire)

    async with open_town() as fleet:
        await fleet.add_app().add("m1", say)
        answer = await ask(fleet)
        assert (answer.body, answer.whole) == (body, whole)
        assert bool(fleet.said("cut")) is not whole


async def test_an_answer_to_head_has_a_length_and_no_body(autojump_clock):
    async def say(visit: Visit) -> None:
        await visit.stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n")

    async with open_town() as fleet:
        await fleet.add_app().add("m1", say)
        async with calling(fleet) as caller:
            for _ in range(2):
                await caller.send(request("HEAD"))
                answer = await caller.answer(bodiless=True)
                assert (answer.status, answer.get("content-length")) == (200, "5000")


async def test_http_1_0_is_answered_in_its_own_way(autojump_clock):
    async def say(visit: Visit) -> None:
        await visit.stream.send_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        await visit.stream.send_all(b"2\r\nhi\r\n0\r\n\r\n")

    async with open_town() as fleet:
        await fleet.add_app().add("m1", say)
        async with calling(fleet) as caller:
            await caller.send(b"GET / HTTP/1.0\r\nHost: time.localhost\r\n\r\n")
            answer = await caller.answer()
            assert (answer.body, answer.get("transfer-encoding")) == (b"hi", None)


async def test_the_configuration_s_headers_are_set_and_pristine_keeps_ours_out(autojump_clock):
    def options(**response):
        return [{"port": 443, "http_options": {"response": response}}]

    async def say(visit: Visit) -> None:
        await visit.answer(b"", "200 OK", ("Server", "mine"), ("X-Powered-By", "php"))

    async with open_town() as fleet:
        headers = {"X-Set": "yes", "X-Two": ["a", "b"], "X-Powered-By": False}
        await fleet.add_app("set").add("m1", say, ports=options(headers=headers))
        await fleet.add_app("plain").add("m2", say, ports=options(pristine=True))
        answer = await ask(fleet, host="set.localhost")
        assert answer.get("x-set") == "yes"
        assert [value for key, value in answer.fields if key.lower() == "x-two"] == ["a", "b"]
        assert answer.get("x-powered-by") is None
        assert answer.get("server") == "Fly/localfly"
        answer = await ask(fleet, host="plain.localhost")
        assert answer.get("server") == "mine"
        assert answer.get("via") is None
        assert answer.get("fly-request-id") is None


# ---------------------------------------------------------------- ends


async def test_a_client_that_leaves_takes_its_request_with_it(autojump_clock):
    ended = trio.Event()

    async def wait(visit: Visit) -> None:
        assert await visit.stream.receive_some() == b""
        ended.set()

    async with open_town() as fleet:
        machine = await fleet.add_app().add("m1", wait)
        async with calling(fleet) as caller:
            await caller.send(request())
            await until(lambda: machine.open, "the request is with the machine")
        with trio.fail_after(1):
            await ended.wait()


async def test_a_slow_client_holds_the_machine_up_and_not_the_edge_s_memory(autojump_clock):
    """What a machine can say ahead is what the sockets hold, however much it has to say."""
    sent = 0

    async def flood(visit: Visit) -> None:
        nonlocal sent
        await visit.stream.send_all(b"HTTP/1.1 200 OK\r\n\r\n")
        while sent < 200_000_000:
            await visit.stream.send_all(b"x" * 100_000)
            sent += 100_000

    async with open_town() as fleet:
        await fleet.add_app().add("m1", flood)
        async with calling(fleet) as caller:
            await caller.send(request())
            await caller.head()
            await trio.sleep(30)
            assert 0 < sent < 50_000_000
            await caller.exactly(1_000_000)


async def test_a_slow_machine_holds_the_client_up(autojump_clock):
    async def sleep(visit: Visit) -> None:
        await trio.sleep_forever()

    async with open_town() as fleet:
        await fleet.add_app().add("m1", sleep)
        async with calling(fleet) as caller:
            await caller.send(request("POST", Content_Length="200000000"))
            sent = 0
            with trio.move_on_after(30):
                while sent < 200_000_000:
                    await caller.send(b"x" * 100_000)
                    sent += 100_000
            assert 0 < sent < 50_000_000


@pytest.mark.parametrize("configured", [None, 3600])
async def test_what_is_silent_for_the_idle_timeout_is_cut(autojump_clock, configured):
    async def silent(visit: Visit) -> None:
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n"
        await visit.stream.send_all(head)
        await trio.sleep_forever()

    options = {"idle_timeout": configured} if configured else {}
    async with open_town() as fleet:
        ports = [{"port": 443, "http_options": options}]
        await fleet.add_app().add("m1", silent, ports=ports)
        answer = await ask(fleet)
        assert (answer.body, answer.whole) == (b"one", False)
        assert trio.current_time() == pytest.approx(configured or 60, abs=1)
        assert fleet.said("cut: not a byte")


async def test_a_byte_now_and_then_keeps_a_stream_alive(autojump_clock):
    async def pulse(visit: Visit) -> None:
        await visit.stream.send_all(b"HTTP/1.1 200 OK\r\n\r\n")
        for _ in range(10):
            await trio.sleep(50)
            await visit.stream.send_all(b":\n")

    async with open_town() as fleet:
        await fleet.add_app().add("m1", pulse)
        answer = await ask(fleet)
        assert (answer.body, answer.whole) == (b":\n" * 10, True)


async def test_an_idle_connection_is_closed_after_a_minute(autojump_clock):
    async with open_town() as fleet:
        await fleet.add_app().add("m1")
        async with calling(fleet) as caller:
            await caller.send(request())
            assert (await caller.answer()).status == 200
            assert await caller.until(b"x") == b""
            assert trio.current_time() == pytest.approx(60, abs=1)


@pytest.mark.parametrize(
    ("wire", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (
            b"POST / HTTP/1.1\r\nHost: time.localhost\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
            400,
        ),
    ],
)
async def test_what_is_not_http_is_answered_clearly(autojump_clock, wire, status):
    async def wait(visit: Visit) -> None:
        await trio.sleep_forever()

    async with open_town() as fleet:
        await fleet.add_app().add("m1", wait)
        async with calling(fleet) as caller:
            await caller.send(wire)
            answer = await caller.answer()
            assert answer.status == status
            assert answer.body.startswith(b"localfly: ")


@pytest.mark.parametrize("wire", [b"", b"HTTP/1.1 2", b"SSH-2.0-dropbear\r\n\r\n"])
async def test_a_machine_that_gives_no_answer_is_a_bad_gateway(autojump_clock, wire):
    async def hang_up(visit: Visit) -> None:
        await visit.stream.send_all(wire)

    async with open_town() as fleet:
        await fleet.add_app().add("m1", hang_up)
        answer = await ask(fleet)
        assert answer.status == 502
        assert fleet.said("[PC03]")
        assert (await ask(fleet, host="time.localhost")).status == 502  # and the edge lives on


# ---------------------------------------------------------------- other protocols


async def shout(visit: Visit) -> None:
    """A protocol that is asked for: says everything louder."""
    assert visit.get("connection") == "upgrade"
    assert visit.get("upgrade") == "shouting"
    head = (
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: shouting\r\n\r\nREADY"
    )
    await visit.stream.send_all(head)
    while data := await visit.more():
        await visit.stream.send_all(data.upper())


async def test_another_protocol_is_tunnelled_and_its_ends_too(autojump_clock):
    async with open_town() as fleet:
        machine = await fleet.add_app().add("m1", shout)
        async with calling(fleet) as caller:
            asked = request(Connection="Upgrade", Upgrade="shouting", Sec_WebSocket_Key="x")
            await caller.send(asked + b"early")
            status, fields = await caller.head()
            assert (status, dict(fields)["upgrade"]) == (101, "shouting")
            assert await caller.exactly(10) == b"READYEARLY"
            for word in (b"one", b"two"):
                await caller.send(word)
                assert await caller.exactly(3) == word.upper()
            assert machine.open == 1
            await caller.stream.send_eof()
            assert await caller.until(b"never") == b""


async def test_a_tunnel_that_is_silent_is_cut(autojump_clock):
    async with open_town() as fleet:
        await fleet.add_app().add("m1", shout)
        async with calling(fleet) as caller:
            await caller.send(request(Connection="Upgrade", Upgrade="shouting"))
            await caller.head()
            await trio.sleep(40)
            await caller.send(b"x")
            assert await caller.exactly(6) == b"READYX"
            assert await caller.until(b"never") == b""
            assert trio.current_time() == pytest.approx(100, abs=1)


async def test_an_offer_to_switch_may_be_declined(autojump_clock):
    async with open_town() as fleet:
        await fleet.add_app().add("m1", echo)
        answer = await ask(fleet, Connection="Upgrade", Upgrade="shouting")
        assert answer.status == 200
        assert json.loads(answer.body)["machine"] == "m1"
