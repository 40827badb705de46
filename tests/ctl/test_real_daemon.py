"""The commands against the daemon itself, in a home of its own."""

import json
import os
import re
import signal
import sys

import pytest

SERVER = """
import json, os, sys
for line in sys.stdin:
    message = json.loads(line)
    params = message.get("params", {})
    match message.get("method"):
        case "initialize":
            result = {"protocolVersion": params["protocolVersion"], "capabilities": {"tools": {}},
                      "serverInfo": {"name": "fixture", "version": "1"}}
        case "tools/list":
            result = {"tools": [{"name": "env", "inputSchema": {"type": "object"}}]}
        case "tools/call":
            text = os.environ.get(params["arguments"]["name"], "unset")
            result = {"content": [{"type": "text", "text": text}]}
        case _:
            continue
    print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)
"""


@pytest.fixture
def server(home):
    """The command of a small MCP server that tells its environment."""
    file = home.path / "server.py"
    file.write_text(SERVER)
    return [sys.executable, str(file)]


def variable(home, name):
    done = home.mcpctl("call", "fixture", "env", json.dumps({"name": name}))
    assert done.code == 0, done
    return done.out.strip()


def test_a_server_is_added_used_seen_and_removed(home, server):
    words = ["--server", "fixture", "--env", "PLAIN=${HOME}", "--secret", "HIDDEN=v4lue"]
    done = home.mcpctl("add", *words, "--", *server)
    assert (done.code, done.err) == (0, "")
    assert "v4lue" not in (home.config_dir / "servers/fixture.toml").read_text()
    assert home.mcpctl("tools", "fixture").out.split() == ["TOOL", "DESCRIPTION", "env"]
    assert variable(home, "PLAIN") == "${HOME}"
    assert variable(home, "HIDDEN") == "v4lue"
    assert variable(home, "MCPCTL_STATE_DIR") == "unset"
    status = home.mcpctl("status", "--json").json()
    assert [found["name"] for found in status["servers"]] == ["fixture"]
    assert status["servers"][0]["figures"]["calls"] >= 5
    assert home.mcpctl("remove", "fixture").code == 0
    assert home.mcpctl("list", "--json").json() == {"servers": []}
    assert "v4lue" not in home.log_file.read_text()


def test_a_secret_can_be_set_later(home, server):
    home.mcpctl("add", "--server", "fixture", "--secret", "K=old", "--", *server)
    assert home.mcpctl("secret", "set", "fixture", "K=new").code == 0
    assert variable(home, "K") == "new"
    assert home.mcpctl("secret", "remove", "fixture").code == 0
    assert home.mcpctl("secret", "list", "fixture", "--json").json()["missing"] == ["K"]
    done = home.mcpctl("tools", "fixture")
    assert done.code == 3
    assert "mcpctl secret set fixture K" in done.err


def test_one_secret_is_removed_and_the_other_stays(home, server):
    secrets = ["--secret", "A=1", "--secret", "B=2"]
    home.mcpctl("add", "--server", "fixture", *secrets, "--", *server)
    assert home.mcpctl("secret", "remove", "fixture", "A").code == 0
    assert home.mcpctl("secret", "list", "fixture", "--json").json()["missing"] == ["A"]


def test_what_the_daemon_refuses_is_not_left_behind(home):
    words = ["--server", "x", "--url", "http://example.com/", "--bearer-token", "t0ken"]
    done = home.mcpctl("add", *words)
    assert done.code == 2
    assert "use https" in done.err
    assert list((home.config_dir / "servers").iterdir()) == []
    assert home.mcpctl("status", "--json").json()["config_errors"] == []


def test_an_unknown_server_is_not_found_by_every_command(home, server):
    home.mcpctl("add", "--server", "fixture", "--", *server)
    for words in (["tools"], ["call"], ["remove"], ["secret", "list"]):
        done = home.mcpctl(*words, "fixtur", *(["env"] if words == ["call"] else []))
        assert done.code == 4, done
        assert re.search("did you mean '?fixture", done.err)


def test_the_daemon_is_started_restarted_and_stopped(home):
    assert home.mcpctl("daemon", "status", "--json").json()["running"] is False
    assert home.mcpctl("daemon", "start").code == 0
    first = home.mcpctl("daemon", "status", "--json").json()["daemon"]["pid"]
    assert home.mcpctl("daemon", "restart").code == 0
    second = home.mcpctl("daemon", "status", "--json").json()["daemon"]["pid"]
    assert first != second
    assert home.mcpctl("daemon", "stop").out == "the daemon has ended\n"
    assert home.daemons() == []
    assert home.mcpctl("status").code == 69


def test_a_daemon_that_was_killed_is_started_again_by_the_next_command(home):
    home.mcpctl("daemon", "start")
    os.kill(home.daemons()[0].pid, signal.SIGKILL)
    assert home.mcpctl("list").code == 0


def test_the_log_is_shown_while_it_runs_and_after(home):
    home.mcpctl("daemon", "start")
    assert "daemon.started" in home.mcpctl("logs", "--daemon").out
    home.mcpctl("daemon", "stop")
    assert home.mcpctl("logs", "--daemon", "-n", "1").out.split()[2] == "daemon.stopped"


def test_a_session_is_ended_by_its_id(home, server):
    home.mcpctl("add", "--server", "fixture", "--", *server)
    done = home.mcpctl("sessions", "end", "s999")
    assert done.code == 4
    assert home.mcpctl("sessions", "--json").json()["sessions"] == []
