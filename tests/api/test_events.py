"""`GET /v1/events`: what a listener sees, and what happens to one that does not look."""

import json

import trio

from mcpctld.api.events import KEEP_ALIVE_S
from mcpctld.sessions.events import QUEUE_LIMIT

LISTENING = b": listening\n\n"


def parse(stream: bytes) -> list[dict]:
    """The events of a chunked answer, each with what its two lines say in agreement."""
    found = []
    for block in dechunk(stream).split(b"\n\n"):
        lines = block.split(b"\n")
        if not lines[0].startswith(b"event: "):
            continue
        event = json.loads(lines[1].removeprefix(b"data: "))
        assert event["type"] == lines[0].removeprefix(b"event: ").decode()
        assert len(lines) == 2
        found.append(event)
    return found


def dechunk(answer: bytes) -> bytes:
    pieces, at = [], answer.index(b"\r\n\r\n") + 4
    while at < len(answer):
        begin = answer.index(b"\r\n", at) + 2
        at = begin + int(answer[at:begin], 16) + 2
        pieces.append(answer[begin : at - 2])
    return b"".join(pieces)


async def test_events_arrive_in_order_and_the_stream_ends_when_the_daemon_drains(
    api, engine, tools
):
    stream = await api.send("GET /v1/events")
    head = await tools.until(stream, LISTENING)
    assert b"content-type: text/event-stream" in head
    engine.events.publish("session.opened", {"id": "s2", "text": "two\nlines \u2028 \udce9"})
    engine.events.publish("session.closed", {"id": "s2"})
    engine.shutdown()
    answer = head + await tools.until(stream, b"\r\n0\r\n\r\n")
    events = parse(answer)
    assert [event["type"] for event in events] == [
        "session.opened",
        "session.closed",
        "daemon.draining",
    ]
    assert events[0]["data"] == {"id": "s2", "text": "two\nlines \u2028 \udce9"}


async def test_a_stream_asked_for_while_draining_ends_at_once(api, engine, tools):
    engine.shutdown()
    stream = await api.send("GET /v1/events", "Connection: close\r\n")
    with trio.fail_after(tools.bound_s):
        assert parse(await tools.to_end(stream)) == []


async def test_silence_is_broken_by_a_comment_every_15_seconds(api, engine, tools, autojump_clock):
    stream = await api.send("GET /v1/events", "Connection: close\r\n")
    await tools.until(stream, LISTENING)
    begin = trio.current_time()
    with trio.fail_after(10 * KEEP_ALIVE_S):
        for _ in range(3):
            assert b": keep-alive\n\n" in await stream.receive_some(4096)
    assert trio.current_time() - begin == 3 * KEEP_ALIVE_S
    engine.draining = True  # and nobody publishes it
    with trio.fail_after(2 * KEEP_ALIVE_S):
        assert (await tools.to_end(stream)).count(b": keep-alive") == 1


async def test_a_listener_that_leaves_is_forgotten_at_once(api, engine, tools):
    stream = await api.send("GET /v1/events")
    await tools.until(stream, LISTENING)
    assert engine.events.listening == 1
    await stream.aclose()
    with trio.fail_after(tools.bound_s):
        await engine.events.left.wait()
    assert engine.events.listening == 0


async def test_fifty_listeners_that_do_not_read_disturb_nobody(api, engine, tools):
    streams = [await api.send("GET /v1/events") for _ in range(50)]
    for stream in streams:
        await tools.until(stream, LISTENING)
    published = 2 * QUEUE_LIMIT
    for number in range(published):
        engine.events.publish("session.error", {"number": number, "padding": "x" * 2000})
        if number % 50 == 0:
            assert (await api.http.get("/v1/health")).status_code == 200
    engine.shutdown()
    async with trio.open_nursery() as nursery:
        for stream in streams:
            nursery.start_soon(check_losses, stream, published, tools)


async def check_losses(stream: trio.SocketStream, published: int, tools) -> None:
    """What arrived is in order and ends with the last; what did not is exactly what was counted."""
    events = parse(b"\r\n\r\n" + await tools.until(stream, b"\r\n0\r\n\r\n"))
    numbers = [event["data"]["number"] for event in events if event["type"] == "session.error"]
    lost = sum(event["data"]["count"] for event in events if event["type"] == "dropped")
    assert numbers == sorted(numbers)
    assert lost > 0
    assert len(numbers) + lost == published
    assert numbers[-1] == published - 1
    assert events[-1]["type"] == "daemon.draining"
