"""What tests of several ways of speaking do as clients."""

from typing import Any

import trio.testing

from wrap.replies import Ear
from wrap.stage import Process, Stage, call


def said(method: str, **params: Any) -> dict[str, Any]:
    """A notification."""
    return {"jsonrpc": "2.0", "method": method, "params": params}


async def calm() -> None:
    """Let everything happen that does not take time."""
    await trio.testing.wait_all_tasks_blocked()


async def ready(made: Stage) -> Process:
    """Wait until the front knows its server: the process that is warm."""
    await made.front.health.wait_known()
    await calm()
    return made.alive[0]


async def streamed(made: Stage, session: str, ident: Any = 1, **params: Any) -> Ear:
    """A call that has become a stream."""
    reply = made.post(call(ident, **params), session)
    await reply.until(lambda ear: ear.streams)
    return reply


def ids(ear: Ear) -> list[Any]:
    """Of the messages in a stream."""
    return [message.get("id") for message in ear.messages]
