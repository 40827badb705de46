"""A launch that is killed at any request that changes something ends in one app, or in none."""

from pathlib import Path

import pytest

from fixtures.fly.inspecting import Reply, Seen, forward
from launch.stage import WISH, LocalFly, Program, assert_nothing_is_left, program

pytestmark = pytest.mark.slow

WITH_VOLUME = {"volume": "data:/data:initial_size=1"}
CHANGES = [
    "POST /v1/apps",
    "POST /v1/apps/time/secrets",
    "POST /v1/apps/time/volumes",
    "POST /v1/apps/time/machines",
    "POST /v1/apps/time/ip_assignments",
    "POST /v1/apps/time/ip_assignments",
]
"""Every request of a launch that changes something, in their order."""
EACH_AFTER = [(number, True) for number in range(len(CHANGES))]
EACH_BEFORE = [(number, False) for number in range(len(CHANGES))]


def killing(made: Program, at: int, *, carried_out: bool):
    """The program is killed when request `at` has come, before or after Fly has carried it out."""

    def change(number: int, seen: Seen) -> Reply | None:
        if number != at:
            return None
        if carried_out:
            forward(made.fly.place["api"], seen)
        made.kill()
        return Reply(drop=True)

    return change


def killed(made: Program) -> bool:
    """Launch; whether it has come to no end."""
    events = made.run("launch", {"wish": {**WISH, **WITH_VOLUME}})
    return not {"result", "error"} & {event["event"] for event in events}


def test_what_a_launch_changes(fly: LocalFly, tmp_path: Path):
    """The list above is the whole one; the same launch once more is refused."""
    with program(tmp_path, fly) as made:
        result = made.launch(**WITH_VOLUME)
        assert result["event"] == "result", result
        assert [str(seen) for seen in made.inspector.changing] == CHANGES
        assert made.launch(**WITH_VOLUME)["kind"] == "conflict"
        assert made.do("destroy")["event"] == "result"
        assert_nothing_is_left(made)


@pytest.mark.parametrize(("at", "carried_out"), [*EACH_AFTER, (0, False), (3, False)])
def test_run_again_it_ends_in_one_app(fly: LocalFly, tmp_path: Path, at: int, carried_out: bool):
    with program(tmp_path, fly) as made:
        made.change = killing(made, at, carried_out=carried_out)
        assert killed(made)
        made.change = lambda _number, _seen: None
        result = made.launch(**WITH_VOLUME)
        assert result["event"] == "result", result
        assert fly.apps() == ["time"]
        (machine,) = fly.machines("time")
        assert machine["id"] == result["machine"]
        assert [mount["path"] for mount in machine["config"]["mounts"]] == ["/data"]
        assert len(fly.ask("/v1/apps/time/volumes")) == 1
        assert len(fly.addresses("time")) == 2
        assert made.token() is not None
        made.do("destroy")
        assert_nothing_is_left(made)


@pytest.mark.parametrize(("at", "carried_out"), [*EACH_BEFORE, (0, True), (3, True)])
def test_aborted_it_leaves_nothing(fly: LocalFly, tmp_path: Path, at: int, carried_out: bool):
    with program(tmp_path, fly) as made:
        made.change = killing(made, at, carried_out=carried_out)
        assert killed(made)
        made.change = lambda _number, _seen: None
        assert made.record() is not None
        assert made.do("abort")["event"] == "result"
        assert_nothing_is_left(made)
        assert made.do("abort")["kind"] == "not-found"
