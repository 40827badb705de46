"""What goes wrong while something is launched is said, with what to do about it; and nothing is left."""

import json
import os
import signal
import stat
from pathlib import Path

import pytest

from fixtures.fly.inspecting import Reply, Seen, forward
from harness import wait_until
from launch.stage import WISH, LocalFly, assert_nothing_is_left, program

pytestmark = pytest.mark.slow

FULL = Reply(503, {"error": "no capacity", "status": "insufficient_capacity"})
TAKEN = Reply(
    422, {"error": "Validation failed: Name has already been taken", "status": "name_taken"}
)
BROKEN = Reply(500, {"error": "boom"})
APP, SECRETS, MACHINE = "POST /v1/apps", "POST /v1/apps/time/secrets", "POST /v1/apps/time/machines"
ADDRESS = "POST /v1/apps/time/ip_assignments"


def always(request: str, reply: Reply):
    return lambda _number, seen: reply if str(seen) == request else None


def once(request: str, reply: Reply):
    left = [reply]
    return lambda _number, seen: left.pop() if left and str(seen) == request else None


@pytest.mark.parametrize(
    ("change", "wish", "kind", "text"),
    [
        (always(APP, TAKEN), {"name": "time"}, "conflict", "--name"),
        (always(MACHINE, FULL), {}, "unreachable", "--region"),
        (always(MACHINE, FULL), {"region": "fra"}, "unreachable", "--region"),
        (always(SECRETS, BROKEN), {}, "unreachable", "status.fly.io"),
        (always(MACHINE, Reply(422, {"error": "invalid config"})), {}, "bad-request", "invalid config"),
        (always(MACHINE, Reply(401, {"error": "no"})), {}, "denied", "fly tokens create org"),
        (always(ADDRESS, Reply(403, {"message": "no"})), {}, "denied", "address"),
        (None, {"region": "xyz"}, "bad-request", "there is no region xyz"),
    ],
    ids=["taken", "full", "full-there", "500", "422", "401", "403", "region"],
)  # fmt: skip
def test_a_failure_is_said_and_undone(fly: LocalFly, tmp_path: Path, change, wish, kind, text):
    with program(tmp_path, fly, change) as made:
        error = made.launch(**wish)
        assert (error["event"], error["kind"]) == ("error", kind), error
        assert text in error["message"]
        assert_nothing_is_left(made)


def test_what_a_program_said_before_it_ended_is_shown(fly: LocalFly, tmp_path: Path):
    with program(tmp_path, fly) as made:
        events = made.run("launch", {"wish": {**WISH, "command": "sh -c 'echo I-cannot; exit 3'"}})
        assert_nothing_is_left(made)
    assert any("I-cannot" in event["text"] for event in events if event["event"] == "log")
    assert "does not stay up" in events[-1]["message"]
    assert "code 3" in events[-1]["message"]


def test_another_name_is_taken_when_nobody_has_said_one(fly: LocalFly, tmp_path: Path):
    with program(tmp_path, fly, once(APP, TAKEN)) as made:
        result = made.launch()
        assert result["app"].startswith("time-")
        assert result["server"] == "time"
        assert fly.apps() == [result["app"]]
        made.do("destroy")
        assert_nothing_is_left(made)


def test_an_app_of_the_user_is_left_alone(fly: LocalFly, tmp_path: Path):
    """One that was there before is never taken for ours, nor deleted."""
    fly.ask("/v1/apps", "POST", {"name": "time", "org_slug": "personal"})
    with program(tmp_path, fly) as made:
        assert made.launch(name="time")["kind"] == "conflict"
        assert fly.apps() == ["time"]
        assert made.record() is None
        made.run("launch", {"wish": {**WISH, "name": "time"}, "keep": True})
        assert made.do("destroy")["event"] == "result"
        assert fly.apps() == ["time"]
        assert made.record() is None
        result = made.launch()
        assert fly.apps() == ["time", result["app"]]
        made.do("destroy")
        assert fly.apps() == ["time"]
    fly.ask("/v1/apps/time", "DELETE")


def test_where_there_is_no_room_another_region_is_tried(fly: LocalFly, tmp_path: Path):
    with program(tmp_path, fly, once(MACHINE, FULL)) as made:
        result = made.launch()
        tried = [s.body["region"] for s in made.inspector.changing if str(s) == MACHINE]
        assert result["region"] == tried[1] != tried[0]
        assert len(fly.machines("time")) == 1
        made.do("destroy")


@pytest.mark.parametrize("request_", [APP, SECRETS, MACHINE, ADDRESS])
def test_an_answer_that_is_lost_costs_nothing(fly: LocalFly, tmp_path: Path, request_: str):
    """Fly has done it, and the connection breaks."""

    def change(_: int, seen: Seen) -> Reply | None:
        if str(seen) != request_ or lost:
            return None
        lost.append(forward(fly.place["api"], seen))
        return Reply(drop=True)

    lost: list[Reply] = []
    with program(tmp_path, fly, change) as made:
        result = made.launch()
        assert result["event"] == "result", result
        assert lost
        assert len(fly.addresses("time")) == 2
        assert len(fly.machines("time")) == 1
        made.do("destroy")
        assert_nothing_is_left(made)


def test_with_keep_all_stays_to_be_looked_at(fly: LocalFly, tmp_path: Path):
    with program(tmp_path, fly, always(ADDRESS, BROKEN)) as made:
        assert made.run("launch", {"wish": WISH, "keep": True})[-1]["event"] == "error"
        assert len(fly.machines("time")) == 1
        made.change = lambda _number, _seen: None
        assert made.launch()["event"] == "result"
        made.do("destroy")
        assert_nothing_is_left(made)


def test_what_cannot_be_undone_can_be_aborted(fly: LocalFly, tmp_path: Path):
    def change(_: int, seen: Seen) -> Reply | None:
        return BROKEN if seen.method == "DELETE" or str(seen) == ADDRESS else None

    with program(tmp_path, fly, change) as made:
        events = made.run("launch", {"wish": WISH})
        assert events[-1]["event"] == "error"
        assert any("--abort" in event["text"] for event in events)
        made.change = lambda _number, _seen: None
        assert (
            made.launch(env={"A": "b"})["kind"] == "conflict"
        )  # another wish cannot go on with it
        made.do("abort")
        assert_nothing_is_left(made)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_it_and_it_can_be_gone_on_with(fly: LocalFly, tmp_path: Path, number: int):
    def change(_: int, seen: Seen) -> Reply | None:
        if str(seen) == MACHINE and not sent:
            sent.append(True)
            assert made.running is not None
            made.running.send_signal(number)
            made.running.wait(60)
        return None

    sent: list[bool] = []
    with program(tmp_path, fly) as made:
        made.change = change
        error = made.launch()
        assert (error["event"], made.running and made.running.returncode) == ("error", 130)
        assert "run it again" in error["message"]
        assert made.launch()["event"] == "result"
        assert len(fly.machines("time")) == 1
        made.do("destroy")
        assert_nothing_is_left(made)


def test_a_wrong_token_and_no_fly_at_all(fly: LocalFly, tmp_path: Path):
    with program(tmp_path, fly) as made:
        place = made.state / "localfly" / "localfly.json"
        place.write_text(json.dumps({**json.loads(place.read_text()), "token": "wrong"}))
        assert made.launch()["kind"] == "denied"
        place.unlink()
        error = made.launch()
        assert error["kind"] == "unreachable"
        assert "mcpctl localfly start" in error["message"]
        assert_nothing_is_left(made)


def test_secrets_are_seen_by_nobody(fly: LocalFly, tmp_path: Path):
    with program(tmp_path, fly) as made:
        events = made.run("launch", {"wish": {**WISH, "secrets": {"KEY": "s3cr3t-value"}}})
        token = made.token()
        assert token is not None
        assert events[-1]["event"] == "result"
        shown = json.dumps(events) + json.dumps(made.record())
        assert token not in shown
        assert "s3cr3t-value" not in shown
        file = made.state / "launch" / "time.json"
        assert stat.S_IMODE(os.stat(file).st_mode) == 0o600
        sent = [s.body for s in made.inspector.changing if str(s) == SECRETS]
        assert sent == [{"values": {"KEY": "s3cr3t-value", "FLY_MCP_BEARER_TOKEN": token}}]
        made.do("destroy")
        assert_nothing_is_left(made)


def test_flycast_has_a_private_address_only(fly: LocalFly, tmp_path: Path):
    with program(tmp_path, fly) as made:
        result = made.launch(flycast=True)
        assert ".flycast.localhost:" in result["url"]
        (address,) = fly.addresses("time")
        assert address.startswith("fdaa:")
        made.do("destroy")
        wait_until(lambda: not fly.processes(), "the end of all machines")


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"wish": {"nonsense": 1}}', b"\xff"])
def test_a_request_that_is_none(fly: LocalFly, tmp_path: Path, text: bytes):
    with program(tmp_path, fly) as made:
        made.start("launch", text.decode("latin-1"))
        assert made.finish()[-1]["kind"] == "bad-request"
        assert made.run("nonsense", {})[-1]["kind"] == "bad-request"
