"""The client against a scripted API, over real sockets; each request is held against the OpenAPI document."""

import subprocess
import sys

import pytest
import trio

from fixtures.fly.inspecting import Reply
from mcpctld.fly.errors import FlyError, Reason
from mcpctld.fly.http import LEASE_NONCE
from mcpctld.fly.machines import not_yet

ID, VERSION = "148e21b2c93d89", "01M8HK0V8GCP9FDCX2Q7YRTVTZ"
MACHINE = {
    "id": ID,
    "state": "started",
    "region": "fra",
    "instance_id": VERSION,
    "config": {"image": "flyio/mcp", "metadata": {"mcpctl_launch": "a1"}, "new": [1]},
    "checks": [{"name": "up", "status": "passing", "extra": 1}, "odd"],
    "events": [
        {"type": "exit", "request": {"MonitorEvent": {"exit_event": {"exit_code": 3}}}},
        {"type": "start", "timestamp": 1750000000000, "request": None},
    ],
    "cordoned": None,
    "name": 7,
    "brand_new": {},
}
BUSY = Reply(503, {"error": "try later"})
LOST = Reply(drop=True)


def refusal(status: int, text: str, **headers: str) -> Reply:
    return Reply(status, {"error": text}, dict(headers))


# ------------------------------------------------------------ what is sent, what is read


async def test_a_machine_is_read_leniently(stage):
    with stage(Reply(200, MACHINE)) as (fly, seen):
        async with fly:
            machine = await fly.machines.get("time", ID)
    assert (machine.id, machine.state, machine.version) == (ID, "started", VERSION)
    assert machine.metadata == {"mcpctl_launch": "a1"}
    assert [(check.name, check.status) for check in machine.checks] == [("up", "passing")]
    assert [event.exit_code for event in machine.events] == [3, None]
    assert machine.raw["brand_new"] == {}
    assert machine.config["new"] == [1]
    assert machine.name == ""
    assert seen.seen[0].headers["authorization"] == "FlyV1 fm2_secret"


async def test_while_a_host_is_gone_the_config_is_what_is_known_of_it(stage):
    told = {
        "id": ID,
        "config": None,
        "incomplete_config": {"image": "x"},
        "host_status": "unreachable",
    }
    with stage(Reply(200, told)) as (fly, _):
        async with fly:
            assert (await fly.machines.get("time", ID)).config == {"image": "x"}


async def test_lists_are_read_page_by_page(stage):
    pages = [
        Reply(200, [MACHINE], {"fly-next-cursor": "two"}),
        Reply(200, [MACHINE], {"fly-next-cursor": "three"}),
        Reply(200, []),
    ]
    with stage(*pages) as (fly, seen):
        async with fly:
            assert len(await fly.machines.list("time", metadata={"mcpctl_launch": "a1"})) == 2
    assert [s.query.get("cursor") for s in seen.seen] == [None, ["two"], ["three"]]
    assert all(s.query["metadata.mcpctl_launch"] == ["a1"] for s in seen.seen)


async def test_every_request_is_one_of_the_document(stage):
    """The inspector fails the test for any that is not."""
    with stage(Reply(200, {"data": {"nonce": "n"}, "nonce": "n"}), limits=None) as (fly, seen):
        async with fly:
            await fly.apps.create("time", "personal", key="k")
            await fly.apps.find("time")
            await fly.apps.list("personal")
            await fly.apps.delete("time")
            await fly.secrets.set("time", {"A": "x", "B": None})
            await fly.secrets.list("time")
            await fly.volumes.create("time", {"name": "data", "region": "fra", "size_gb": 1})
            await fly.volumes.extend("time", "vol_1", 3)
            await fly.volumes.delete("time", "vol_1")
            await fly.addresses.list("time")
            await fly.addresses.assign("time", "shared_v4")
            await fly.addresses.release("time", "fdaa::1")
            await fly.platform.regions()
            await fly.platform.placements("personal", {"cpus": 1, "memory_mb": 256})
            await fly.platform.tokens()
            await fly.machines.create(
                "time", {"region": "fra", "config": {"image": "x"}, "min_secrets_version": 3}
            )
            await fly.machines.update(
                "time", ID, {"config": {"image": "x"}, "current_version": VERSION}, lease="n"
            )
            await fly.machines.start("time", ID)
            await fly.machines.stop("time", ID, signal="SIGTERM", timeout_s=10)
            await fly.machines.suspend("time", ID, lease="n")
            await fly.machines.restart("time", ID)
            await fly.machines.signal("time", ID, "SIGTERM")
            await fly.machines.cordon("time", ID)
            await fly.machines.cordon("time", ID, off=True)
            await fly.machines.exec("time", ID, ["ls", "/"], stdin="x")
            await fly.machines.set_metadata("time", ID, "k", "v")
            await fly.machines.set_metadata("time", ID, "k", None)
            await fly.machines.metadata("time", ID)
            await fly.machines.wait("time", ID, "stopped", seconds=5, version=VERSION)
            await fly.machines.destroy("time", ID, force=True)
            await fly.leases.take("time", ID, ttl_s=30, nonce="n")
            await fly.leases.find("time", ID)
            await fly.leases.release("time", ID, "n")
    assert len(seen.seen) == 33


async def test_regions_in_capitals_and_secrets_by_their_old_name(stage):
    rows = [{"code": "fra"}, {"code": "ams"}, {"code": "atl", "deprecated": True}]
    with stage(Reply(200, {"Nearest": "ams", "Regions": rows}), Reply(200, {"Version": 4})) as (
        fly,
        _,
    ):
        async with fly:
            regions = await fly.platform.regions()
            assert await fly.secrets.set("time", {"A": "x"}) == 4
    assert (regions.nearest, regions.codes) == ("ams", ["ams", "fra"])


async def test_the_kinds_of_addresses(stage):
    ips = [
        {"ip": "fdaa:1::2"},
        {"ip": "1.2.3.4", "shared": True},
        {"ip": "1.2.3.5"},
        {"ip": "2a09::1"},
    ]
    with stage(Reply(200, {"ips": ips})) as (fly, _):
        async with fly:
            found = await fly.addresses.list("time")
    assert [address.type for address in found] == ["private_v6", "shared_v4", "v4", "v6"]


async def test_an_address_that_is_there_already_is_no_failure(stage):
    there = Reply(200, {"ips": [{"ip": "2a09::1"}]})
    with stage(refusal(422, "already allocated"), there) as (fly, _):
        async with fly:
            assert await fly.addresses.assign("time", "v6") is None
    with stage(refusal(422, "no"), there) as (fly, _):
        async with fly:
            with pytest.raises(FlyError, match="no"):
                await fly.addresses.assign("time", "private_v6")


async def test_graphql_says_errors_with_status_200(stage):
    wrong = {
        "data": None,
        "errors": [{"message": "Not you", "extensions": {"code": "UNAUTHORIZED"}}],
    }
    nodes = [{"id": "1", "slug": "personal", "rawSlug": "joe"}]
    with stage(Reply(200, wrong), Reply(200, {"data": {"organizations": {"nodes": nodes}}})) as (
        fly,
        _,
    ):
        async with fly:
            with pytest.raises(FlyError, match="Not you") as caught:
                await fly.graphql.organizations()
            (found,) = await fly.graphql.organizations()
    assert caught.value.reason is Reason.DENIED
    assert (found.slug, found.raw_slug) == ("personal", "joe")


# ------------------------------------------------------------ what fails, and what is made again


async def test_a_read_is_made_again(stage):
    with stage(BUSY, LOST, Reply(200, MACHINE)) as (fly, seen):
        async with fly:
            assert (await fly.machines.get("time", ID)).id == ID
    assert len(seen.seen) == 3


@pytest.mark.parametrize("reply", [BUSY, LOST, Reply(504, b"")], ids=["503", "lost", "504"])
@pytest.mark.parametrize("noun", ["machines", "volumes"])
async def test_what_would_be_made_twice_is_not_made_again(stage, reply, noun):
    with stage(reply, Reply(200, MACHINE)) as (fly, seen):
        async with fly:
            with pytest.raises(FlyError):
                await getattr(fly, noun).create("time", {"region": "fra"})
    assert len(seen.seen) == 1


async def test_what_was_refused_for_its_rate_is_made_again(stage):
    with stage(
        refusal(429, "rate limit exceeded", **{"retry-after": "0"}), Reply(200, MACHINE)
    ) as (fly, seen):
        async with fly:
            await fly.machines.create("time", {"config": {"image": "x"}})
    assert len(seen.seen) == 2


async def test_an_impatient_client_hears_of_each_failure(stage):
    with stage(refusal(429, "rate limit exceeded"), Reply(200, MACHINE), patient=False) as (
        fly,
        seen,
    ):
        async with fly:
            with pytest.raises(FlyError) as caught:
                await fly.machines.get("time", ID)
    assert caught.value.reason is Reason.RATE_LIMITED
    assert len(seen.seen) == 1


async def test_an_app_with_a_key_is_asked_for_again(stage):
    with stage(LOST, Reply(201, {"id": "time"})) as (fly, seen):
        async with fly:
            await fly.apps.create("time", "personal", key="k")
    assert [s.body["idempotency_key"] for s in seen.seen] == ["k", "k"]


@pytest.mark.parametrize(
    ("status", "text"), [(422, "Name has already been taken"), (409, "exists")]
)
async def test_a_name_that_is_taken(stage, status, text):
    with stage(refusal(status, text)) as (fly, _):
        async with fly:
            with pytest.raises(FlyError, match="--name") as caught:
                await fly.apps.create("time", "personal", key="k")
    assert caught.value.reason is Reason.NAME_TAKEN


async def test_waiting_asks_again_at_the_end_of_each_request(stage):
    late = refusal(408, "deadline_exceeded")
    with stage(late, late, Reply(200, {"ok": True})) as (fly, seen):
        async with fly:
            await fly.machines.wait("time", ID, "started", seconds=300)
    assert [s.query["timeout"] for s in seen.seen] == [["60"]] * 3


async def test_waiting_ends_in_time(stage):
    with stage(refusal(408, "deadline_exceeded")) as (fly, seen):
        async with fly:
            with pytest.raises(FlyError) as caught:
                await fly.machines.wait("time", ID, "started", seconds=0.2)
    assert caught.value.reason is Reason.TIMED_OUT
    assert seen.seen[0].query["timeout"] == ["1"]


async def test_what_is_gone_is_destroyed(stage):
    with stage(refusal(404, "not found")) as (fly, _):
        async with fly:
            await fly.machines.wait("time", ID, "destroyed", seconds=5)
            await fly.machines.destroy("time", ID)
            await fly.apps.delete("time")
            assert await fly.apps.find("time") is None
            with pytest.raises(FlyError):
                await fly.machines.wait("time", ID, "started", seconds=5)


STILL = refusal(412, "failed_precondition: machine still active, refusing to start")
CREATED = refusal(412, "failed_precondition: unable to start machine from current state: 'created'")


async def test_start_waits_for_a_machine_on_its_way_down(stage):
    with stage(STILL, Reply(200, {"previous_state": "stopped"})) as (fly, seen):
        async with fly:
            assert (await fly.machines.start("time", ID, patience_s=30)).previous_state == "stopped"
    assert len(seen.seen) == 2


@pytest.mark.parametrize(("reply", "patience_s"), [(STILL, 0.0), (CREATED, 30.0)])
async def test_start_does_not_wait_for_nothing(stage, reply, patience_s):
    with stage(reply) as (fly, seen):
        async with fly:
            with pytest.raises(FlyError) as caught:
                await fly.machines.start("time", ID, patience_s=patience_s)
    assert caught.value.reason is Reason.PRECONDITION
    assert not_yet(caught.value) is (reply is STILL)
    assert len(seen.seen) == 1


async def test_a_lease_is_given_back_whatever_happens(stage):
    lease = Reply(
        201, {"status": "success", "data": {"nonce": "n1", "owner": "me", "expires_at": 5}}
    )
    with stage(lease, Reply(200, {"ok": True})) as (fly, seen):
        async with fly:
            with pytest.raises(KeyError):  # noqa: PT012 -- the block is what is tested
                async with fly.leases.held("time", ID, ttl_s=30) as nonce:
                    assert nonce == "n1"
                    raise KeyError
    assert [s.method for s in seen.seen] == ["POST", "DELETE"]
    assert seen.seen[1].headers[LEASE_NONCE] == "n1"


async def test_a_lease_of_somebody_else(stage):
    with stage(refusal(409, f"machine ID {ID} lease currently held by x@tokens.fly.io")) as (
        fly,
        _,
    ):
        async with fly:
            with pytest.raises(FlyError, match="wait until the lease ends") as caught:
                await fly.leases.take("time", ID, ttl_s=30)
    assert caught.value.reason is Reason.LEASE_HELD


@pytest.mark.parametrize("body", [b"<html>", b"[1]", b'"text"', b"\xff"])
async def test_an_answer_that_makes_no_sense(stage, body):
    with stage(Reply(200, body)) as (fly, _):
        async with fly:
            with pytest.raises(FlyError) as caught:
                await fly.machines.get("time", ID)
    assert caught.value.reason is Reason.BROKEN


async def test_nobody_listens(stage):
    with stage() as (fly, inspector):
        pass
    async with fly:
        with pytest.raises(FlyError) as caught:
            await fly.machines.create("time", {})
    assert caught.value.reason is Reason.UNREACHABLE
    assert caught.value.unprocessed
    assert inspector.url.removeprefix("http://") in str(caught.value)


async def test_names_cannot_leave_their_place_in_the_path(stage):
    with stage(Reply(200, MACHINE)) as (fly, seen):
        async with fly:
            await fly.machines.get("time/../x", "a?b#c")
    assert seen.seen[0].target == "/v1/apps/time%2F..%2Fx/machines/a%3Fb%23c"


# ------------------------------------------------------------ logs


def page(token: str, *messages: str) -> Reply:
    rows = [
        {
            "id": "1",
            "attributes": {"message": m, "timestamp": "t", "meta": {"event": {"provider": "app"}}},
        }
        for m in messages
    ]
    return Reply(200, {"data": rows, "meta": {"next_token": token}})


async def test_logs_are_followed(stage):
    script = [page("1", "a", "b"), page("1"), BUSY, page("2", "c")]
    with stage(*script, patient=False) as (fly, seen):
        async with fly:
            follower = fly.logs.follow("time", instance=ID)
            with trio.fail_after(60):
                assert [line.message for line in await follower.next()] == ["a", "b"]
                assert [(line.message, line.provider) for line in await follower.next()] == [
                    ("c", "app")
                ]
    assert [s.query.get("next_token") for s in seen.seen] == [None, ["1"], ["1"], ["1"]]
    assert all(s.query["instance"] == [ID] for s in seen.seen)


async def test_logs_of_no_app_end(stage):
    with stage(refusal(401, "unauthorized")) as (fly, _):
        async with fly:
            with pytest.raises(FlyError):
                await fly.logs.follow("time").next()


def test_the_client_is_small_until_it_is_used():
    code = "import sys, mcpctld.fly.client; sys.exit('httpx' in sys.modules or 'ruamel' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
