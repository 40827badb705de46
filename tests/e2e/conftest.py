"""What the end-to-end tests share: every one is bounded, and a few ready-made set-ups."""

import functools
from collections.abc import AsyncIterator
from inspect import iscoroutinefunction
from pathlib import Path

import pytest
import trio

from e2e import real
from e2e.stage import Stage
from fixtures import scripted
from harness import Home

BOUND_S = 60.0
SLOW_BOUND_S = 400.0
HERE = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents and iscoroutinefunction(getattr(item, "obj", None)):
            bound = SLOW_BOUND_S if item.get_closest_marker("slow") else BOUND_S
            item.obj = _bounded(item.obj, bound)


def _bounded(test, seconds: float):
    @functools.wraps(test)
    async def run(**arguments):
        try:
            with trio.fail_after(seconds):
                await test(**arguments)
        except BaseExceptionGroup as group:
            group.add_note("\n".join(f"within it: {leaf!r}" for leaf in _leaves(group)))
            raise

    return run


def _leaves(error: BaseException) -> list[BaseException]:
    """What really went wrong: groups in groups are cut off where they are printed."""
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    return [leaf for inner in error.exceptions for leaf in _leaves(inner)]


@pytest.fixture
async def upstream(stage: Stage) -> AsyncIterator[scripted.Upstream]:
    """A scriptable HTTP server in the test's own event loop; it outlives the daemon."""
    async with stage.upstream() as running:
        yield running


@pytest.fixture
def what_it_needs(client: real.Client, server: real.Server) -> None:
    """Skip a cell of a matrix where Node.js is missing; here, as a skip within trio loses its reason."""
    if client.library == "typescript" or server.needs_node:
        real.node()


@pytest.fixture
def stage(home: Home) -> Stage:
    """A home with the means to attach raw clients to it."""
    return Stage(home)
