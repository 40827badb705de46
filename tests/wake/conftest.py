"""What tests of sessions share."""

from collections.abc import Callable
from typing import TypeVar

import pytest
import trio

_T = TypeVar("_T")


@pytest.fixture
def instant_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work for a thread is done at once: virtual time would pass while a real one is waited for."""

    async def run_sync(function: Callable[..., _T], *args: object, **_: object) -> _T:
        await trio.lowlevel.checkpoint()
        return function(*args)

    monkeypatch.setattr(trio.to_thread, "run_sync", run_sync)
