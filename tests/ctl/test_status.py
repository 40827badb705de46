import json
import os
import signal
import subprocess
import sys
import time

import pytest

from mcpctl import output
from mcpctl.commands import status as status_command


def a_session(**changes):
    return {
        "id": "s1",
        "server": "x",
        "client": "claude",
        "client_version": "2.0",
        "cwd": "/h",
        "pid": 41,
        "transport": "stdio",
        "bridge": None,
        "protocol_version": "2025-11-25",
        "started_at": time.time() - 65,
        "state": "ready",
        "figures": {"calls": 7, "errors": 0, "in_flight": 1, "p50_ms": 0.25, "p99_ms": 12.0},
        "last_error": None,
        **changes,
    }


def test_status_shows_daemon_servers_and_sessions(daemon, run):
    run("add", "--server", "whole", "--url", "https://one/")
    other = {"id": "s2", "client": None, "client_version": None, "pid": None}
    other |= {"bridge": "modern-to-legacy", "protocol_version": "2026-07-28"}
    daemon.sessions = [a_session(), a_session(**other)]
    code, out, err = run("status")
    assert (code, err) == (0, "")
    assert out.startswith("mcpctld 0.1.0, process 999999999, up 1 h 1 min, started by a client\n")
    lines = out.splitlines()
    row = lines[next(i for i, line in enumerate(lines) if line.startswith("SERVER")) + 1]
    assert row.split() == ["whole", "streamable-http", "0", "3", "1", "1.5", "-", "-"]
    figures = "1 min 5 s 7 0 0.2 12.0"
    assert " ".join(lines[-2].split()) == f"s1 x claude 2.0 ready 2025-11-25 {figures} 41"
    assert " ".join(lines[-1].split()) == f"s2 x - ready 2026-07-28 bridged {figures} -"
    assert out.isascii()


def test_a_server_says_how_many_share_its_one_session(daemon, run):
    run("add", "--server", "shared", "--url", "https://one/")
    daemon.sessions = [a_session()]
    row = run("status")[1].splitlines()[4]
    assert row.split()[:5] == ["shared", "streamable-http", "0", "(3", "share)"]


def test_a_server_says_what_is_the_matter_with_it(daemon, run):
    run("add", "--server", "x", "--url", "https://one/")
    daemon.config_errors = [{"file": "/c/bad.toml", "message": "no"}]
    out = run("status")[1]
    assert "missing secrets: token" in out
    assert out.endswith("cannot use /c/bad.toml: no\n")


def test_a_fresh_daemon_says_what_to_do_first(daemon, run):
    assert run("status")[1].splitlines()[-3:] == [
        "no server is added yet; 'mcpctl add --help' shows how",
        "",
        "no client is attached",
    ]
    assert run("list")[1] == "no server is added yet; 'mcpctl add --help' shows how\n"


def test_status_as_json_is_the_answer_of_the_api(daemon, run):
    assert json.loads(run("status", "--json")[1])["daemon"]["pid"] == 999_999_999


def test_status_without_a_daemon_says_so_and_starts_none(run, places):
    code, out, err = run("status")
    assert (code, out) == (69, "")
    assert "the daemon is not running" in err
    assert os.listdir(places / "runtime") == []


def test_status_as_json_without_a_daemon_is_still_json(run):
    code, out, err = run("status", "--json")
    assert (code, json.loads(out), err) == (69, {"daemon": None}, "")


def watching(*words):
    argv = [sys.executable, "-m", "mcpctl", "status", "--watch", *words]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_watch_draws_again_when_something_happens_and_ends_quietly(daemon):
    daemon.events = [{"type": "session.opened", "at": 1.0, "data": {}}]
    with watching("--json") as process:
        first, second = process.stdout.readline(), process.stdout.readline()
        process.send_signal(signal.SIGINT)
        try:
            assert process.wait(10) == 130
        finally:
            process.kill()
        assert process.stderr.read() == ""
    assert json.loads(first)["daemon"]["pid"] == json.loads(second)["daemon"]["pid"]


def test_watch_goes_on_when_the_daemon_ends(daemon):
    with watching("--json") as process:
        assert json.loads(process.stdout.readline())["daemon"]
        daemon.close_api()
        lines = (json.loads(line) for line in process.stdout)
        assert next(line for line in lines if line["daemon"] is None)
        process.kill()


def test_watch_ends_when_nobody_reads_it_any_more(daemon):
    with watching() as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(10) == 141
        assert process.stderr.read() == ""


def test_redraws_are_bounded_both_ways():
    assert 0.5 <= status_command.REDRAW_MIN_S < status_command.REDRAW_MAX_S <= 5


def test_sessions_lists_and_ends(daemon, run):
    daemon.sessions = [a_session()]
    assert "claude 2.0" in run("sessions")[1]
    assert json.loads(run("sessions", "--json")[1])["sessions"][0]["id"] == "s1"
    assert run("sessions", "end", "s1") == (0, "ended s1\n", "")
    assert daemon.requests[-1][:2] == ("DELETE", "/v1/sessions/s1")


def test_sessions_without_a_daemon_is_not_running(run):
    assert run("sessions")[0] == 69
    assert run("sessions", "end", "x")[0] == 69


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59, "59 s"), (60, "1 min 0 s"), (3725, "1 h 2 min"), (180_000, "2 d 2 h")],
)
def test_a_span_has_its_two_largest_units(seconds, text):
    assert output.ago(time.time() - seconds) == text


def test_a_table_shows_no_control_characters(capsys):
    output.table(("A", "B"), [("\x1b[31m\n", 1), ("x", None)])
    assert capsys.readouterr().out == "A          B\n\\x1b[31m   1\nx          -\n"
