import json

import pytest

MACHINE = {
    "app": "time-app",
    "id": "148e21f",
    "at": "fly.io",
    "policy": "attached",
    "state": "suspended",
    "region": "fra",
    "checks": {"health": "passing"},
    "restarts": 0,
    "wake_p50_s": 1.25,
    "wake_p90_s": 4.0,
    "next_wake_at": None,
    "trouble": None,
}


@pytest.fixture
def time(daemon, run):
    run("add", "--server", "time", "--url", "https://one/")
    daemon.machines["time"] = dict(MACHINE)
    return daemon.machines["time"]


def machine_row(run):
    lines = run("status")[1].splitlines()
    heads = [nth for nth, line in enumerate(lines) if line.startswith("MACHINE OF")]
    return " ".join(lines[heads[0] + 1].split()) if heads else None


def test_wake_says_what_is_awake_and_how_long_that_took(time, run):
    assert run("wake", "time") == (0, "time is awake: time-app 148e21f, 2.2 s\n", "")
    assert json.loads(run("wake", "time", "--json")[1])["machine"] == MACHINE


def test_wake_fails_with_the_daemons_reason(daemon, run):
    code, out, err = run("wake", "other")
    assert (code, out) == (2, "")
    assert err == "mcpctl: other has no machine\n"


def test_status_shows_machines_where_there_are_some(daemon, run):
    run("add", "--server", "time", "--url", "https://one/")
    assert machine_row(run) is None
    daemon.machines["time"] = MACHINE
    assert machine_row(run) == "time time-app suspended attached 1.2 s (4.0 s) - passing -"


def test_status_shows_what_is_the_matter_with_a_machine(time, run):
    time |= {"at": "local", "checks": {"health": "critical", "ok": "passing"}, "restarts": 3}
    time |= {"wake_p50_s": None, "wake_p90_s": None, "trouble": "no token"}
    row = machine_row(run)
    assert row == (
        "time time-app (local) suspended attached - - health critical, 3 restarts no token"
    )


def test_cost_is_shown_by_who_the_dearest_first_and_as_a_sum(daemon, run):
    total = {"schedule": 60.0, "editor": 7260.0}
    daemon.cost = [
        {
            "server": "time",
            "today_s": {"editor": 59.0},
            "month_s": total,
            "total_s": total,
            "awake": True,
        },
        {"server": "x", "today_s": {}, "month_s": {}, "total_s": {"a": 1.0}, "awake": False},
        {"server": "y", "today_s": {}, "month_s": {}, "total_s": {}, "awake": False},
    ]
    code, out, _ = run("status", "--cost")
    assert code == 0
    assert [" ".join(line.split()) for line in out.splitlines()] == [
        "SERVER AWAKE FOR TODAY 30 DAYS ALL NOW",
        "time editor 59 s 2 h 1 min 2 h 1 min awake",
        "time schedule 0 s 1 min 0 s 1 min 0 s awake",
        "time all 59 s 2 h 2 min 2 h 2 min awake",
        "x a 0 s 0 s 1 s asleep",
        "y all 0 s 0 s 0 s asleep",
    ]
    assert json.loads(run("status", "--cost", "--json")[1]) == {"servers": daemon.cost}


def test_cost_without_machines_says_so(daemon, run):
    assert run("status", "--cost")[1].startswith("no machine was awake yet")
