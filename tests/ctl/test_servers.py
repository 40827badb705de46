import base64
import json
import os
import stat
import sys
import tomllib
from pathlib import Path
from typing import get_args

import pytest

from mcpctl import secret_sources, server_files, wire
from mcpctl.commands import servers
from mcpctld.config.load import load_folder
from mcpctld.model import EraChoice


def read(name):
    return tomllib.loads(Path(wire.config_dir(), "servers", f"{name}.toml").read_text())


@pytest.fixture
def terminal(monkeypatch):
    """A user who types `typed` at every prompt; answers the prompts."""
    prompts = []

    def getpass(prompt, stream=None):
        prompts.append(prompt)
        return "typed"

    monkeypatch.setattr("getpass.getpass", getpass)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    return prompts


def test_add_writes_a_file_that_only_we_can_read(daemon, run):
    code, out, err = run("add", "--server", "notes", "--url", "http://127.0.0.1:1/mcp")
    assert (code, err) == (0, "")
    assert out == "added notes: clients reach it with 'mcpctl attach notes'\n"
    assert read("notes") == {"url": "http://127.0.0.1:1/mcp"}
    file = Path(server_files.path_of("notes"))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert os.listdir(file.parent) == ["notes.toml"]


def test_the_daemon_can_read_what_add_writes(daemon, run):
    url = "https://mcp.example.com/mcp"
    run("add", "--server", "a", "--url", url, "--header", "X-Key: ${", "--transport", "http-sse")
    run("add", "--server", "b", "--env", "X=${y}", "--", "sh", "-c", 'echo "\\ \N{SNOWMAN}"')
    loaded = load_folder(wire.config_dir())
    assert loaded.errors == []
    assert loaded.servers["a"].spec.headers == {"X-Key": "${secret:x-key}"}
    assert loaded.servers["b"].spec.command[1:] == ["-c", 'echo "\\ \N{SNOWMAN}"']
    assert loaded.servers["b"].spec.env["X"] == "$${y}"


def test_the_era_of_a_server_stands_in_its_file(daemon, run):
    run("add", "--server", "a", "--url", "https://h/", "--era", "legacy")
    run("add", "--server", "b", "--era", "modern", "--", "sh")
    loaded = load_folder(wire.config_dir())
    assert [loaded.servers[name].spec.era for name in "ab"] == ["legacy", "modern"]


def test_the_eras_are_those_of_the_daemon():
    assert set(servers.ERAS) == set(get_args(EraChoice))


def test_a_command_is_recorded_by_its_absolute_path(daemon, run, places, monkeypatch):
    program = places / "tool"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    (places / "link").symlink_to("tool")
    monkeypatch.chdir(places)
    assert run("add", "--server", "x", "--cwd", ".", "--", "./link", "--url", "--")[0] == 0
    found = read("x")
    assert found["command"] == [f"{places}/./link".replace("/./", "/"), "--url", "--"]
    assert found["cwd"] == str(places)
    assert found["env"]["PATH"] == os.environ["PATH"]


def test_secrets_are_stored_before_the_file_names_them(daemon, run):
    run("add", "--server", "x", "--secret", "A=1", "--", "sh")
    assert daemon.secrets == {("x", "A"): "1"}
    made = [request[:2] for request in daemon.requests if request[0] != "GET"]
    assert made == [("PUT", "/v1/secrets/x/A"), ("POST", "/v1/reload")]
    assert read("x")["env"]["A"] == "${secret:A}"


def test_basic_authentication_is_one_secret(daemon, run):
    run("add", "--server", "x", "--url", "https://h/", "-u", "me", "-p", "pä:ss")
    assert base64.b64decode(daemon.secrets["x", "basic"]).decode() == "me:pä:ss"
    assert read("x")["headers"] == {"Authorization": "Basic ${secret:basic}"}


@pytest.mark.parametrize("variable", secret_sources.BEARER_VARIABLES)
def test_a_bearer_token_comes_from_a_variable(daemon, run, monkeypatch, variable):
    monkeypatch.setenv(variable, "from-env")
    assert run("add", "--server", "x", "--url", "https://h/", "--bearer-token")[0] == 0
    assert daemon.secrets == {("x", "bearer-token"): "from-env"}


def test_what_is_given_nowhere_is_asked_for_at_the_terminal(daemon, run, terminal):
    run("add", "--server", "x", "--url", "https://h/", "--bearer-token")
    run("add", "--server", "y", "--url", "https://h/", "--user", "u")
    run("add", "--server", "z", "--secret", "K_TYPED", "--", "sh")
    assert terminal == ["bearer token: ", "password: ", "secret K_TYPED: "]
    assert daemon.secrets["z", "K_TYPED"] == "typed"


def test_a_secret_comes_from_a_file_without_its_last_newline(daemon, run, places):
    (places / "key").write_text("one\ntwo\n\n")
    run("add", "--server", "x", "--secret", f"K=@{places}/key", "--", "sh")
    assert daemon.secrets["x", "K"] == "one\ntwo\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--secret", "NOWHERE_SET"], "as K=VALUE, from a file as K=@FILE or in the variable"),
        (["--secret", "K=@/nonexistent"], "No such file"),
        (["--secret", "K=@/dev/zero"], "longer than"),
        (["--secret", "K=1", "--secret", "K=2"], "given twice"),
        (["--secret", "=1"], "name of a secret"),
    ],
)
def test_a_secret_that_cannot_be_had_ends_the_command_before_anything_is_written(
    daemon, run, words, message
):
    code, out, err = run("add", "--server", "x", *words, "--", "sh")
    assert (code, out) == (2, "")
    assert message in err
    assert daemon.secrets == {}
    assert server_files.names() == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "say what to add"),
        (["--url", "https://h/", "--", "sh"], "--url is for a URL, not for a command"),
        (["--bearer-token", "t", "--", "sh"], "--bearer-token is for a URL"),
        (["--url", "https://h/", "--env", "A=1"], "are for commands"),
        (["--", "no-such-program-anywhere"], "cannot find the command"),
        (["--cwd", "/nonexistent", "--", "sh"], "no such folder"),
        (["--url", "https://h/", "-p", "x"], "--password needs --user"),
        (["--url", "https://h/", "-u", "a:b", "-p", "x"], "colon"),
        (["--url", "https://h/", "-u", "a", "--bearer-token", "x"], "exclude each other"),
        (["--url", "https://h/", "--transport", "stdio"], "invalid choice"),
        (["--url", "https://h/", "--era", "2026-07-28"], "invalid choice"),
    ],
)
def test_a_command_line_that_makes_no_sense_is_refused(daemon, run, words, message):
    code, out, err = run("add", "--server", "x", *words)
    assert (code, out) == (2, "")
    assert message in err
    assert server_files.names() == []


def test_an_existing_server_is_left_alone(daemon, run):
    run("add", "--server", "x", "--url", "https://one/")
    code, _, err = run("add", "--server", "x", "--url", "https://two/", "--bearer-token", "t")
    assert code == 5
    assert "--replace" in err
    assert read("x") == {"url": "https://one/"}
    assert daemon.secrets == {}


def test_replace_takes_its_place_and_forgets_secrets_that_are_named_no_more(daemon, run):
    run("add", "--server", "x", "--url", "https://one/", "--bearer-token", "t")
    assert run("add", "--server", "x", "--url", "https://two/", "--replace")[0] == 0
    assert read("x") == {"url": "https://two/"}
    assert daemon.secrets == {}


def test_a_new_file_that_the_daemon_refuses_is_taken_back(daemon, run):
    daemon.refuse_file = "x"
    code, out, err = run("add", "--server", "x", "--url", "https://h/", "--bearer-token", "t")
    assert (code, out) == (2, "")
    assert "url is not to its taste" in err
    assert server_files.names() == []
    assert daemon.secrets == {}


def test_a_replacement_that_the_daemon_refuses_gives_way_to_what_was_there(daemon, run):
    run("add", "--server", "x", "--url", "https://one/")
    daemon.refuse_file = "x"
    code, _, err = run(
        "add", "--server", "x", "--url", "https://h/", "--replace", "--secret", "a=1"
    )
    assert code == 2
    assert "secrets were replaced: a" in err
    assert read("x") == {"url": "https://one/"}


def test_of_two_who_add_the_same_name_one_is_told(places):
    server_files.write("x", b"one", replace=False)
    with pytest.raises(Exception, match="exists already"):
        server_files.write("x", b"two", replace=False)
    assert server_files.read("x") == b"one"
    assert os.listdir(os.path.dirname(server_files.path_of("x"))) == ["x.toml"]


def test_a_folder_that_cannot_be_written_is_named(places, run, daemon):
    (places / "config" / "servers").write_text("a file in the way")
    code, _, err = run("add", "--server", "x", "--url", "https://h/")
    assert code == 2
    assert f"cannot read {places}/config/servers/x.toml" in err


@pytest.mark.parametrize("words", [("x",), ("--server", "x")])
def test_remove_takes_the_file_and_the_secrets(daemon, run, words):
    run("add", "--server", "x", "--url", "https://one/", "--bearer-token", "t")
    assert run("remove", *words) == (0, "removed x\n", "")
    assert server_files.names() == []
    assert daemon.secrets == {}


def test_remove_of_an_unknown_name_suggests_the_nearest(daemon, run):
    run("add", "--server", "slack", "--url", "https://one/")
    code, _, err = run("remove", "slak")
    assert code == 4
    assert "did you mean 'slack'?" in err
    assert "mcpctl list" in run("remove", "zzzzz")[2]


def test_remove_needs_one_name(daemon, run):
    assert run("remove")[0] == 2
    assert run("remove", "a", "--server", "b")[0] == 2
    assert run("remove", "../x")[0] == 2


def test_list_is_a_table_and_names_broken_files_on_stderr(daemon, run):
    run("add", "--server", "x", "--url", "https://one/")
    daemon.config_errors = [{"file": "/c/bad.toml", "message": "line 1:\nno\x1b[2J"}]
    code, out, err = run("list")
    assert code == 0
    assert out.splitlines() == [
        "NAME  TRANSPORT               SESSIONS  CLIENTS  TARGET",
        "x     auto (streamable-http)         0  -        http://127.0.0.1:1/mcp",
    ]
    assert err == "mcpctl: cannot use /c/bad.toml: line 1: no\\x1b[2J\n"


def test_list_as_json_is_the_answer_of_the_api_and_the_clients(daemon, run):
    run("add", "--server", "x", "--url", "https://one/")
    (server,) = json.loads(run("list", "--json")[1])["servers"]
    assert server == {**daemon.server("x"), "clients": [], "fly": None}
