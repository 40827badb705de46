"""Machines really run: their processes, their ends, and what is left of them."""

import json
import os
import signal
import time
from typing import Any

import httpx
import pytest

from harness import wait_until
from localfly.conftest import BOUND_S, SLEEPER, Fly, StartFly
from mcpctl import wire

TIME = ["uvx", "mcp-server-time"]
WRAP = ["uvx", "--from", f"mcpctl=={wire.VERSION}", "mcpctl", "wrap", "--spare", "0", "--"]
SERVICE = {
    "protocol": "tcp",
    "internal_port": 8080,
    "ports": [{"port": 443, "handlers": ["tls", "http"]}],
}
INITIALIZE = {
    "jsonrpc": "2.0", "id": 1, "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}},
}  # fmt: skip
TOKEN = {"FLY_MCP_BEARER_TOKEN": "let-me-in"}
IN = {"Authorization": "Bearer let-me-in", "Accept": "application/json, text/event-stream"}


def shell(script: str, **more: Any) -> dict[str, Any]:
    return {"image": "debian", "init": {"exec": ["/bin/sh", "-c", script]}} | more


def row(fly: Fly, machine: str) -> dict[str, Any]:
    return fly.do("GET", f"{machine}/ps")[0]


def address(fly: Fly, machine: str) -> str:
    return "http://" + row(fly, machine)["listen_sockets"][0]["address"]


def state_of(pid: int) -> str:
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0]


def last_exit(fly: Fly, machine: str) -> dict[str, Any]:
    events = fly.do("GET", f"{machine}/events?limit=50")
    return next(event for event in events if event["type"] == "exit")["request"]["exit_event"]


def answering(fly: Fly, url: str, **more: Any) -> httpx.Response:
    """What the machine answers, once it listens."""
    found: list[httpx.Response] = []

    def ask() -> bool:
        try:
            found.append(httpx.get(url, timeout=5, **more))
        except httpx.TransportError:
            return False
        return True

    wait_until(ask, f"an answer of {url}", BOUND_S)
    return found[0]


# ---------------------------------------------------------------- servers


@pytest.mark.slow
def test_a_server_behind_our_wrap(fly: Fly):
    app = fly.app("time")
    fly.do("POST", f"{app}/secrets", {"values": TOKEN})
    check = {"type": "http", "path": "/health", "interval": "2s", "grace_period": "60s"}
    config = {
        "image": "flyio/mcp",
        "init": {"entrypoint": WRAP, "cmd": TIME},
        "services": [SERVICE | {"checks": [check]}],
    }
    machine = fly.machine(app, config)
    wait_until(
        lambda: fly.do("GET", machine)["checks"][0]["status"] == "passing", "its check", BOUND_S
    )
    url = address(fly, machine) + "/mcp"
    host = {"Host": "time.localhost:1234"}
    answer = httpx.post(url, json=INITIALIZE, headers=IN | host, timeout=BOUND_S)
    assert "mcp-time" in answer.text, answer.text
    assert httpx.post(url, json=INITIALIZE, headers=host).status_code == 401
    assert (
        httpx.post(url, json=INITIALIZE, headers=IN | {"Host": "evil.example"}).status_code == 403
    )
    fly.do("DELETE", app)
    wait_until(lambda: not fly.processes(), "the end of all its processes", BOUND_S)


@pytest.mark.slow
def test_flyio_mcp_behaves_as_the_wrapper_of_flyctl(fly: Fly):
    app = fly.app("dialect")
    fly.do("POST", f"{app}/secrets", {"values": TOKEN})
    machine = fly.machine(app, {"image": "flyio/mcp", "init": {"cmd": TIME}, "services": [SERVICE]})
    url = address(fly, machine) + "/"
    assert answering(fly, url).status_code == 401
    assert (
        httpx.get(url, headers={"Authorization": IN["Authorization"], "Accept": "text/html"}).text
        == "MCP Server\n"
    )
    assert httpx.put(url, headers=IN).status_code == 405
    with httpx.stream("GET", url, headers=IN, timeout=BOUND_S) as listening:
        second = httpx.get(url, headers=IN)
        assert (second.status_code, second.text) == (409, "Another client is already connected\n")
        assert httpx.post(url, json=INITIALIZE, headers=IN).status_code == 202
        said = json.loads(next(listening.iter_lines()))
    assert said["result"]["serverInfo"]["name"] == "mcp-time"

    def free() -> bool:
        with httpx.stream("GET", url, headers=IN, timeout=5) as third:
            return third.status_code == 200

    wait_until(free, "the place at its stdout", BOUND_S)
    fly.do("DELETE", app)


def test_an_image_that_cannot_run_here_says_so(fly: Fly):
    app = fly.app("nginx")
    made = fly.do("POST", f"{app}/machines", {"config": {"image": "nginx:latest"}})
    machine = f"{app}/machines/{made['id']}"
    fly.wait(machine, "failed")
    error = fly.do("GET", machine)["events"][0]["request"]["error"]
    assert error.startswith("failed to launch: image nginx:latest cannot be run without containers")
    zero = fly.do(
        "POST", f"{app}/machines", {"config": {"image": "node", "init": {"cmd": ["a\0b"]}}}
    )
    fly.wait(f"{app}/machines/{zero['id']}", "failed")
    missing = fly.do(
        "POST",
        f"{app}/machines",
        {"config": {"image": "node", "init": {"cmd": ["no-such-program"]}}},
    )
    fly.wait(f"{app}/machines/{missing['id']}", "failed")
    assert any("no program no-such-program" in line for line in fly.logs(machine))
    fly.do("DELETE", app)


# ---------------------------------------------------------------- a process and its environment


def test_what_a_machine_sees(start_fly: StartFly):
    fly = start_fly(
        "--port", "0", env={"MY_TOKEN": "mine", "PIP_INDEX_URL": "x", "UV_PUBLISH_TOKEN": "mine"}
    )
    app = fly.app("sees")
    config = shell(
        "env; exec sleep 600",
        services=[SERVICE],
        env={"PRIMARY_REGION": "fra"},
        guest={"memory_mb": 512},
    )
    machine = fly.machine(app, config, region="fra")
    wait_until(lambda: any(line.startswith("PORT=") for line in fly.logs(machine)), "its words")
    env = dict(line.split("=", 1) for line in fly.logs(machine) if "=" in line)
    made = fly.do("GET", machine)
    assert env["FLY_APP_NAME"] == "sees"
    assert env["FLY_MACHINE_ID"] == env["FLY_ALLOC_ID"] == made["id"]
    assert (env["FLY_REGION"], env["PRIMARY_REGION"]) == ("fra", "fra")
    assert env["FLY_VM_MEMORY_MB"] == "512"
    assert env["FLY_MACHINE_VERSION"] == made["version"]
    assert env["PIP_INDEX_URL"] == "x"
    assert "mine" not in env.values()
    assert env["HOME"] == row(fly, machine)["directory"]
    assert env["PORT"] == address(fly, machine).rpartition(":")[2]


def test_its_files_are_new_with_each_start_unless_they_are_to_stay(fly: Fly):
    app = fly.app("files-stay")
    for persist, seen in (("never", ["0", "0"]), ("always", ["0", "1"])):
        config = shell("ls | wc -l; touch left; exec sleep 600", rootfs={"persist": persist})
        machine = fly.machine(app, config)
        instance = machine.rpartition("/")[2]

        def said(instance: str = instance) -> list[str]:
            page = fly.do("GET", "/api/v1/apps/files-stay/logs", params={"instance": instance})
            lines = [each["attributes"] for each in page["data"]]
            return [each["message"] for each in lines if each["meta"]["event"]["provider"] == "app"]

        wait_until(lambda said=said: said(), "the first start")
        fly.do("POST", f"{machine}/stop")
        fly.wait(machine, "stopped")
        fly.start_machine(machine)
        wait_until(lambda said=said: len(said()) == 2, "both starts")
        assert [line.strip() for line in said()] == seen
    fly.do("DELETE", app)


# ---------------------------------------------------------------- its end


@pytest.mark.parametrize(
    ("script", "code", "sign"),
    [
        ("trap 'exit 7' INT; while :; do sleep 0.05; done", 7, -1),
        ("trap '' INT; sleep 600", 137, 9),
        ("exec sleep 600", 130, 2),
    ],
)
def test_a_stop_asks_first_and_kills_then(fly: Fly, script, code, sign):
    app = fly.app(f"stop-{code}")
    machine = fly.machine(app, shell(f"echo ready; {script}"))
    wait_until(lambda: "ready" in fly.logs(machine), "its trap")
    pid = row(fly, machine)["pid"]
    fly.do("POST", f"{machine}/stop", {"signal": "SIGINT", "timeout": "1s"})
    fly.wait(machine, "stopped")
    ended = last_exit(fly, machine)
    assert (ended["exit_code"], ended["guest_signal"], ended["requested_stop"]) == (
        code,
        sign,
        True,
    )
    assert not os.path.exists(f"/proc/{pid}") or state_of(pid) == "Z"
    fly.do("DELETE", app)


def test_what_a_machine_leaves_behind_ends_with_it(fly: Fly):
    app = fly.app("leaves")
    machine = fly.machine(app, shell("sleep 600 & echo child $!; exit 0"), until="stopped")
    child = int(next(line for line in fly.logs(machine) if line.startswith("child")).split()[1])
    wait_until(
        lambda: not os.path.exists(f"/proc/{child}") or state_of(child) == "Z", "its child's end"
    )
    fly.do("DELETE", app)


def test_a_crash_is_followed_by_starts_until_it_is_too_much(fly: Fly):
    app = fly.app("crash")
    machine = fly.machine(
        app, shell("exit 3", restart={"policy": "on-failure", "max_retries": 2}), until="stopped"
    )
    exits = [
        event for event in fly.do("GET", f"{machine}/events?limit=50") if event["type"] == "exit"
    ]
    assert [event["request"]["exit_event"]["restarting"] for event in exits] == [False, True, True]
    assert exits[0]["request"]["exit_event"]["exit_code"] == 3
    fly.do("DELETE", app)


def test_auto_destroy(fly: Fly):
    app = fly.app("auto-destroy")
    made = fly.do("POST", f"{app}/machines", {"config": shell("exit 0", auto_destroy=True)})
    fly.wait(f"{app}/machines/{made['id']}", "destroyed")
    fly.do("DELETE", app)


def test_destroy_wants_force_while_it_runs(fly: Fly):
    app = fly.app("destroy")
    machine = fly.machine(app)
    pid = row(fly, machine)["pid"]
    refused = fly.ask("DELETE", machine)
    assert refused.status_code == 412
    assert "not currently stopped, suspended, failed or created" in refused.json()["error"]
    fly.do("DELETE", f"{machine}?kill=true")
    fly.wait(machine, "destroyed")
    assert not os.path.exists(f"/proc/{pid}") or state_of(pid) == "Z"
    fly.do("DELETE", app)


# ---------------------------------------------------------------- suspended


def test_suspend_keeps_the_process_and_stop_drops_it(fly: Fly):
    app = fly.app("suspend")
    machine = fly.machine(app)
    pid = row(fly, machine)["pid"]
    fly.do("POST", f"{machine}/suspend")
    fly.wait(machine, "suspended")
    wait_until(lambda: state_of(pid) == "T", "its standing still")
    fly.do("POST", f"{machine}/start")
    fly.wait(machine, "started")
    assert row(fly, machine)["pid"] == pid
    wait_until(lambda: state_of(pid) == "S", "its going on")
    fly.do("POST", f"{machine}/suspend")
    fly.do("POST", f"{machine}/stop")
    fly.wait(machine, "stopped")
    fly.start_machine(machine)
    assert row(fly, machine)["pid"] != pid
    large = fly.machine(app, SLEEPER | {"guest": {"memory_mb": 4096}})
    assert fly.ask("POST", f"{large}/suspend").status_code == 412
    fly.do("DELETE", app)


# ---------------------------------------------------------------- exec, signals, failures


def test_exec(fly: Fly):
    app = fly.app("exec")
    machine = fly.machine(app, SLEEPER | {"env": {"A": "1"}})
    done = fly.do(
        "POST",
        f"{machine}/exec",
        {"command": ["sh", "-c", "cat; echo $A >&2; exit 4"], "stdin": "in"},
    )
    assert done == {"exit_code": 4, "exit_signal": 0, "stdout": "in", "stderr": "1\n"}
    assert fly.do("POST", f"{machine}/exec", {"cmd": "echo old"})["stdout"] == "old\n"
    assert fly.do("POST", f"{machine}/exec", {"command": ["no-such-program"]})["exit_code"] == 127
    assert (
        fly.ask("POST", f"{machine}/exec", {"command": ["sleep", "60"], "timeout": 1}).status_code
        == 408
    )
    assert fly.ask("POST", f"{machine}/exec", {}).status_code == 400
    fly.do("POST", f"{machine}/stop")
    fly.wait(machine, "stopped")
    assert fly.ask("POST", f"{machine}/exec", {"command": ["true"]}).status_code == 412
    fly.do("DELETE", app)


def test_signals(fly: Fly):
    app = fly.app("signals")
    machine = fly.machine(
        app, shell("trap 'echo got it' USR1; echo ready; while :; do sleep 0.05; done")
    )
    wait_until(lambda: "ready" in fly.logs(machine), "its trap")
    fly.do("POST", f"{machine}/signal", {"signal": "SIGUSR1"})
    wait_until(lambda: "got it" in fly.logs(machine), "the signal")
    assert fly.ask("POST", f"{machine}/signal", {"signal": "SIGNOTHING"}).status_code == 400
    assert fly.ask("POST", f"{machine}/signal", {"signal": 9}).is_success
    fly.do("DELETE", app)


@pytest.mark.slow
def test_failures_that_are_wanted(start_fly: StartFly):
    fly = start_fly(
        "--port", "0", "--fault", "error,request=GET /v1/tokens/current,status=503,times=1"
    )
    assert [fly.ask("GET", "/v1/tokens/current").status_code for _ in range(2)] == [503, 200]
    app = fly.app("faults")
    fly.faults({"kind": "insufficient_capacity", "request": "POST /v1/apps/*/machines", "times": 1})
    refused = fly.ask("POST", f"{app}/machines", {"config": SLEEPER})
    assert (refused.status_code, refused.json()["status"]) == (412, "insufficient_capacity")
    fly.faults({"kind": "lost", "request": "POST /v1/apps/*/volumes", "times": 1})
    with pytest.raises(httpx.ReadTimeout):
        fly.ask("POST", f"{app}/volumes", {"name": "a"}, timeout=1.0)
    assert len(fly.do("GET", f"{app}/volumes")) == 1, "carried out, and its answer lost"
    fly.faults({"kind": "hang", "request": "POST /v1/apps/*/volumes", "times": 1})
    with pytest.raises(httpx.ReadTimeout):
        fly.ask("POST", f"{app}/volumes", {"name": "b"}, timeout=1.0)
    assert len(fly.do("GET", f"{app}/volumes")) == 1
    fly.faults({"kind": "fails_to_start", "app": "faults", "times": 1})
    made = fly.do("POST", f"{app}/machines", {"config": SLEEPER})
    fly.wait(f"{app}/machines/{made['id']}", "failed")
    fly.faults({"kind": "stuck_created", "times": 1})
    made = fly.do("POST", f"{app}/machines", {"config": SLEEPER})
    late = fly.ask("GET", f"{app}/machines/{made['id']}/wait", params={"timeout": 1})
    assert (late.status_code, fly.state(f"{app}/machines/{made['id']}")) == (408, "created")
    fly.faults({"kind": "unreachable"})
    shown = fly.do("GET", f"{app}/machines/{made['id']}")
    assert (shown["host_status"], shown.get("config")) == ("unreachable", None)
    assert fly.ask("PUT", "/_localfly/faults", [{"kind": "strange"}]).status_code == 400


@pytest.mark.slow
def test_cold_start_race_and_rate_limits(start_fly: StartFly):
    fly = start_fly("--port", "0", "--cold-start", "0.5", "--start-race", "0.5", "--rate-limits")
    app = fly.app("slow")
    begun = time.monotonic()
    machine = fly.machine(app)
    assert time.monotonic() - begun >= 0.5
    fly.do("POST", f"{machine}/stop", {"timeout": "1s"})
    fly.wait(machine, "stopped")
    refused = fly.ask("POST", f"{machine}/start")
    assert (refused.status_code, "machine still active" in refused.text) == (412, True)
    fly.start_machine(machine)
    answers = [fly.ask("POST", f"{machine}/cordon") for _ in range(10)]
    limited = [each for each in answers if each.status_code == 429]
    assert limited
    assert limited[0].json()["error"] == "rate limit exceeded"


# ---------------------------------------------------------------- its own end


@pytest.mark.slow
def test_state_survives(start_fly: StartFly):
    fly = start_fly()
    app = fly.app("kept")
    fly.do("POST", f"{app}/secrets", {"values": {"A": "1"}})
    runs, rests = fly.machine(app), fly.machine(app)
    fly.do("POST", f"{rests}/stop")
    fly.wait(rests, "stopped")
    suspended = fly.machine(app)
    fly.do("POST", f"{suspended}/suspend")
    fly.wait(suspended, "suspended")
    version, api = fly.do("GET", runs)["version"], fly.place["api"]
    said = fly.logs(runs)
    for how in (signal.SIGTERM, signal.SIGKILL):
        fly.end(how)
        wait_until(lambda: not fly.processes(), "the end of all machines", BOUND_S)
        fly.flags = ()
        fly.start()
        fly.wait(runs, "started")
        assert fly.do("GET", runs)["version"] == version
        assert fly.state(rests) == "stopped"
        assert fly.state(suspended) == "stopped", "a snapshot does not outlive its host"
        assert fly.do("GET", f"{app}/secrets")["secrets"][0]["name"] == "A"
        assert fly.logs(runs)[: len(said)] == said
        assert fly.place["api"] == api, "the ports stay"
        assert (
            fly.do("POST", f"{runs}/exec", {"command": ["sh", "-c", "echo $A"]})["stdout"] == "1\n"
        )


@pytest.mark.slow
def test_killed_it_leaves_no_process(start_fly: StartFly):
    fly = start_fly()
    app = fly.app("orphans")
    config = {
        "image": "flyio/mcp",
        "init": {"entrypoint": WRAP, "cmd": TIME},
        "services": [SERVICE],
    }
    running, suspended = fly.machine(app, config), fly.machine(app, config)
    answering(fly, address(fly, running) + "/health")
    answering(fly, address(fly, suspended) + "/health")
    fly.do("POST", f"{suspended}/suspend")
    fly.wait(suspended, "suspended")
    assert len(fly.processes()) > 2
    fly.end(signal.SIGKILL)
    wait_until(lambda: not fly.processes(), "the end of all its processes", BOUND_S)


@pytest.mark.slow
def test_a_second_one_is_refused(start_fly: StartFly):
    fly = start_fly()
    with pytest.raises(AssertionError, match="another localfly runs"):
        Fly(fly.folder, "--port", "0").start()


@pytest.mark.slow
def test_a_file_that_makes_no_sense_is_named(start_fly: StartFly):
    fly = start_fly()
    fly.app("broken")
    fly.end()
    file = fly.folder / "apps" / "broken" / "app.json"
    file.write_text("{")
    with pytest.raises(AssertionError, match=r"app\.json makes no sense"):
        fly.start()
    fly.process = None
