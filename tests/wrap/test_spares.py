"""Processes that are started before anybody needs them: real ones."""

import contextlib
import os
import signal
from collections.abc import AsyncIterator, Sequence

import pytest
import trio

from harness import until
from mcpctld.drivers.process import Child
from mcpctld.model import ServerSpec
from mcpctld.wrap.spares import Spares

BOUND_S = 20.0
CAT = ("/bin/cat",)
GONE = ("/bin/no-such-program",)


@contextlib.asynccontextmanager
async def spares(command: Sequence[str] = CAT, count: int = 1) -> AsyncIterator[Spares]:
    with trio.fail_after(BOUND_S):
        async with trio.open_nursery() as nursery:
            made = Spares(nursery, ServerSpec(command=[*command], env={}), count)
            yield made
            await made.close()
            nursery.cancel_scope.cancel()


async def take(made: Spares, nursery: trio.Nursery) -> Child:
    return await made.take(nursery, CAT, {}, None)


async def ready(made: Spares, count: int) -> list[int]:
    """The process ids of the spares, when there are so many."""
    await until(lambda: len(made._ready) == count and not made._starting, f"{count} spares")
    return [child.pid for child in made._ready]


async def speaks(child: Child) -> bool:
    child.io.write(b"hello\n")
    return bool(await child.io.receive() == b"hello\n")


async def test_nothing_is_started_before_the_first_refill():
    async with spares() as made, trio.open_nursery() as nursery:
        child = await take(made, nursery)
        assert await speaks(child)
        assert await ready(made, 0) == []
        await child.stop()


async def test_a_spare_is_taken_and_replaced():
    async with spares() as made, trio.open_nursery() as nursery:
        made.refill()
        (first,) = await ready(made, 1)
        child = await take(made, nursery)
        assert child.pid == first
        assert await speaks(child)
        assert await ready(made, 1) != [first]
        await child.stop()


async def test_there_are_as_many_as_were_asked_for():
    async with spares(count=3) as made:
        made.refill()
        made.refill()
        assert len(await ready(made, 3)) == 3


async def test_a_spare_that_has_ended_is_not_given_to_anybody():
    async with spares() as made, trio.open_nursery() as nursery:
        made.refill()
        (first,) = await ready(made, 1)
        os.kill(first, signal.SIGKILL)
        await until(lambda: made._ready[0].returncode is not None, "the end of the spare")
        child = await take(made, nursery)
        assert child.pid != first
        assert await speaks(child)
        await child.stop()


async def test_a_program_that_is_not_there_is_the_business_of_who_needs_it():
    async with spares(GONE) as made:
        made.refill()
        assert await ready(made, 0) == []


async def test_closing_ends_them_and_those_that_are_just_starting():
    async with spares(count=2) as made:
        made.refill()
        pids = await ready(made, 2)
        made._count = 3
        made.refill()
        await made.close()
        assert await ready(made, 0) == []
        for pid in pids:
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)
        made.refill()
        assert await ready(made, 0) == []
