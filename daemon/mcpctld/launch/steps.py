"""The steps of a launch around its machine. Each finds out first whether it is done, so that all can be run again."""

import base64
from collections.abc import Mapping

import trio

from mcpctld.launch.answering import Question, wait_answer
from mcpctld.launch.machine_step import look_alive
from mcpctld.launch.resolve import BEARER, Resolved
from mcpctld.launch.work import BEARER_KEY, Work

ANSWERED_S = 300.0


async def set_secrets(work: Work, resolved: Resolved) -> dict[str, str]:
    """The secrets of the app, the bearer token among them: the headers by which the server is reached."""
    values = dict(resolved.secrets)
    headers = {}
    if resolved.bearer:
        values[BEARER] = await _token(work)
        headers["authorization"] = f"Bearer {values[BEARER]}"
    elif user := values.get("FLY_MCP_USER"):
        basic = f"{user}:{values.get('FLY_MCP_PASSWORD', '')}".encode()
        headers["authorization"] = f"Basic {base64.b64encode(basic).decode()}"
    if values:
        app = work.record.app
        version = await work.change("secrets", lambda: work.fly.secrets.set(app, values))
        work.record.secrets_version = version
        await work.save()
        work.done("secrets", f"secrets {', '.join(sorted(values))}")
    await trio.lowlevel.checkpoint()
    return headers


async def _token(work: Work) -> str:
    """The bearer token, in our store before anything on Fly knows it."""
    record = work.record
    token = await work.store.get(record.server, BEARER_KEY) if record.token_kept else None
    if token is None:
        record.token_kept = True
        await work.save()
        token = make_token(work)
        await work.store.set(record.server, BEARER_KEY, token)
    await trio.lowlevel.checkpoint()
    return token


def make_token(work: Work) -> str:
    """A new bearer token of 256 bits, which needs no quoting anywhere."""
    return base64.urlsafe_b64encode(work.entropy(32)).decode().rstrip("=")


async def give_addresses(work: Work, resolved: Resolved) -> None:
    """Public addresses, or a private one only."""
    app = work.record.app
    wanted = ["private_v6"] if resolved.flycast else ["v6", "shared_v4"]
    have = {address.type for address in await work.fly.addresses.list(app)}
    for kind in wanted:
        if kind not in have:
            await _assign(work, app, kind)
    await work.save()
    work.done("addresses", f"addresses {', '.join(wanted)}")


async def _assign(work: Work, app: str, kind: str) -> None:
    await work.change(f"address {kind}", lambda: work.fly.addresses.assign(app, kind))


async def wait_answering(work: Work, resolved: Resolved, headers: Mapping[str, str]) -> None:
    """The server answers over HTTP, through Fly's proxy."""
    url = server_url(work, resolved)
    edge = work.fly.endpoints.edge
    if resolved.flycast and edge is None:
        work.note(f"{url} is reached on the private network only: whether it answers was not tried")
        await trio.lowlevel.checkpoint()
        return
    asked = Question(url, resolved.health_path, dict(headers), edge)
    await wait_answer(asked, ANSWERED_S, lambda: look_alive(work), work.note)
    work.done("answers", f"{url} answers")


def server_url(work: Work, resolved: Resolved) -> str:
    """Where clients reach the server."""
    base = work.fly.endpoints.app_url(work.record.app, private=resolved.flycast)
    return base + resolved.path
