"""`mcpctld --read-secrets`: the user's own process reads what the daemon would, and nobody is shown it."""

import json
import subprocess
import sys

import pytest

SECRETS = {"notes": {"token": "hush é", "other": "more"}}


@pytest.fixture
def ask(tmp_path):
    """Ask for a secret of a state folder that has one: exit code, stdout, stderr."""
    file = tmp_path / "secrets.json"
    file.write_text(json.dumps(SECRETS))
    file.chmod(0o600)
    env = {"MCPCTL_STATE_DIR": str(tmp_path), "MCPCTL_SECRETS": "file", "PYTHONUTF8": "1"}

    def ask(*words):
        argv = [sys.executable, "-m", "mcpctld", "--read-secrets", *words]
        done = subprocess.run(argv, env=env, capture_output=True)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    return ask


def test_secrets_go_to_a_pipe_as_they_are(ask):
    code, out, err = ask("notes", "token", "other")
    assert (code, json.loads(out), err) == (0, SECRETS["notes"], "")


@pytest.mark.parametrize(
    ("words", "code", "why"),
    [
        (("notes", "token", "nothing"), 4, "there is no secret notes/nothing"),
        (("notes",), 2, "takes a server and its keys"),
        ((), 2, "takes a server and its keys"),
    ],
)
def test_what_there_is_not_is_told(ask, words, code, why):
    found, out, err = ask(*words)
    assert (found, out) == (code, "")
    assert why in err


def test_a_terminal_is_shown_nothing(monkeypatch, capsys):
    from mcpctld import __main__

    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert __main__.run_with(["--read-secrets", "notes", "token"]) == 2
    assert "not shown on a terminal" in capsys.readouterr().err
