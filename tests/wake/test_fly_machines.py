"""The adapter against a real HTTP server: what each answer of the Machines API means to the plan."""

import contextlib
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from fixtures import scripted
from fixtures.scripted import Exchange
from mcpctld.fly.errors import Reason
from mcpctld.wake.fly_machines import FAILURES, FlyMachines, machines_at
from mcpctld.wake.machines import Failed, Machine, choose
from mcpctld.wake.states import Failure

TOKEN = "fo1_adapter"
ID = "148e21f0000000"


@contextlib.asynccontextmanager
async def api(folder: Path) -> AsyncIterator[tuple[scripted.Upstream, FlyMachines]]:
    """A Machines API as the local Fly of a state folder, and the machines behind it."""
    async with scripted.serve() as server:
        place(folder, server.port)
        machines = FlyMachines("local", str(folder))
        yield server, machines
        await machines.aclose()


def place(folder: Path, port: int, token: str = TOKEN) -> None:
    (folder / "localfly").mkdir(exist_ok=True)
    url = f"http://127.0.0.1:{port}"
    found = {"pid": os.getpid(), "api": url, "edge": url, "token": token}
    (folder / "localfly" / "localfly.json").write_text(json.dumps(found))


def answer(server: scripted.Upstream, method: str, status: int, body: Any) -> None:
    async def handle(exchange: Exchange) -> None:
        await exchange.json(body, status=status)

    server.handlers[method] = handle


def event(kind: str, status: str, at: int) -> dict[str, Any]:
    return {"type": kind, "status": status, "timestamp": at * 1000, "source": "user"}


@pytest.mark.parametrize(
    ("state", "events", "changed_at", "started_at"),
    [
        ("started", [event("start", "started", 30), event("exit", "stopped", 20)], 30, 30),
        ("stopped", [event("exit", "stopped", 40), event("start", "started", 30)], 40, 30),
        ("suspended", [event("suspend", "suspended", 50), event("start", "started", 3)], 50, 3),
        ("started", [event("launch", "created", 1)], None, None),
        ("started", [event("start", "starting", 1), event("start", "started", 2)], 2, 2),
        ("created", [], None, None),
    ],
)
async def test_a_machine_is_read_for_what_the_plan_and_the_ledger_need(
    tmp_path: Path, state: str, events: list[Any], changed_at: float, started_at: float
) -> None:
    async with api(tmp_path) as (server, machines):
        shape = {
            "id": ID,
            "state": state,
            "region": "fra",
            "events": events,
            "checks": [{"name": "alive", "status": "critical", "output": "refused"}],
            "config": {"metadata": {"mcpctl_server": "time"}},
            "unheard_of": {"x": 1},
        }
        answer(server, "GET", 200, shape)
        found = await machines.get("app", ID)
        assert found == Machine(
            ID, state, "fra", changed_at, started_at, (("alive", "critical"),), "time"
        )
        answer(server, "GET", 200, [shape])
        assert await machines.list("app") == [found]
        (one, all_) = (exchange.target for exchange in server.seen)
        assert one == f"/v1/apps/app/machines/{ID}"
        assert all_ == "/v1/apps/app/machines"
        assert {e.headers["authorization"] for e in server.seen} == {f"Bearer {TOKEN}"}


async def test_each_action_is_one_request(tmp_path: Path) -> None:
    async with api(tmp_path) as (server, machines):
        answer(server, "POST", 200, {"previous_state": "started"})
        assert await machines.start("app", ID)
        answer(server, "POST", 200, {"previous_state": "suspended"})
        assert not await machines.start("app", ID)
        await machines.suspend("app", ID)
        await machines.stop("app", ID)
        answer(server, "GET", 200, {"ok": True})
        await machines.wait("app", ID, 20.0)
        asked = [(e.method, e.target.partition(f"/{ID}/")[2]) for e in server.seen]
        assert asked[:4] == [("POST", one) for one in ("start", "start", "suspend", "stop")]
        assert asked[4][1].startswith("wait?state=started&timeout=")
        assert len(asked) == 5


@pytest.mark.parametrize(
    ("status", "body", "failure"),
    [
        (401, {"error": "Authenticate: token validation error"}, Failure.DENIED),
        (403, {"message": "Forbidden"}, Failure.DENIED),
        (404, {"error": "machine not found"}, Failure.NOT_FOUND),
        (400, {"error": "Could not find App"}, Failure.NOT_FOUND),
        (409, {"error": f"machine ID {ID} lease currently held by x@y"}, Failure.LEASE_HELD),
        (
            412,
            {"error": "failed_precondition: machine still active, refusing to start"},
            Failure.STILL_ACTIVE,
        ),
        (
            412,
            {"error": "failed_precondition: machine getting replaced, refusing to start"},
            Failure.STILL_ACTIVE,
        ),
        (
            412,
            {"error": "failed_precondition: unable to start machine from current state: 'created'"},
            Failure.REFUSED,
        ),
        (412, {"error": "insufficient resources to start"}, Failure.CAPACITY),
        (422, {"error": "x", "status": "insufficient_capacity"}, Failure.CAPACITY),
        (422, {"error": "no"}, Failure.REFUSED),
        (429, {"error": "rate limit exceeded"}, Failure.RATE_LIMITED),
        (500, {"error": "internal"}, Failure.UNAVAILABLE),
        (502, "<html>", Failure.UNAVAILABLE),
        (408, {"error": "deadline_exceeded"}, Failure.TIMED_OUT),
    ],
)
async def test_what_a_refusal_means(
    tmp_path: Path, status: int, body: Any, failure: Failure
) -> None:
    """Each is told at once, after one request: the plan decides what is made again."""
    async with api(tmp_path) as (server, machines):
        answer(server, "POST", status, body)
        with pytest.raises(Failed) as caught:
            await machines.start("app", ID)
        assert caught.value.failure is failure
        assert str(caught.value).startswith(f"cannot start machine {ID} of app: ")
        assert TOKEN not in str(caught.value)
        assert len(server.seen) == 1


def test_every_reason_has_a_meaning() -> None:
    assert set(FAILURES) == set(Reason)


async def test_how_long_to_wait_is_passed_on(tmp_path: Path) -> None:
    async with api(tmp_path) as (server, machines):

        @server.on("POST")
        async def later(exchange: Exchange) -> None:
            await exchange.answer(429, b"{}", ("Retry-After", "7"))

        with pytest.raises(Failed) as caught:
            await machines.suspend("app", ID)
        assert caught.value.retry_after_s == 7


async def test_a_new_token_and_a_new_address_are_taken_up(tmp_path: Path) -> None:
    machines = FlyMachines("local", str(tmp_path))
    async with scripted.serve() as first:
        place(tmp_path, first.port)
        answer(first, "GET", 401, {"error": "token"})
        with pytest.raises(Failed):
            await machines.get("app", ID)
        place(tmp_path, first.port, "fo1_other")
        answer(first, "GET", 200, {"id": ID, "state": "started"})
        assert (await machines.get("app", ID)).state == "started"
        assert first.seen[-1].headers["authorization"] == "Bearer fo1_other"
    async with scripted.serve() as second:
        place(tmp_path, second.port)
        answer(second, "GET", 200, {"id": ID, "state": "stopped"})
        with pytest.raises(Failed) as caught:  # at the old one nobody answers
            await machines.get("app", ID)
        assert caught.value.failure is Failure.UNAVAILABLE
        assert (await machines.get("app", ID)).state == "stopped"
        await machines.aclose()


async def test_without_a_fly_the_reason_is_told(tmp_path: Path) -> None:
    machines = FlyMachines("local", str(tmp_path))
    with pytest.raises(Failed, match="mcpctl localfly start") as caught:
        await machines.get("app", ID)
    assert caught.value.failure is Failure.DENIED


async def test_all_servers_on_one_fly_share_its_client(tmp_path: Path) -> None:
    one = await machines_at("local", str(tmp_path))
    assert await machines_at("local", str(tmp_path)) is one
    assert await machines_at("fly.io", str(tmp_path)) is not one


@pytest.mark.parametrize(
    ("machines", "chosen"),
    [
        ([], None),
        ([Machine("a", "destroyed"), Machine("b", "replaced")], None),
        ([Machine("a", "stopped"), Machine("b", "started")], "b"),
        ([Machine("b", "stopped"), Machine("a", "suspended")], "a"),
        ([Machine("a", "started", server="other"), Machine("b", "stopped", server="time")], "b"),
        ([Machine("a", "started", server="other")], "a"),
    ],
)
def test_which_machine_stands_for_an_app(machines: list[Machine], chosen: str | None) -> None:
    found = choose(machines, "time")
    assert (found.id if found else None) == chosen
