"""A new bearer token, on the server and in our secret store, with no moment when neither works.

The server is told of the new token beside the old one; then our store changes; then the old token is taken off. The new
one is in the store from the start, under a name of its own, so that a rotation that was cut off goes on with it.
"""

from typing import Any

from mcpctld.errors import NotFound, UserError
from mcpctld.launch import telling
from mcpctld.launch.changing import wait_healthy
from mcpctld.launch.day_two import change_secrets
from mcpctld.launch.desk import Desk
from mcpctld.launch.requests import Target
from mcpctld.launch.resolve import BEARER
from mcpctld.launch.steps import make_token
from mcpctld.launch.work import BEARER_KEY, Work

NEXT_KEY = "bearer-token-next"
"""The new token, until it is the one."""
ALSO = "FLY_MCP_BEARER_TOKEN_ALSO"
"""A second token that `mcpctl wrap` takes."""


async def rotate(desk: Desk, request: Target) -> dict[str, Any]:
    """Change the bearer token of a server that runs our wrap."""
    record = await desk.launched(request.server)
    if not record.result.get("bearer"):
        raise UserError(f"{record.server} has no bearer token to change")
    if record.result.get("wrapper") != "mcpctl":
        raise UserError(
            f"cannot change the token of {record.server} without a gap: only `mcpctl wrap` takes two at a time; "
            "destroy it, and launch it anew"
        )
    async with await desk.open_fly(record.at) as fly:
        work = desk.work(fly, record)
        await _rotate(work)
    desk.tell(telling.step("rotated", "the old token does not work any more"))
    return {"server": record.server, "app": record.app}


async def _rotate(work: Work) -> None:
    store, server = work.store, work.record.server
    old = await store.get(server, BEARER_KEY)
    if old is None:
        raise NotFound(f"the bearer token of {server} is not in the secret store; launch it anew")
    new = await store.get(server, NEXT_KEY)
    if new is None:
        new = make_token(work)
        await store.set(server, NEXT_KEY, new)
    await change_secrets(work, {BEARER: old, ALSO: new})
    await wait_healthy(work, token=new)
    await store.set(server, BEARER_KEY, new)
    work.done("switched", f"{server}/{BEARER_KEY} is the new token")
    await change_secrets(work, {BEARER: new, ALSO: None})
    await store.delete(server, NEXT_KEY)
