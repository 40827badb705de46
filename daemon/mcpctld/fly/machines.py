"""Machines: made, changed, started, put to sleep, destroyed; and waiting for what becomes of them."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import trio

from mcpctld.fly.errors import FlyError, Reason
from mcpctld.fly.http import Answer, Ask, Wire
from mcpctld.fly.lenient import read, read_all
from mcpctld.fly.machine_shapes import Event, Executed, Machine, read_machine

LONGEST_WAIT_S = 60
"""Fly waits so long at most in one request."""
SHORTEST_WAIT_S = 1
SLACK_S = 15.0
"""How much later than it was told to an answer may come."""
NOT_YET_S = 0.75
"""How long to wait before a machine that is not ready to be started is tried again."""
_NOT_YET = ("still active", "getting replaced", "still attempting", "'replacing'")
"""Refusals of `start` that pass by themselves."""


class Started(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to `start`."""

    previous_state: str = ""
    migrated: bool = False
    new_host: str = ""


class Machines:
    """`/v1/apps/APP/machines`. `lease` is the nonce of a lease that we hold, where there is one."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def list(
        self, app: str, *, metadata: Mapping[str, str] | None = None, include_deleted: bool = False
    ) -> list[Machine]:
        """All machines of an app whose metadata have these values."""
        query: dict[str, str | list[str]] = {
            f"metadata.{key}": value for key, value in (metadata or {}).items()
        }
        if include_deleted:
            query["include_deleted"] = "true"
        machines: list[Machine] = []
        while True:
            ask = Ask(
                "GET", self._url(app), f"list the machines of {app}", "machine.list", app, query
            )
            answer = await self._wire.send(ask)
            machines += [read_machine(row) for row in answer.rows()]
            cursor = answer.headers.get("fly-next-cursor")
            if not cursor or cursor == query.get("cursor"):
                return machines
            query = {**query, "cursor": cursor}

    async def get(self, app: str, machine: str) -> Machine:
        """One machine."""
        url = self._url(app, machine)
        ask = Ask("GET", url, f"look at machine {machine} of {app}", "machine.get", machine)
        return read_machine((await self._wire.send(ask)).mapping())

    async def create(self, app: str, body: Mapping[str, Any]) -> Machine:
        """Make one: `config`, `region`, `name`, `min_secrets_version`, `lease_ttl` ...; it starts at once.

        Never repeated blindly: after a failure look for its metadata first.
        """
        doing = f"make a machine of {app}"
        ask = Ask("POST", self._url(app), doing, "machine.create", app, body=dict(body))
        return read_machine((await self._wire.send(ask)).mapping())

    async def update(
        self, app: str, machine: str, body: Mapping[str, Any], *, lease: str | None = None
    ) -> Machine:
        """Replace its whole `config`; with `current_version` in the body only if nobody was faster."""
        ask = Ask(
            "POST",
            self._url(app, machine),
            f"update machine {machine} of {app}",
            "machine.update",
            machine,
            body=dict(body),
            lease=lease,
            repeatable="current_version" not in body,
        )
        return read_machine((await self._wire.send(ask)).mapping())

    async def start(
        self, app: str, machine: str, *, lease: str | None = None, patience_s: float = 0.0
    ) -> Started:
        """Start or resume it. For `patience_s` it is tried again while the machine is still on its way down."""
        deadline = trio.current_time() + patience_s
        while True:
            try:
                answer = await self._act(app, machine, "start", lease=lease)
                return read(Started, answer.mapping())
            except FlyError as exc:
                if not not_yet(exc) or trio.current_time() + NOT_YET_S > deadline:
                    raise
            await trio.sleep(NOT_YET_S)

    async def stop(
        self,
        app: str,
        machine: str,
        *,
        signal: str | None = None,
        timeout_s: float | None = None,
        lease: str | None = None,
    ) -> None:
        """Ask its program to end, and kill it `timeout_s` later."""
        body: dict[str, str] = {}
        if signal is not None:
            body["signal"] = signal
        if timeout_s is not None:
            body["timeout"] = f"{timeout_s:g}s"
        await self._act(app, machine, "stop", body=body, lease=lease)

    async def suspend(self, app: str, machine: str, *, lease: str | None = None) -> None:
        """Put it to sleep with all that is in its memory."""
        await self._act(app, machine, "suspend", lease=lease)

    async def restart(
        self, app: str, machine: str, *, force: bool = False, lease: str | None = None
    ) -> None:
        """Stop and start it, with the secrets and the config that it had."""
        query = {"force_stop": "true"} if force else {}
        await self._act(app, machine, "restart", query=query, lease=lease)

    async def signal(self, app: str, machine: str, name: str) -> None:
        """Send its program a signal, as in `SIGTERM`."""
        await self._act(app, machine, "signal", body={"signal": name})

    async def cordon(self, app: str, machine: str, *, off: bool = False) -> None:
        """Have Fly's proxy send it nothing more; with `off` again."""
        await self._act(app, machine, "uncordon" if off else "cordon")

    async def destroy(
        self, app: str, machine: str, *, force: bool = False, lease: str | None = None
    ) -> None:
        """Destroy it; one that is not there is destroyed. A running one only with `force`."""
        query = {"force": "true"} if force else {}
        doing = f"destroy machine {machine} of {app}"
        ask = Ask(
            "DELETE", self._url(app, machine), doing, "machine.delete", machine, query, lease=lease
        )
        await self._wire.find(ask)

    async def wait(
        self, app: str, machine: str, state: str, *, seconds: float, version: str | None = None
    ) -> None:
        """Wait until it is in `state`. `FlyError` TIMED_OUT after `seconds`; INVALID when it will never be.

        One that is gone satisfies `destroyed`. `started` says that it boots, not that its program listens.
        """
        deadline = trio.current_time() + seconds
        while True:
            left = deadline - trio.current_time()
            try:
                await self._wait_once(app, machine, state, left, version)
                break
            except FlyError as exc:
                if exc.reason is Reason.NOT_FOUND and state == "destroyed":
                    break
                if exc.status != 408 or trio.current_time() >= deadline:
                    raise
        await trio.lowlevel.checkpoint()

    async def _wait_once(
        self, app: str, machine: str, state: str, left: float, version: str | None
    ) -> None:
        asked = min(LONGEST_WAIT_S, max(SHORTEST_WAIT_S, int(left)))
        query = {"state": state, "timeout": str(asked)}
        if version:
            query["version"] = version
        doing = f"see machine {machine} of {app} {state}"
        url = self._url(app, machine, "wait")
        ask = Ask("GET", url, doing, "machine.wait", machine, query, answer_s=asked + SLACK_S)
        await self._wire.send(ask)

    async def exec(
        self,
        app: str,
        machine: str,
        command: Sequence[str],
        *,
        timeout_s: int = 30,
        stdin: str = "",
    ) -> Executed:
        """Run a command in a machine that runs."""
        body: dict[str, Any] = {"command": [*command], "timeout": timeout_s}
        if stdin:
            body["stdin"] = stdin
        doing = f"run {command[0]} in machine {machine} of {app}"
        url = self._url(app, machine, "exec")
        answer_s = timeout_s + SLACK_S
        ask = Ask("POST", url, doing, "machine.exec", machine, body=body, answer_s=answer_s)
        return read(Executed, (await self._wire.send(ask)).mapping())

    async def events(self, app: str, machine: str, limit: int = 20) -> Sequence[Event]:
        """What befell it, the newest first."""
        doing = f"list the events of machine {machine} of {app}"
        url = self._url(app, machine, "events")
        ask = Ask("GET", url, doing, "machine.events", machine, {"limit": str(limit)})
        return read_all(Event, (await self._wire.send(ask)).rows())

    async def metadata(self, app: str, machine: str) -> dict[str, str]:
        """Its metadata."""
        doing = f"read the metadata of machine {machine} of {app}"
        url = self._url(app, machine, "metadata")
        found = (await self._wire.send(Ask("GET", url, doing, "metadata.get", machine))).mapping()
        return {key: value for key, value in found.items() if isinstance(value, str)}

    async def set_metadata(self, app: str, machine: str, key: str, value: str | None) -> None:
        """Set one entry, without a restart; None deletes it."""
        doing = f"set the metadata {key} of machine {machine} of {app}"
        url = self._url(app, machine, "metadata", key)
        method, body = ("DELETE", None) if value is None else ("POST", {"value": value})
        ask = Ask(method, url, doing, "metadata.set", machine, body=body, repeatable=True)
        await self._wire.send(ask)

    async def _act(
        self,
        app: str,
        machine: str,
        action: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        lease: str | None = None,
    ) -> Answer:
        return await self._wire.send(
            Ask(
                "POST",
                self._url(app, machine, action),
                f"{action} machine {machine} of {app}",
                f"machine.{action}",
                machine,
                dict(query or {}),
                body,
                lease,
                repeatable=action in ("start", "stop", "suspend", "cordon", "uncordon"),
            )
        )

    def _url(self, app: str, *more: str) -> str:
        return self._wire.path("apps", app, "machines", *more)


def not_yet(exc: FlyError) -> bool:
    """Whether `start` was refused only because the machine is still on its way down, or being replaced."""
    return exc.status == 412 and any(text in exc.detail for text in _NOT_YET)
