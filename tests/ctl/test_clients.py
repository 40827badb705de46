"""`mcpctl add`, `remove`, `list` and `clients` on files of clients."""

import json
import os
import stat
from pathlib import Path

import pytest

from mcpctl import client_edits
from mcpctl.clients import clients, our_words
from mcpctl.commands import client_flags

CURSOR = ".cursor/mcp.json"
ZED = ".config/zed/settings.json"
CODEX = ".codex/config.toml"
TEXT = '{\n  // mine\n  "mcpServers": {\n    "a": {"command": "x", "env": {"API_TOKEN": "hush-1"}},\n  },\n}\n'
ADD = ("add", "--server", "time", "--url", "https://h/")


@pytest.fixture
def write(places):
    """Write a file below the home."""

    def write(path, text):
        file = places / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    return write


def entry(file, *keys):
    value = json.loads(file.read_text())
    for key in keys:
        value = value[key]
    return value


def test_the_flags_name_the_clients_that_have_them():
    assert {c.flag: c.name for c in clients().values() if c.flag} == client_flags.FLAGS


def test_add_puts_an_entry_into_every_file_that_was_named(daemon, run, places, write):
    cursor, zed = write(CURSOR, TEXT), write(ZED, "// Zed\n{}\n")
    code, out, _err = run(
        *ADD, "--cursor", "--zed", "--client", "codex", "--config", f"{places}/x.json"
    )
    assert code == 0
    words = our_words("time", for_project=False)
    assert cursor.read_text().startswith(TEXT[:-8])
    assert words[3] in cursor.read_text()
    assert zed.read_text().startswith("// Zed\n{")
    assert entry(places / "x.json", "mcpServers", "time") == {
        "command": words[0],
        "args": words[1:],
    }
    assert (places / CODEX).read_text().startswith("[mcp_servers.time]\n")
    assert stat.S_IMODE((places / CODEX).stat().st_mode) == 0o600
    assert out.count("added to ") == 4
    assert "it reloads by itself" in out
    assert daemon.secrets == {}


def test_a_project_gets_the_bare_name_and_keeps_it_to_itself(daemon, run, places, monkeypatch):
    project = places / "project"
    project.mkdir()
    monkeypatch.chdir(project)
    assert run(*ADD, "--project", "--vscode", "--client", "claude-code")[0] == 0
    wanted = {"command": "mcpctl", "args": ["attach", "time"]}
    assert entry(project / ".mcp.json", "mcpServers", "time") == wanted
    assert entry(project / ".vscode/mcp.json", "servers", "time") == {"type": "stdio", **wanted}
    code, _, err = run(*ADD[:3], "--project", "--claude")
    assert (code, "has no file for a project" in err) == (2, True)


def test_a_server_that_is_there_is_put_into_more_clients(daemon, run, places, write):
    run(*ADD)
    write(CURSOR, "{}")
    assert run("add", "--server", "time", "--cursor")[0] == 0
    assert list(entry(places / CURSOR, "mcpServers")) == ["time"]
    before = (places / CURSOR).read_bytes()
    assert run("add", "--server", "time", "--cursor") == (0, "", "")
    assert (places / CURSOR).read_bytes() == before
    assert run("add", "--server", "other", "--cursor")[0] == 2


def test_dry_run_shows_a_diff_without_secrets_and_changes_nothing(daemon, run, places, write):
    file = write(CURSOR, TEXT)
    code, out, err = run(*ADD, "--cursor", "--dry-run")
    assert code == 0
    assert "would add time" in out
    assert f"--- {file}\n+++ {file}\n" in out
    assert '+    "time": {\n' in out
    assert "hush-1" not in out + err
    assert file.read_text() == TEXT
    assert daemon.requests == []
    assert not Path(os.environ["MCPCTL_CONFIG_DIR"], "servers").exists()


def test_an_entry_of_somebody_elses_is_left_alone_unless_told_otherwise(daemon, run, write):
    file = write(CURSOR, TEXT.replace('"a"', '"time"'))
    code, _, err = run(*ADD, "--cursor")
    assert code == 5
    assert "--replace overwrites it" in err
    assert "hush" not in err
    assert file.read_text() == TEXT.replace('"a"', '"time"')
    assert run(*ADD, "--cursor", "--replace")[0] == 0
    assert "hush-1" not in file.read_text()
    kept = [value for (server, _), value in daemon.secrets.items() if server == "clients-undo"]
    assert len(kept) == 1
    assert "hush-1" in kept[0]


def test_one_file_that_cannot_be_changed_does_not_keep_the_others(daemon, run, places, write):
    broken = write(CURSOR, "{")
    write(ZED, "{}")
    code, out, err = run(*ADD, "--cursor", "--zed")
    assert code == 2
    assert f"cannot change {broken}: it cannot be read: line 1" in err
    assert "added to Zed" in out
    assert broken.read_text() == "{"


def test_a_name_that_a_client_refuses_is_refused_for_it(daemon, run):
    code, _, err = run("add", "--server", "a_b", "--url", "https://h/", "--client", "gemini")
    assert code == 2
    assert "no underscore" in err


def test_an_unknown_client_is_named_with_the_nearest(daemon, run):
    code, _, err = run(*ADD, "--client", "cursr")
    assert code == 4
    assert "did you mean 'cursor'?" in err
    assert daemon.requests == []


@pytest.mark.parametrize(
    ("name", "text", "section"),
    [
        ("a.json", '{"servers": {}}', "servers"),
        ("a.json", '{"context_servers": {}}', "context_servers"),
        ("a.json", "", "mcpServers"),
        ("a.toml", "", "mcp_servers"),
        ("a.yaml", "extensions: {}\n", "extensions"),
        ("a.yml", "", "extensions"),
        ("x/.vscode/mcp.json", "", "servers"),
        (ZED, "", "context_servers"),
    ],
)
def test_the_format_and_the_key_of_a_file_are_recognised(write, name, text, section):
    _, place = client_flags.recognised(str(write(name, text)))
    assert place.section == (section,)


def test_remove_takes_the_entries_out_of_every_file(daemon, run, places, write):
    files = {CURSOR: TEXT, ZED: '{\n  "context_servers": {"b": {"command": "y"}}\n}\n'}
    made = {path: write(path, text) for path, text in files.items()}
    run(*ADD, "--cursor", "--zed")
    assert all("time" in file.read_text() for file in made.values())
    code, out, _err = run("remove", "time", "--cursor")
    assert code == 0
    assert "removed from Cursor" in out
    assert made[CURSOR].read_text() == TEXT
    assert "time" in made[ZED].read_text()
    assert run("list", "--json")[1].count('"zed"') == 1
    code, out, _ = run("remove", "time")
    assert (code, "removed time\n" in out) == (0, True)
    assert {path: file.read_text() for path, file in made.items()} == files


def test_list_names_the_clients_of_a_server(daemon, run, write):
    write(CURSOR, "{}")
    run(*ADD, "--cursor", "--zed")
    assert "cursor, zed" in run("list")[1]
    (server,) = json.loads(run("list", "--json")[1])["servers"]
    assert server["clients"] == ["cursor", "zed"]


def test_clients_shows_who_is_there_what_they_name_and_what_is_wrong(daemon, run, write):
    write(CURSOR, "{}")
    write(
        ".codeium/windsurf/mcp_config.json", '{"mcpServers": {"w": {"url": "https://h/"}}, /* c */}'
    )
    write(".kiro/settings/mcp.json", "{")
    run(*ADD, "--cursor")
    code, out, err = run("clients")
    assert code == 0
    lines = {line.split()[0]: line.split() for line in out.splitlines()}
    assert lines["cursor"][1] == "yes"
    assert lines["cursor"][-2:] == ["time", "time"]
    assert lines["windsurf"][-2:] == ["w", "-"]
    assert lines["goose"][1:] == ["no", "-", "-", "-"]
    assert "Windsurf: " in err
    assert "which Windsurf cannot read" in err
    assert "Kiro: " in err
    told = {one["name"]: one for one in json.loads(run("clients", "--json")[1])["clients"]}
    assert set(told) == set(clients())
    assert told["cursor"]["files"][0]["servers"] == [{"name": "time", "ours": "time"}]
    assert "line 1" in told["kiro"]["files"][0]["problem"]


def test_what_is_undone_is_as_it_was(daemon, run, places, write):
    assert "nothing to undo" in run("clients", "undo")[1]
    cursor = write(CURSOR, TEXT)
    run(*ADD, "--cursor", "--zed")
    _code, out, _ = run("clients", "undo", "--dry-run")
    assert '-    "time": {\n' in out
    assert "time" in cursor.read_text()
    cursor.write_text(cursor.read_text().replace("// mine", "// still mine"))
    assert run("clients", "undo")[0] == 0
    assert cursor.read_text() == TEXT.replace("// mine", "// still mine")
    assert not (places / ZED).exists()
    assert "nothing to undo" in run("clients", "undo")[1]


def test_an_entry_that_was_changed_since_is_not_undone(daemon, run, write):
    cursor = write(CURSOR, TEXT)
    run(*ADD, "--cursor")
    changed = cursor.read_text().replace('"time"', '"time2"').replace('"-I"', '"-E"')
    cursor.write_text(changed.replace('"time2": {', '"time": {'))
    code, _, err = run("clients", "undo")
    assert code == 2
    assert "has been changed since" in err
    assert '"-E"' in cursor.read_text()


@pytest.mark.parametrize(
    ("words", "secret"),
    [
        (("x", "--bearer-token", "hush"), ["hush"]),
        (("x", "--api-key=hush", "--url=https://h/"), ["hush"]),
        (("x", "--header", "X-Thing: hush"), ["hush"]),
        (("x", "-p", "hush"), ["hush"]),
        (("x", "--port", "80"), []),
    ],
)
def test_arguments_that_look_like_secrets_are_found(words, secret):
    assert client_edits.secret_arguments(words) == secret


def test_what_looks_like_a_secret_is_masked_wherever_it_stands():
    text = '{"apiKey": "hush", "a": "known", "TOKEN" : \'hush\', "n": 1}\npassword = hush\n'
    shown = client_edits.masked(text, ["known"])
    assert "hush" not in shown
    assert "known" not in shown
    assert shown.count("***") == 4


@pytest.mark.parametrize("lines", [0, 2, 500])
def test_a_diff_names_the_lines_of_the_whole_file(daemon, run, write, lines):
    comments = "".join(f"// {number}\n" for number in range(lines))
    write(CURSOR, comments + TEXT)
    out = run(*ADD, "--cursor", "--dry-run")[1]
    (hunk,) = (line for line in out.splitlines() if line.startswith("@@"))
    body = out[out.index("@@") :].splitlines()[1:]
    old = [line[1:] for line in body if line[:1] in " -"]
    number = int(hunk.split()[1].split(",")[0][1:])
    whole = (comments + TEXT).replace('"hush-1"', "***").splitlines()
    assert whole[number - 1 : number - 1 + len(old)] == old
