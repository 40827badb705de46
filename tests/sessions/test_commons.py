"""What sessions have in common: who shares it, and what of it outlives the daemon."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import trio

from mcpctld.model import Server, ServerSpec
from mcpctld.protocols.mcp.eras import Era
from mcpctld.protocols.mcp.tools import ToolFacts
from mcpctld.sessions.commons import SAVE_AFTER_S, TRUST_REFUSALS_S, Commons
from mcpctld.sessions.shelf import Shelf
from mcpctld.upstreams import Shared
from sessions.client import bounded, journal

SPEC = ServerSpec(url="https://server.example/mcp", headers={"Authorization": "Bearer s3cret"})


class Clock:
    """The Unix time, as the test wants it."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@contextlib.asynccontextmanager
async def running(folder: Path, clock: Clock | None = None) -> AsyncIterator[Commons]:
    """The commons of one daemon; at the end of the block it is killed."""
    async with trio.open_nursery() as nursery:
        yield Commons(nursery, Shelf(str(folder), nursery), clock or Clock())
        nursery.cancel_scope.cancel()


async def shared(commons: Commons, spec: ServerSpec = SPEC, name: str = "one") -> Shared:
    return await commons.of(Server(name=name, spec=spec), spec)


@bounded
async def test_equal_servers_with_equal_credentials_share_and_no_others(tmp_path: Path):
    other = ServerSpec(url=SPEC.url, headers={"Authorization": "Bearer other"})
    async with running(tmp_path) as commons:
        one = await shared(commons)
        assert await shared(commons, name="two") is one
        assert await shared(commons, other) is not one
        assert commons.named("two") is one
        commons.forget("two")
        assert commons.named("two") is None


@bounded
async def test_sessions_that_open_together_share(tmp_path: Path):
    found: list[Shared] = []

    async def get(commons: Commons) -> None:
        found.append(await shared(commons))

    async with running(tmp_path) as commons:
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(get, commons)
        assert all(one is found[0] for one in found)


@bounded
async def test_the_key_shows_nothing_and_is_the_same_for_the_next_daemon(tmp_path: Path):
    async with running(tmp_path / "a") as commons:
        key = (await shared(commons)).key
    async with running(tmp_path / "a") as commons:
        assert (await shared(commons)).key == key
    async with running(tmp_path / "b") as commons:  # not to be computed from the credentials
        assert (await shared(commons)).key != key
    assert set(key) <= set("0123456789abcdef")


@bounded
async def test_what_was_learned_outlives_the_daemon(
    tmp_path: Path, instant_threads, autojump_clock
):
    clock = Clock()
    async with running(tmp_path, clock) as commons:
        one = await shared(commons)
        one.learn_transport("http-sse")
        one.learn_era(Era.MODERN, clock.now)
        one.learn_change("notifications/tools/list_changed", 7.0)
        one.facts.tools["t"] = ToolFacts({"X": ["a", "b"]}, repeatable=True)
        await trio.sleep(SAVE_AFTER_S)
        await commons.shelf.flush()
        facts = one.facts
    async with running(tmp_path, clock) as commons:
        assert (await shared(commons)).facts == facts
        other = await shared(commons, ServerSpec(url="https://other.example/mcp"))
        assert other.facts.transport is None


@bounded
async def test_what_was_learned_last_is_saved_when_the_daemon_stops(tmp_path: Path):
    async with running(tmp_path) as commons:
        (await shared(commons)).learn_transport("fly-wrap")
        await commons.save()
    async with running(tmp_path) as commons:
        assert (await shared(commons)).facts.transport == "fly-wrap"


@bounded
async def test_many_changes_are_written_together(
    tmp_path: Path, instant_threads, autojump_clock, monkeypatch
):
    written: list[bytes] = []
    async with running(tmp_path) as commons:
        monkeypatch.setattr(commons.shelf, "write", lambda label, data: written.append(data))
        for _ in range(2):
            one = await shared(commons)
            for number in range(100):
                one.learn_transport(str(number))
            await trio.sleep(2 * SAVE_AFTER_S)
    assert len(written) == 2


@bounded
async def test_a_refusal_of_yesterday_is_forgotten(tmp_path: Path):
    clock = Clock()
    async with running(tmp_path, clock) as commons:
        one = await shared(commons)
        one.learn_era(Era.MODERN, clock.now)
        one.learn_era(Era.LEGACY, clock.now + 3600)  # a clock that was wrong then
        await commons.save()
        clock.now += TRUST_REFUSALS_S - 1
        assert set((await shared(commons)).facts.refused) == {"modern", "legacy"}
        clock.now += 1
        assert set((await shared(commons)).facts.refused) == {"legacy"}
    clock.now -= TRUST_REFUSALS_S
    async with running(tmp_path, clock) as commons:
        assert set((await shared(commons)).facts.refused) == {"modern"}


@bounded
async def test_facts_of_another_release_are_ignored(tmp_path: Path):
    async with running(tmp_path) as commons:
        key = (await shared(commons)).key
        commons.shelf.write(b"facts " + key.encode(), b'{"transport":["of another shape"]}')
        await commons.shelf.flush()
    with journal() as log:
        async with running(tmp_path) as commons:
            assert (await shared(commons)).facts.transport is None
    assert len(log.of("facts.ignored")) == 1
    assert "s3cret" not in log.text
