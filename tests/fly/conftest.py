"""A client of ours against a scripted Fly API."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from fixtures.fly.inspecting import Inspector, Reply, Seen
from mcpctld.fly.client import Fly
from mcpctld.fly.endpoints import Endpoints
from mcpctld.fly.tokens import Token

Script = list[Reply]
Stage = Callable[..., AbstractContextManager[tuple[Fly, Inspector]]]


@pytest.fixture
def stage() -> Stage:
    """A client and the server that answers it with `replies`, one after another; the last one again and again."""

    @contextmanager
    def make(*replies: Reply, **options: object) -> Iterator[tuple[Fly, Inspector]]:
        script = list(replies) or [Reply()]

        def answer(_: Seen) -> Reply:
            return script.pop(0) if len(script) > 1 else script[0]

        with Inspector(answer) as inspector:
            url = inspector.url
            endpoints = Endpoints(url, f"{url}/graphql", f"{url}/api/v1", Token("fm2_secret"))
            yield Fly(endpoints, jitter=lambda: 0.0, **options), inspector

    return make
