"""Three real clients at once on one process behind what `fly mcp wrap` does: each gets what is its own."""

import contextlib
import dataclasses
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import mcp_types as types
import pytest
import trio
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client

from fixtures.exercise import text_of
from harness import FIXTURES, Home, Served

pytestmark = [
    # Logging is on its way out of MCP, and the client says so.
    pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning"),
]

WRAP = (sys.executable, str(FIXTURES / "flywrap.py"))
HOUSE = (sys.executable, str(FIXTURES / "house.py"), "stdio")
NAMES = ("Ada", "Grace", "Mary")


@dataclasses.dataclass(slots=True)
class Person:
    """A client with a name of its own."""

    name: str
    client: Client
    logs: list[Any]
    progress: list[float] = dataclasses.field(default_factory=list)

    async def call(self, tool: str, **arguments: Any) -> str:
        """The text that a tool answers."""
        result = await self.client.call_tool(tool, arguments, progress_callback=self._progress)
        return text_of(result)

    async def _progress(self, progress: float, *_: object) -> None:
        self.progress.append(progress)


@contextlib.asynccontextmanager
async def attached(home: Home, name: str, mode: str = "legacy") -> AsyncIterator[Person]:
    """The official SDK's client, attached."""
    logs: list[Any] = []

    async def log(params: types.LoggingMessageNotificationParams) -> None:
        logs.append(params.data)

    async def answer(*_: object) -> types.ElicitResult:
        return types.ElicitResult(action="accept", content={"name": name})

    command, *args = home.attach("wrapped")
    transport = stdio_client(
        StdioServerParameters(command=command, args=args, env=home.env), errlog=subprocess.DEVNULL
    )
    async with Client(
        transport, mode=mode, elicitation_callback=answer, logging_callback=log
    ) as client:
        yield Person(name, client, logs)


@contextlib.asynccontextmanager
async def gathered(home: Home, *names: str, mode: str = "legacy") -> AsyncIterator[list[Person]]:
    """Several of them."""
    async with contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(attached(home, name, mode)) for name in names]


def serve(home: Home, port: int = 0) -> Served:
    """The wrapper around the house, where `mcpctl attach wrapped` finds it."""
    served = home.serve(*WRAP, str(port), *HOUSE)
    if not port:
        home.add("wrapped", url=f"{served.base}/")
    return served


async def in_parallel(people: list[Person], tool: str, **arguments: Any) -> dict[str, str]:
    """All call the same tool at once: what each was answered."""
    said = {}

    async def call(person: Person) -> None:
        said[person.name] = await person.call(tool, **arguments)

    async with trio.open_nursery() as nursery:
        for person in people:
            nursery.start_soon(call, person)
    return said


async def be_asked(people: list[Person]) -> None:
    """A tool asks its caller for a name, one after the other: nothing in a question says whose call it is about."""
    for person in people:
        assert await person.call("elicit") == f"accept {person.name}"


async def status(home: Home) -> tuple[dict[str, Any], str]:
    """What `mcpctl status` says of the server: as JSON, and for eyes."""
    as_json = await trio.to_thread.run_sync(home.mcpctl, "status", "--json")
    text = await trio.to_thread.run_sync(home.mcpctl, "status")
    (server,) = as_json.json()["servers"]
    return server, text.out


async def test_three_clients_share_one_process_and_each_gets_its_own(home: Home):
    serve(home)
    async with gathered(home, *NAMES) as people:
        sums = {
            person.name: await person.call("add", a=number, b=1)
            for number, person in enumerate(people)
        }
        assert sums == dict(zip(NAMES, "123", strict=True))
        assert await in_parallel(people, "progress", steps=5, pause=0.02) == dict.fromkeys(
            NAMES, "5 steps"
        )
        assert [person.progress for person in people] == [[1.0, 2.0, 3.0, 4.0, 5.0]] * 3
        await be_asked(people)
        server, text = await status(home)
        assert (server["sessions"], server["sharing"], server["detected"]) == (3, 3, "fly-wrap")
        assert "3 (3 share)" in text
        await people[0].client.session.set_logging_level("error")
        await people[1].client.session.set_logging_level("info")
        await people[2].call("log", lines=2)
        await in_parallel(people, "echo", text="x")  # what was told before has come by now
        assert [len(person.logs) for person in people] == [0, 2, 2]
    async with gathered(home, "Ada", "Grace") as (ada, grace):
        assert await ada.call("elicit") == "accept Ada"
        await grace.client.list_tools()
    server, text = await status(home)
    assert (server["sharing"], "share)" in text) == (0, False)


async def test_clients_that_come_all_at_once_find_the_wrapper_out_together(home: Home):
    serve(home)
    said = {}

    async def use(name: str) -> None:
        async with attached(home, name) as person:
            said[name] = await person.call("echo", text=name)

    async with trio.open_nursery() as nursery:
        for name in NAMES:
            nursery.start_soon(use, name)
    assert said == {name: name for name in NAMES}


async def test_clients_of_the_modern_era_share_it_as_well(home: Home):
    serve(home)
    async with gathered(home, *NAMES, mode="2026-07-28") as people:
        # The first request to an unknown server may have to be made twice, and a call must not be.
        await people[0].client.list_tools()
        assert await in_parallel(people, "elicit") == {name: f"accept {name}" for name in NAMES}
        assert await in_parallel(people, "progress", steps=3, pause=0.02) == dict.fromkeys(
            NAMES, "3 steps"
        )
        assert [person.progress for person in people] == [[1.0, 2.0, 3.0]] * 3


async def test_a_machine_that_slept_loses_no_session(home: Home):
    served = serve(home)
    async with gathered(home, *NAMES) as people:
        await in_parallel(people, "echo", text="before")
        served.process.kill()
        served.process.wait(5)
        serve(home, served.port)
        after = await in_parallel(people, "echo", text="after")
        assert after == dict.fromkeys(NAMES, "after")
        await be_asked(people)
