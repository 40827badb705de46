"""HTTP+SSE (2024-11-05): the stream is the session."""

from typing import Any
from urllib.parse import urljoin

import trio
import trio.testing

from mcpctld.wrap.pulse import BEAT_S
from mcpctld.wrap.streams import KEEP_ALIVE
from wrap.replies import Ear
from wrap.stage import ALICE, BOB, CREDENTIALS, Stage, call, initialize, stage

OLD = "2024-11-05"


class Client:
    """One stream, and where to POST."""

    def __init__(self, made: Stage, *who: str, prefix: str = "") -> None:
        self.made = made
        self.who = who
        self.ear = made.get(*who, path=f"{prefix}/sse")
        assert self.ear.status == 200
        first = self.ear.body.decode().split("\n")
        assert first[0] == "event: endpoint"
        self.told = first[1].removeprefix("data: ")
        self.endpoint = urljoin(f"{prefix}/sse", self.told)

    def post(self, message: Any, *who: str) -> Ear:
        return self.made.post(message, *(who or self.who), accept="*/*", path=self.endpoint)

    async def initialize(self) -> None:
        assert self.post(initialize(OLD)).status == 202
        await self.heard(1)
        assert self.post({"jsonrpc": "2.0", "method": "notifications/initialized"}).status == 202

    @property
    def messages(self) -> list[Any]:
        return [event.message for event in self.ear.events if event.data.startswith("{")]

    async def heard(self, count: int) -> list[Any]:
        await self.ear.until(lambda _: len(self.messages) >= count)
        return self.messages


async def test_answers_come_on_the_stream(autojump_clock):
    async with stage() as made:
        client = Client(made)
        await client.initialize()
        sent = client.post(call(1))
        assert (sent.status, sent.body) == (202, b"Accepted")
        made.processes[0].answer(await made.asked("tools/call"))
        assert [said["id"] for said in await client.heard(2)] == ["init", 1]
        made.processes[0].say(id="q", method="roots/list")
        assert (await client.heard(3))[2]["method"] == "roots/list"
        client.post({"jsonrpc": "2.0", "id": "q", "result": {"roots": []}})
        await made.asked("", made.processes[0])


async def test_the_endpoint_is_behind_the_prefix(autojump_clock):
    async with stage(prefix="/x") as made:
        client = Client(made, prefix="/x")
        assert client.told.startswith("message?sessionId=")  # so it is wherever a proxy has put us
        assert client.endpoint.startswith("/x/message?sessionId=")
        await client.initialize()


async def test_each_stream_is_a_session_of_its_own(autojump_clock):
    async with stage() as made:
        one = Client(made)
        await one.initialize()
        two = Client(made)
        await two.initialize()
        assert len(made.processes) == 2
        one.post(call(1))
        made.processes[0].answer(await made.asked("tools/call", made.processes[0]))
        await one.heard(2)
        assert len(two.messages) == 1


async def test_nobody_else_may_post_into_a_session(autojump_clock):
    async with stage(credentials=CREDENTIALS) as made:
        client = Client(made, ALICE)
        await client.initialize()
        refused = client.post(call(1), BOB)
        assert (refused.status, refused.error["code"]) == (404, -32001)
        assert client.post(call(1)).status == 202


async def test_a_session_that_there_is_not_is_not_found(autojump_clock):
    async with stage() as made:
        for path in ("/message?sessionId=here.x.y", "/message", "/message?sessionId="):
            assert made.post(call(1), accept="*/*", path=path).status == 404


async def test_what_is_no_message_is_refused(autojump_clock):
    async with stage() as made:
        assert Client(made).post(b"nonsense").error["code"] == -32700


async def test_a_stream_that_breaks_off_ends_the_session(autojump_clock):
    async with stage() as made:
        client = Client(made)
        await client.initialize()
        client.ear.leave()
        await trio.testing.wait_all_tasks_blocked()
        assert made.processes[0].closed
        assert client.post(call(1)).status == 404


async def test_a_comment_keeps_the_stream_alive(autojump_clock):
    async with stage(beats=True, idle_timeout_s=20) as made:
        client = Client(made)
        await client.initialize()
        await trio.sleep(BEAT_S * 10 + 1)
        assert client.ear.body.count(KEEP_ALIVE) == 10
        assert client.post(call(1)).status == 202


async def test_a_call_is_failed_when_the_process_dies_and_the_next_one_has_another(autojump_clock):
    async with stage() as made:
        client = Client(made)
        await client.initialize()
        client.post(call(1))
        await made.asked("tools/call")
        made.processes[0].die("the process of x exited with code 3: no more memory")
        failed = (await client.heard(2))[1]
        assert failed["id"] == 1
        assert "no more memory" in failed["error"]["message"]
        client.post(call(2))
        again = await made.process(2)
        again.answer(await made.asked("tools/call", again))
        assert (await client.heard(3))[2]["id"] == 2


async def test_a_server_that_cannot_be_started_fails_the_call_and_ends_the_stream(autojump_clock):
    async with stage() as made:
        made.behaviour.broken = "no such database"
        client = Client(made)
        client.post(initialize(OLD))
        await client.ear.wait()
        (failed,) = client.messages
        assert failed["id"] == "init"
        assert "no such database" in failed["error"]["message"]


async def test_a_lack_of_places_fails_the_call_and_ends_the_stream(autojump_clock):
    async with stage(most=1) as made:
        first = Client(made)
        await first.initialize()
        second = Client(made)
        second.post(initialize(OLD))
        await second.ear.wait()
        assert "--max-children" in second.messages[0]["error"]["message"]
        assert made.world.figures.children_failed == 0


# ---------------------------------------------------------------- the front stops


async def test_a_stream_on_which_nothing_is_under_way_ends_at_once(autojump_clock):
    async with stage() as made:
        client = Client(made)
        await client.initialize()
        made.front.drain()
        await client.ear.wait()
        assert not made.front.busy


async def test_calls_under_way_finish_and_then_the_stream_ends(autojump_clock):
    async with stage() as made:
        client = Client(made)
        await client.initialize()
        client.post(call(1))
        client.post(call(2))
        await made.asked("tools/call", count=2)
        made.front.drain()
        refused = client.post(call(3))
        assert (refused.status, refused.headers["retry-after"]) == (503, "5")
        made.processes[0].answer(await made.asked("tools/call", count=2))
        await client.heard(2)
        assert not client.ear.ended
        assert made.front.busy
        client.post(
            {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}
        )
        await client.ear.wait()
        assert [said["id"] for said in client.messages] == ["init", 2]
        assert not made.front.busy


async def test_a_reader_that_lags_is_waited_for(autojump_clock):
    async with stage() as made:
        client = Client(made)
        await client.initialize()
        client.ear.lagging = True
        for _ in range(5):
            made.processes[0].say(method="notifications/x")
        await trio.testing.wait_all_tasks_blocked()
        assert len(client.messages) == 2
        client.ear.read_on()
        await client.heard(6)
