"""The stub: what it reads from its command line, what it passes, what it copies, how it fails."""

import os
import pty
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from harness import Home
from mcpctl import attach, attach_flags, starting, wire

INITIALIZE = (
    '{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25",'
    '"capabilities":{},"clientInfo":{"name":"test","version":"1"}}}\n'
)
SERVER = """
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if "id" in message:
        result = {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": "tiny", "version": "1"}}
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)
"""
X = "https://x"
BASIC = "Authorization: Basic bWU6cHc="


@pytest.fixture
def tiny(home: Home) -> Home:
    """A home with one local server."""
    script = home.path / "server.py"
    script.write_text(SERVER)
    home.add("tiny", command=[sys.executable, str(script)])
    return home


# ---------------------------------------------------------------- the command line


@pytest.mark.parametrize(
    ("argv", "fields"),
    [
        (["attach", "slack"], [("server", "slack")]),
        (["attach", "--url", "https://x/mcp"], [("url", "https://x/mcp")]),
        (
            ["attach", "--url=https://x/mcp", "--transport=http-sse"],
            [("url", "https://x/mcp"), ("transport", "http-sse")],
        ),
        (
            [
                "attach",
                "--url",
                X,
                "--header",
                "A: 1",
                "--header",
                "B: 2",
                "--instance",
                "m1",
                "--timeout",
                "9",
            ],
            [
                ("url", X),
                ("header", "A: 1"),
                ("header", "B: 2"),
                ("instance", "m1"),
                ("timeout", "9"),
            ],
        ),
        (["attach", "--url", X, "--era", "modern"], [("url", X), ("era", "modern")]),
        (["proxy", "-a", "a", "--era=legacy"], [("url", "https://a.fly.dev/"), ("era", "legacy")]),
        (
            ["attach", "--url", X, "--bearer-token", "t"],
            [("url", X), ("header", "Authorization: Bearer t")],
        ),
        (["proxy", "--url", X, "-u", "me", "-p", "pw"], [("url", X), ("header", BASIC)]),
        (
            ["proxy", "-a", "my-app", "--sse"],
            [("url", "https://my-app.fly.dev/"), ("transport", "http-sse")],
        ),
        (
            ["proxy", "--app=my-app", "--stream"],
            [("url", "https://my-app.fly.dev/"), ("transport", "streamable-http")],
        ),
        (["proxy", "--url", "https://x", "-b", "127.0.0.1", "--ping"], [("url", "https://x")]),
    ],
)
def test_the_command_line_becomes_the_greeting(argv, fields, monkeypatch):
    monkeypatch.delenv("MCPCTL_BEARER_TOKEN", raising=False)
    assert attach.read_fields(argv) == fields


def test_secrets_may_come_from_variables(monkeypatch):
    monkeypatch.setenv("MCPCTL_BEARER_TOKEN", "t")
    assert ("header", "Authorization: Bearer t") in attach.read_fields(
        ["attach", "--url", "https://x"]
    )
    monkeypatch.setenv("MCPCTL_PASSWORD", "pw")
    assert ("header", BASIC) in attach.read_fields(["attach", "--url", X, "-u", "me"])


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["attach"], "needs a server's name or --url"),
        (["proxy"], "needs --url or --app"),
        (["attach", "--url"], "--url needs a value"),
        (["attach", "--wrong"], "unknown flag --wrong"),
        (["attach", "--sse", "--url", "https://x"], "unknown flag --sse"),
        (["attach", "one", "two"], "unexpected argument"),
        (["attach", "one", "--url", "https://x"], "unexpected argument 'one'"),
    ],
)
def test_a_wrong_command_line_says_what_is_wrong(argv, said):
    with pytest.raises(attach.AttachError, match=said) as caught:
        attach.read_fields(argv)
    assert caught.value.kind == "bad-request"


def test_help_stands_on_stdout(capsys):
    with pytest.raises(SystemExit) as caught:
        attach.read_fields(["proxy", "--help"])
    assert caught.value.code == 0
    assert "--inspector" in capsys.readouterr().out


def test_the_inspector_gets_secrets_in_variables_and_never_in_its_arguments(became):
    argv = ["proxy", "--url", "https://x", "-i", "--bearer-token", "s3cret", "--instance", "m1"]
    with pytest.raises(SystemExit):
        attach_flags.parse(argv)
    assert "s3cret" not in " ".join(became["argv"])
    assert became["env"]["MCPCTL_BEARER_TOKEN"] == "s3cret"
    rest = became["argv"][became["argv"].index("proxy") :]
    assert rest == ["proxy", "--url", "https://x", "--instance", "m1"]


def test_a_daemon_started_by_a_stub_gets_a_clean_environment(monkeypatch):
    monkeypatch.setattr(os, "environ", {
        "HOME": "/h", "PATH": "/bin", "LC_ALL": "C", "XDG_CONFIG_HOME": "/x", "MCPCTL_STATE_DIR": "/s",
        "AWS_SECRET_ACCESS_KEY": "no", "LD_PRELOAD": "no", "PYTHONPATH": "no",
        "MCPCTL_BEARER_TOKEN": "no", "MCPCTL_PASSWORD": "no",
    })  # fmt: skip
    assert set(starting.clean_environment()) == {
        "HOME",
        "PATH",
        "LC_ALL",
        "XDG_CONFIG_HOME",
        "MCPCTL_STATE_DIR",
    }


# ---------------------------------------------------------------- what is passed, what is copied


def test_a_terminal_is_copied_and_never_made_non_blocking(tiny):
    ours, theirs = pty.openpty()
    settings = termios.tcgetattr(theirs)
    settings[3] &= ~termios.ECHO
    termios.tcsetattr(theirs, termios.TCSANOW, settings)
    process = subprocess.Popen(
        tiny.attach("tiny"), stdin=theirs, stdout=theirs, stderr=theirs, env=tiny.env
    )
    os.write(ours, INITIALIZE.encode())
    answer = b""
    while b"\n" not in answer:
        answer += os.read(ours, 65536)
    assert b'"tiny"' in answer
    assert os.get_blocking(theirs)
    os.write(ours, b"\x04")  # end of file
    assert process.wait(30) == 0
    os.close(ours)
    os.close(theirs)


def test_stderr_on_the_same_pipe_as_stdout_stays_blocking(tiny):
    """O_NONBLOCK sits on the open file description: `2>&1` would put it on stderr, so we copy."""
    read, write = os.pipe()
    process = subprocess.Popen(
        tiny.attach("tiny"), stdin=subprocess.PIPE, stdout=write, stderr=write, env=tiny.env
    )
    assert process.stdin is not None
    process.stdin.write(INITIALIZE.encode())
    process.stdin.flush()
    assert b'"tiny"' in os.read(read, 65536)
    assert os.get_blocking(write)
    process.stdin.close()
    assert process.wait(30) == 0
    os.close(read)
    os.close(write)


def test_the_waiting_stub_is_a_shell_that_bears_our_name(tiny):
    process = subprocess.Popen(
        tiny.attach("tiny"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=tiny.env
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(INITIALIZE.encode())
    process.stdin.flush()
    process.stdout.readline()
    with open(f"/proc/{process.pid}/cmdline", "rb") as file:
        assert file.read().startswith(b"mcpctl attach tiny\0")
    assert os.readlink(f"/proc/{process.pid}/exe") != os.path.realpath(sys.executable)
    process.communicate(timeout=30)
    assert process.returncode == 0


# ---------------------------------------------------------------- failing


@pytest.mark.parametrize("how", ["passed", "copied"])
def test_an_unknown_server_is_told_with_suggestions_and_its_exit_code(tiny, how):
    stdin = subprocess.PIPE if how == "passed" else subprocess.DEVNULL
    done = subprocess.run(
        tiny.attach("tinny"), stdin=stdin, capture_output=True, text=True, env=tiny.env, timeout=30
    )
    assert done.returncode == wire.exit_code("not-found")
    assert "did you mean 'tiny'" in done.stderr
    assert done.stdout == ""


def test_a_daemon_that_cannot_start_says_why(home):
    (home.state_dir / "mcpctld.log").mkdir()
    done = subprocess.run(
        home.attach("x"), capture_output=True, text=True, env=home.env, timeout=30
    )
    assert done.returncode == wire.exit_code("not-running")
    assert "cannot write the log" in done.stderr
    (home.state_dir / "mcpctld.log").rmdir()


def test_a_socket_path_that_is_too_long_is_told(home):
    env = {**home.env, "MCPCTL_RUNTIME_DIR": str(home.path / ("x" * 120))}
    done = subprocess.run(home.attach("x"), capture_output=True, text=True, env=env, timeout=30)
    assert done.returncode == wire.exit_code("not-running")
    assert "too long" in done.stderr


@pytest.mark.parametrize(
    "flag", sorted({*attach_flags.VALUED, *attach_flags.PROXY_VALUED, *attach_flags.PROXY_SWITCHES})
)
def test_every_flag_stands_in_the_help_and_in_the_documentation(flag):
    documented = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
    assert f"`{flag}" in documented
    assert flag in attach_flags.ATTACH_USAGE + attach_flags.PROXY_USAGE
