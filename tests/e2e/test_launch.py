"""`mcpctl launch` and its kin, from the command line to processes that answer, on the local Fly."""

import json
import signal
import subprocess
import tomllib
import urllib.request
from collections.abc import Iterator

import pytest

from harness import Home, program, wait_until

TIME = "uvx mcp-server-time"
BOUND_S = 180.0
TOKEN = "s3cret-of-the-test"

pytestmark = pytest.mark.slow


@pytest.fixture
def place(home: Home) -> Iterator[Home]:
    """A home whose local Fly ends with the test."""
    yield home
    home.mcpctl("localfly", "stop", within_s=BOUND_S)


def done(home: Home, *words: str) -> str:
    finished = home.mcpctl(*words, within_s=BOUND_S)
    assert finished.code == 0, finished.err
    assert TOKEN not in finished.out + finished.err
    return finished.out


def now(home: Home) -> str:
    return done(home, "call", "time", "get_current_time", '{"timezone": "UTC"}')


def follow(home: Home) -> None:
    """Read the server's log until there is something in it, and end it as a user would."""
    argv = [program("mcpctl"), "logs", "time", "--json"]
    file = home.path / "log"
    with open(file, "wb") as out:
        following = subprocess.Popen(argv, env=home.env, cwd=home.path, stdout=out)
    wait_until(lambda: b"server.ready" in file.read_bytes(), "a line of the log", BOUND_S)
    following.send_signal(signal.SIGINT)
    assert following.wait(BOUND_S) == 130


def runs_in(home: Home, zone: str) -> bool:
    """Whether a process of the server has this time zone for its own."""
    return any(zone in process.argv for process in home.processes())


def test_a_server_from_its_launch_to_its_end(place: Home) -> None:
    config = place.path / "mcp.json"
    words = ("--local", "--server", "time", "--config", str(config), "--secret", f"MINE={TOKEN}")
    out = done(place, "launch", TIME, *words, "--setup", "RUN echo set up")
    assert out.startswith("launched time: app time, http://time.localhost:")
    server = tomllib.loads((place.config_dir / "servers" / "time.toml").read_text())
    assert server["fly"]["at"] == "local"
    assert server["headers"] == {"Authorization": "Bearer ${secret:bearer-token}"}
    assert json.loads(config.read_text())["mcpServers"]["time"]["args"][-1] == "time"
    assert '"timezone": "UTC"' in now(place)

    log = [
        json.loads(line) for line in done(place, "logs", "time", "--no-tail", "--json").splitlines()
    ]
    assert "set up" in [line["text"] for line in log if line["provider"] == "app"]
    assert len(done(place, "logs", "time", "-n", "2").splitlines()) == 2
    follow(place)
    [listed] = json.loads(done(place, "list", "--json"))["servers"]
    assert listed["fly"]["app"] == "time"
    assert "(app time, machine " in done(place, "list")
    assert "started" in done(place, "status", "time")
    [machine] = json.loads(done(place, "status", "time", "--json"))["machines"]
    assert machine["id"] == listed["fly"]["machine"]

    assert "MINE" in done(place, "secrets", "time")
    done(place, "secrets", "time", "--unset", "MINE")
    assert "MINE" not in done(place, "secrets", "time")
    done(place, "update", "time", "uvx mcp-server-time --local-timezone Asia/Tokyo")
    assert runs_in(place, "Asia/Tokyo")
    done(place, "rollback", "time")
    assert not runs_in(place, "Asia/Tokyo")
    assert '"timezone": "UTC"' in now(place)

    done(place, "destroy", "time", "--yes")
    assert json.loads(config.read_text()) == {"mcpServers": {}}
    assert list((place.config_dir / "servers").iterdir()) == []
    assert "time" not in json.loads((place.state_dir / "secrets.json").read_text())
    assert json.loads(done(place, "list", "--json"))["servers"] == []
    for file in place.state_dir.rglob("*"):
        assert not file.is_file() or TOKEN.encode() not in file.read_bytes(), file


def test_other_ways_to_be_let_in(place: Home) -> None:
    for words in (("--wrapper", "fly"), ("--user", "me", "--password", TOKEN)):
        done(place, "launch", TIME, "--local", "--server", "time", *words)
        assert '"timezone": "UTC"' in now(place)
        done(place, "destroy", "time", "--yes")


def test_a_launch_that_is_interrupted_is_gone_on_with_or_taken_back(place: Home) -> None:
    done(place, "localfly", "start", "--cold-start", "5")
    argv = [program("mcpctl"), "launch", TIME, "--local", "--server", "time"]
    launching = subprocess.Popen(
        argv, env=place.env, cwd=place.path, stderr=subprocess.PIPE, text=True
    )
    assert launching.stderr
    for line in launching.stderr:
        if "app time" in line:
            break
    launching.send_signal(signal.SIGINT)
    rest = launching.stderr.read()
    assert launching.wait(BOUND_S) == 130, rest
    launching.stderr.close()
    assert not (place.config_dir / "servers" / "time.toml").exists()
    done(place, "launch", "--abort", "--local", "--server", "time")
    done(place, "launch", TIME, "--local", "--server", "time")
    assert '"timezone": "UTC"' in now(place)
    done(place, "destroy", "time", "--yes")


def steps(home: Home, *words: str) -> dict[str, list[str]]:
    """What `mcpctl doctor` finds on the way to the server: by step, the levels."""
    finished = home.mcpctl("doctor", "time", "--json", *words, within_s=BOUND_S)
    assert TOKEN not in finished.out + finished.err
    findings = finished.json()["servers"][0]["findings"]
    assert finished.code == int("problem" in [one["level"] for one in findings]), finished
    found: dict[str, list[str]] = {}
    for one in findings:
        found.setdefault(one["step"], []).append(one["level"])
    return found


def state(home: Home) -> str:
    """Of the machine, as Fly has it."""
    [machine] = json.loads(done(home, "status", "time", "--json"))["machines"]
    return str(machine["state"])


def stop(home: Home) -> None:
    """Put the machine to sleep behind the daemon's back, and wait until it sleeps."""
    file = json.loads((home.state_dir / "localfly" / "localfly.json").read_text())
    [machine] = json.loads(done(home, "status", "time", "--json"))["machines"]
    request = urllib.request.Request(
        f"{file['api']}/v1/apps/time/machines/{machine['id']}/stop",
        method="POST",
        headers={"Authorization": f"Bearer {file['token']}"},
    )
    urllib.request.urlopen(request, timeout=30).close()
    wait_until(lambda: state(home) == "stopped", "a machine that sleeps", BOUND_S)


def test_the_way_to_a_machine_is_checked_and_sleep_is_respected(place: Home) -> None:
    done(place, "launch", TIME, "--local", "--server", "time", "--auto-stop", "stop")
    awake = steps(place)
    for step in ("configuration", "name", "tcp", "http", "health", "auth", "handshake"):
        assert awake[step] == ["ok"], awake
    assert set(awake["fly"]) == {"ok"}, awake
    assert state(place) == "started"
    stop(place)
    assert steps(place) == {
        "configuration": ["ok"], "name": ["ok"], "network": ["skipped"], "fly": ["ok"],
    }  # fmt: skip
    assert state(place) == "stopped"
    woken = steps(place, "--wake")
    assert woken["wake"] == woken["handshake"] == ["ok"], woken
    assert state(place) == "started"
    done(place, "destroy", "time", "--yes")
