import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from harness import wait_until
from mcpctl import daemon_process, service, wire
from mcpctl.commands import daemon as daemon_command

SYSTEMCTL = """\
#!/bin/sh
# Remembers in files which units are active, as the user manager would.
echo "$*" >>"$STATE/calls"
shift  # --user
case "$1" in
  --quiet) shift 2; for unit; do [ -e "$STATE/$unit" ] || exit 3; done ;;
  start|restart) shift; for unit; do : >"$STATE/$unit"; done ;;
  enable) shift 2; for unit; do : >"$STATE/$unit"; done ;;
  stop) shift; for unit; do rm -f "$STATE/$unit"; done ;;
  disable) shift 2; for unit; do rm -f "$STATE/$unit"; done ;;
esac
[ ! -e "$STATE/fail-$1" ] || { echo "Failed to $1: no luck" >&2; exit 1; }
"""

LAUNCHCTL = """\
#!/bin/sh
echo "$*" >>"$STATE/calls"
case "$1" in
  print) [ -e "$STATE/loaded" ] || exit 113; cat "$STATE/loaded" ;;
  bootstrap) echo "state = not running" >"$STATE/loaded" ;;
  kickstart) echo "state = running" >"$STATE/loaded" ;;
  bootout) rm "$STATE/loaded" ;;
esac
"""


@pytest.fixture
def manager_state(places, monkeypatch):
    state = places / "manager"
    state.mkdir()
    for name, script in (("systemctl", SYSTEMCTL), ("launchctl", LAUNCHCTL)):
        program = places / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(script)
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{places}/bin:{os.environ['PATH']}")
    monkeypatch.setenv("STATE", str(state))
    return state


@pytest.fixture
def systemd(manager_state):
    return manager_state


@pytest.fixture
def launchd(manager_state, monkeypatch):
    monkeypatch.setattr(service.sys, "platform", "darwin")
    return manager_state


@pytest.fixture
def no_manager(places, monkeypatch):
    """A container: `systemctl` is there and finds nobody to talk to."""
    program = places / "systemctl"
    program.write_text("#!/bin/sh\necho 'Failed to connect to bus' >&2; exit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(places))


def calls(state):
    return [line for line in (state / "calls").read_text().splitlines() if "is-active" not in line]


def test_install_writes_the_units_and_holds_the_sockets(daemon, systemd, places, run):
    daemon.activation = "systemd"
    (systemd / "mcpctld.service").touch()  # it runs, from an older installation
    code, out, err = run("daemon", "install")
    assert (code, err) == (0, "")
    folder = places / ".config/systemd/user"
    names = ["mcpctld-control.socket", "mcpctld.service", "mcpctld.socket"]
    assert sorted(os.listdir(folder)) == names
    assert [f"wrote {folder}/{name}" in out for name in names] == [True] * 3
    assert calls(systemd)[-3:] == [
        "--user daemon-reload",
        "--user enable --now mcpctld.socket mcpctld-control.socket",
        "--user try-restart mcpctld.service",
    ]


def test_install_has_a_daemon_that_a_client_started_hand_over(daemon, systemd, run, monkeypatch):
    dismissed = []

    def kill(pid, number):  # what leads to its sockets leads to the service by then
        dismissed.append((pid, number, calls(systemd)[-1]))
        daemon.activation = "systemd"

    monkeypatch.setattr(daemon_command.os, "kill", kill)
    assert run("daemon", "install")[0] == 0
    assert dismissed == [(999_999_999, signal.SIGTERM, "--user try-restart mcpctld.service")]


def test_a_daemon_that_has_gone_meanwhile_needs_no_dismissal(daemon, systemd, run):
    daemon.activation = "systemd"
    assert run("daemon", "install")[0] == 0


def test_install_gives_up_when_clients_are_always_faster(daemon, systemd, run):
    code, _, err = run("daemon", "install")
    assert code == 5
    assert "run install again" in err


@pytest.mark.usefixtures("no_manager")
def test_install_without_a_manager_says_what_to_do_instead(run):
    code, _, err = run("daemon", "install")
    assert code == 6
    assert "mcpctl daemon start" in err


def test_a_manager_that_refuses_is_quoted(systemd, run, daemon):
    (systemd / "fail-daemon-reload").touch()
    code, _, err = run("daemon", "install")
    assert code == 6
    assert "'systemctl --user daemon-reload' failed: Failed to daemon-reload: no luck" in err


def test_uninstall_takes_everything_away(daemon, systemd, places, run):
    daemon.activation = "systemd"
    run("daemon", "install")
    code, out, _ = run("daemon", "uninstall")
    assert (code, out.count("removed ")) == (0, 3)
    assert os.listdir(places / ".config/systemd/user") == []
    assert calls(systemd)[-3:] == [
        "--user disable --now mcpctld.socket mcpctld-control.socket",
        "--user stop mcpctld.service",
        "--user daemon-reload",
    ]
    assert "no service to remove" in run("daemon", "uninstall")[2]


def test_an_installed_service_is_started_stopped_and_restarted_by_its_manager(
    daemon, systemd, run, monkeypatch
):
    monkeypatch.setattr(daemon_command, "wait_gone", lambda pid, bound: True)
    shutdown, daemon.close_api = daemon.close_api, lambda: None
    daemon.activation = "systemd"
    run("daemon", "install")
    assert run("daemon", "start") == (0, "the daemon runs, process 999999999\n", "")
    assert calls(systemd)[-1] == (
        "--user start mcpctld.socket mcpctld-control.socket mcpctld.service"
    )
    assert run("daemon", "restart")[0] == 0
    assert calls(systemd)[-1] == "--user restart mcpctld.service"
    assert run("daemon", "stop")[:2] == (0, "the daemon has ended\n")
    assert (calls(systemd)[-2] + calls(systemd)[-1]).count(
        "--user stop mcpctld.socket mcpctld-control.socket mcpctld.service"
    ) == 1
    daemon.close_api = shutdown


@pytest.mark.usefixtures("no_manager")
def test_without_a_service_stop_asks_the_daemon_and_waits(daemon, run, monkeypatch):
    def wait_gone(pid, bound):
        assert pid == daemon.pid
        wait_until(lambda: daemon.api is None, "the daemon's end")
        return True

    monkeypatch.setattr(daemon_command, "wait_gone", wait_gone)
    daemon.sessions = [None, None]
    code, out, err = run("daemon", "stop")
    assert (code, out) == (0, "the daemon has ended\n")
    assert "waiting for 2 sessions" in err
    assert run("daemon", "stop") == (0, "", "mcpctl: the daemon was not running\n")


@pytest.mark.usefixtures("no_manager")
def test_a_daemon_that_does_not_end_is_a_timeout(daemon, run, monkeypatch):
    monkeypatch.setattr(daemon_command, "STOP_BOUND_S", 0.1)
    daemon.pid = os.getpid()
    shutdown, daemon.close_api = daemon.close_api, lambda: None
    code, _, err = run("daemon", "stop")
    daemon.close_api = shutdown
    assert code == 8
    assert f"process {os.getpid()}, still runs" in err


@pytest.mark.usefixtures("no_manager")
@pytest.mark.parametrize("words", [("restart",), ("daemon", "restart")])
def test_restart_has_the_daemon_hand_over_and_tells_of_the_next_one(daemon, run, words):
    assert run(*words) == (0, "the daemon runs, process 999999998\n", "")
    assert ("POST", "/v1/handover", None) in daemon.requests
    assert ("POST", "/v1/shutdown", None) not in daemon.requests


@pytest.mark.usefixtures("no_manager")
def test_a_daemon_that_no_other_one_replaces_is_a_timeout(daemon, run, monkeypatch):
    monkeypatch.setattr(daemon_command, "wait_successor", lambda pid, bound: None)
    code, _, err = run("restart")
    assert code == 8
    assert "no other daemon answers within 45 s" in err


def test_another_daemon_is_not_waited_for_longer_than_the_bound(daemon):
    assert daemon_process.wait_successor(daemon.pid, 0.1) is None


def test_a_service_that_sleeps_is_not_woken_to_be_stopped(daemon, systemd, run):
    daemon.activation = "systemd"
    run("daemon", "install")
    daemon.requests.clear()
    assert run("daemon", "stop")[0] == 0
    assert daemon.requests == []
    assert calls(systemd)[-1].startswith("--user stop mcpctld.socket")


@pytest.mark.usefixtures("no_manager")
def test_start_without_a_service_is_what_a_client_does(daemon, run):
    assert run("daemon", "start") == (0, "the daemon runs, process 999999999\n", "")


@pytest.mark.usefixtures("no_manager")
def test_status_says_how_it_runs(daemon, run):
    code, out, _ = run("daemon", "status")
    assert code == 0
    assert "the daemon runs: version 0.1.0, process 999999999, up 1 h 1 min, by a client" in out
    assert "clients start the daemon themselves" in out
    answer = json.loads(run("daemon", "status", "--json")[1])
    assert answer["daemon"]["pid"] == 999_999_999
    assert {key: answer[key] for key in ("running", "manager", "installed", "listening")} == {
        "running": True,
        "manager": None,
        "installed": False,
        "listening": False,
    }


def test_status_does_not_start_a_daemon_that_a_connection_would_start(daemon, systemd, run):
    daemon.activation = "systemd"
    assert "'mcpctl daemon install' makes one for systemd" in run("daemon", "status")[1]
    run("daemon", "install")
    daemon.requests.clear()
    code, out, _ = run("daemon", "status")
    assert (code, daemon.requests) == (69, [])
    assert out == "the daemon is not running\nthe service is installed, and systemd listens\n"


def test_the_agent_of_launchd_is_loaded_and_unloaded(daemon, launchd, places, run, monkeypatch):
    monkeypatch.setattr(daemon_command, "wait_gone", lambda pid, bound: True)
    shutdown, daemon.close_api = daemon.close_api, lambda: None
    daemon.activation = "launchd"
    path = places / "Library/LaunchAgents/mcpctl.mcpctld.plist"
    domain = f"gui/{os.getuid()}"
    assert run("daemon", "install")[0] == 0
    assert path.exists()
    assert f"bootstrap {domain} {path}" in calls(launchd)
    assert run("daemon", "start")[0] == 0
    assert calls(launchd)[-1] == f"kickstart {domain}/mcpctl.mcpctld"
    assert run("daemon", "restart")[0] == 0
    assert calls(launchd)[-1] == f"kill SIGTERM {domain}/mcpctl.mcpctld"
    assert run("daemon", "status")[0] == 0
    assert run("daemon", "stop")[0] == 0
    assert f"bootout {domain}/mcpctl.mcpctld" in calls(launchd)
    assert run("daemon", "restart")[0] == 0
    assert run("daemon", "uninstall")[0] == 0
    assert not path.exists()
    daemon.close_api = shutdown


def test_run_becomes_the_daemon(monkeypatch, run):
    became = []
    monkeypatch.setattr(os, "execv", lambda path, argv: became.append((path, argv)) or 0)
    with pytest.raises(TypeError):  # it does not come back
        daemon_command.run_here(None) + 0
    assert became == [(daemon_process.program()[0], daemon_process.program())]
    assert os.path.isabs(became[0][0])


def test_a_process_that_has_ended_and_waits_to_be_collected_is_gone(places):
    with subprocess.Popen([sys.executable, "-c", ""], stdin=subprocess.DEVNULL) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert daemon_process.wait_gone(child.pid, 5.0)


def test_a_process_that_lives_is_waited_for_no_longer_than_the_bound(places):
    assert not daemon_process.wait_gone(os.getpid(), 0.1)
    assert not daemon_process.wait_gone(1, 0.1)


def test_units_are_files_of_ours_alone_to_write(daemon, systemd, places, run):
    daemon.activation = "systemd"
    run("daemon", "install")
    for path in Path(places / ".config/systemd/user").iterdir():
        assert not stat.S_IMODE(path.stat().st_mode) & 0o022


def test_the_log_is_in_the_state_folder(places):
    assert daemon_process.log_file() == f"{wire.state_dir()}/mcpctld.log"
