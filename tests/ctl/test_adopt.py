"""`mcpctl adopt` and `release` at the terminal: what is shown, asked, refused and left."""

import io
import json
import sys

import pytest

ENTRIES = {
    "notes": {"url": "https://notes.example.com/mcp", "headers": {"X-Key": "hush-1"}},
    "asks": {"url": "https://h/", "headers": {"A": "${input:x}"}},
}
CODE = {"projects": {"/p": {"mcpServers": {"here": {"url": "https://h/"}}}}, "n": 9007199254740993}


@pytest.fixture
def cursor(places):
    """Cursor's file with two entries, one of which cannot be moved."""
    file = places / ".cursor" / "mcp.json"
    file.parent.mkdir()
    file.write_text(json.dumps({"mcpServers": ENTRIES}, indent=2))
    return file


@pytest.fixture
def typed(monkeypatch):
    """A user at a terminal who types this."""

    def typed(text):
        stdin = io.StringIO(text)
        monkeypatch.setattr(stdin, "isatty", lambda: True, raising=False)
        monkeypatch.setattr(sys, "stdin", stdin)

    return typed


def test_without_names_it_lists_what_could_be_moved_and_why_the_rest_stays(daemon, run, cursor):
    code, out, err = run("adopt")
    assert code == 0
    rows = {line.split()[0]: line for line in out.splitlines()}
    assert rows["notes"].split()[:3] == ["notes", "cursor", "url"]
    assert "only its client can fill in" in rows["asks"]
    assert "mcpctl adopt --all" in err
    assert daemon.requests == []
    assert "hush" not in out + err


def test_the_diff_comes_first_and_without_secrets(daemon, run, cursor):
    before = cursor.read_text()
    code, out, err = run("adopt", "--all", "--dry-run")
    assert code == 0
    assert f"--- {cursor}\n+++ {cursor}\n" in out
    assert '-      "url": "https://notes.example.com/mcp",' in out
    assert '"attach"' in out or "entry.py" in out
    assert "hush-1" not in out + err
    assert "asks of Cursor stays as it is" in err
    assert (cursor.read_text(), daemon.requests) == (before, [])


@pytest.mark.parametrize("answer", ["n\n", "\n", ""])
def test_who_does_not_agree_gets_nothing_done(daemon, run, cursor, typed, answer):
    before = cursor.read_text()
    typed(answer)
    code, _, err = run("adopt", "notes")
    assert (code, "go on? [y/N]" in err) == (0, True)
    assert (cursor.read_text(), daemon.requests) == (before, [])


def test_who_agrees_gets_the_server_its_secret_and_the_entry(daemon, run, cursor, typed):
    typed("y\n")
    code, out, _ = run("adopt", "notes")
    assert (code, "added notes\nadopted in Cursor" in out) == (0, True)
    assert daemon.secrets["notes", "x-key"] == "hush-1"
    assert "hush-1" not in cursor.read_text()
    assert json.loads(cursor.read_text())["mcpServers"]["asks"] == ENTRIES["asks"]
    assert run("adopt", "--all", "--yes")[0] == 0


@pytest.mark.parametrize(
    ("words", "code", "why"),
    [
        (("adopt", "asks"), 2, "only its client can fill in"),
        (("adopt", "nothing"), 4, "no client has an entry 'nothing'"),
        (("adopt", "--all", "notes"), 2, "--all takes no names"),
        (("release",), 2, "say what to release"),
        (("release", "--all", "notes"), 2, "say what to release"),
        (("release", "notes"), 4, "nothing was adopted"),
    ],
)
def test_what_makes_no_sense_is_refused(daemon, run, cursor, words, code, why):
    before = cursor.read_text()
    found, _, err = run(*words)
    assert found == code
    assert why in err
    assert cursor.read_text() == before


def test_a_server_that_the_daemon_refuses_leaves_its_entry(daemon, run, cursor):
    before = cursor.read_text()
    daemon.refuse_file = "notes"
    code, _, err = run("adopt", "notes")
    assert code == 2
    assert "notes stays as it is: the daemon does not accept" in err
    assert cursor.read_text() == before


def test_servers_of_one_folder_in_claude_codes_state_are_found_too(daemon, run, places):
    file = places / ".claude.json"
    file.write_text(json.dumps(CODE, indent=2))
    code, _, err = run("adopt", "here")
    assert (code, "has no credentials" in err) == (0, True)
    value = json.loads(file.read_text())
    assert value["projects"]["/p"]["mcpServers"]["here"]["args"][-1] == "here"
    assert value["n"] == CODE["n"]


def test_a_project_is_adopted_by_name_with_the_bare_name(daemon, run, places, monkeypatch):
    file = places / "project" / ".mcp.json"
    file.parent.mkdir()
    file.write_text('{"mcpServers": {"team": {"url": "https://h/"}}}')
    monkeypatch.chdir(file.parent)
    assert "nothing to adopt" in run("adopt")[1]
    assert run("adopt", "team", "--project")[0] == 0
    entry = json.loads(file.read_text())["mcpServers"]["team"]
    assert entry == {"command": "mcpctl", "args": ["attach", "team"]}


def test_a_server_in_a_private_network_is_moved_once_there_is_a_tunnel(
    run, places, tmp_path, monkeypatch
):
    file = places / ".cursor" / "mcp.json"
    file.parent.mkdir()
    file.write_text('{"mcpServers": {"inner": {"url": "http://app.flycast/mcp"}}}')
    monkeypatch.setenv("MCPCTL_CONFIG_DIR", str(tmp_path))
    assert "[tunnels.fly]" in run("adopt")[1]
    (tmp_path / "config.toml").write_text('[tunnels.fly]\nkind = "fly"\n')
    rows = {line.split()[0]: line for line in run("adopt")[1].splitlines()}
    assert rows["inner"].split()[:3] == ["inner", "cursor", "url"]
    assert "config.toml" not in rows["inner"]
