"""`mcpctl launch` up to where Fly is asked, with the real program; the rest of it is in tests/e2e/test_launch.py."""

import base64
import json
import os
import re
import shlex
import sys
import tomllib
from pathlib import Path

import pytest

from mcpctl import cli, fly_servers, server_files, wire
from mcpctl.commands import launch, launch_flags
from mcpctl.errors import CtlError
from mcpctld.config.load import load_folder
from mcpctld.launch.command import FRONT
from mcpctld.launch.machine_config import machine_config
from mcpctld.launch.resolve import resolve
from mcpctld.launch.wish import Wish

DOCS = Path(__file__).parent.parent.parent / "docs" / "launch.md"
TIME = "uvx mcp-server-time"


def parsed(*words):
    words, command = cli.split_command(["launch", *words])
    args = cli.make_parser("launch").parse_args(words)
    if command is not None:
        args.command = command
    return args


def wish(*words):
    args = parsed(*words)
    return launch_flags.wish(args, launch_flags.command_line(args))


def test_what_is_not_said_is_left_to_the_program():
    assert wish(TIME) == {
        "command": TIME,
        "at": "fly.io",
        "bearer": True,
        "flycast": False,
        "secrets": {},
        "policy": "attached",
    }


def test_every_flag_is_a_field_of_the_wish(tmp_path, monkeypatch):
    (tmp_path / "f").write_bytes(b"\xffx")
    (tmp_path / "m.json").write_text('{"schedule": "daily"}')
    monkeypatch.setenv("FROM_HERE", "hush")
    found = wish(
        TIME, "--server", "time", "--name", "app", "--local", "--org", "acme", "-r", "iad", "--image", "i",
        "--setup", "a, b", "--setup", "c", "--transport", "sse", "--port", "1", "--wrapper", "fly", "--flycast",
        "--auto-stop", "stop", "--policy", "never", "--secret", "A=b=c", "--secret", "FROM_HERE", "--env", "E=f",
        "--file-local", f"/l={tmp_path}/f", "--file-literal", "/t=a=b", "--file-secret", "/s=A", "-v", "d:/d",
        "--vm-size", "s", "--cpus", "2", "--vm-cpukind", "k", "--memory", "1gb", "--host-dedication-id", "h",
        "--machine-config", f"{tmp_path}/m.json", "--user", "me", "--password", "p",
    )  # fmt: skip
    made = Wish(**found)
    assert made == Wish(
        command=TIME, server="time", name="app", at="local", org="acme", region="iad", image="i", setup=["a, b", "c"],
        transport="sse", port=1, wrapper="fly", flycast=True, auto_stop="stop", policy="never",
        secrets={"A": "b=c", "FROM_HERE": "hush"}, env={"E": "f"},
        file_local={"/l": base64.b64encode(b"\xffx").decode()}, file_literal={"/t": "a=b"}, file_secret={"/s": "A"},
        volume="d:/d", vm_size="s", vm_cpus=2, vm_cpu_kind="k", vm_memory="1gb", host_dedication_id="h",
        machine_config={"schedule": "daily"}, user="me", password="p", bearer=False,
    )  # fmt: skip
    assert set(found) == set(Wish.__struct_fields__)


@pytest.mark.parametrize(
    ("words", "bearer"),
    [
        ([], True),
        (["--bearer-token"], True),
        (["--bearer-token=true"], True),
        (["--bearer-token=false"], False),
    ],
)
def test_a_token_is_usual(words, bearer):
    assert wish(TIME, *words)["bearer"] is bearer


def test_a_machine_that_is_never_stopped_is_kept_awake():
    assert wish(TIME, "--auto-stop", "off")["policy"] == "always"
    assert wish(TIME, "--auto-stop", "off", "--policy", "never")["policy"] == "never"


def test_words_behind_two_dashes_are_a_command():
    assert shlex.split(wish("--server", "x", "--", "sh", "-c", "a b")["command"]) == [
        "sh",
        "-c",
        "a b",
    ]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ([TIME, "--", "x"], "say the command once"),
        ([TIME, "--env", "A"], "cannot read --env A: write it as K=VALUE"),
        ([TIME, "--file-literal", "=x"], "write it as /PATH=TEXT"),
        ([TIME, "--env", "A=1", "--env", "A=2"], "--env A is given twice"),
        ([TIME, "--secret", "A=1", "--secret", "A=2"], "secret A is given twice"),
        ([TIME, "-v", "a:/a", "-v", "b:/b"], "give --volume once"),
        ([TIME, "--password", "x"], "--password needs --user"),
        ([TIME, "--user", "x"], "cannot ask for the password without a terminal"),
        ([TIME, "--file-local", "/x=/nowhere"], "cannot read /nowhere"),
        ([TIME, "--machine-config", "/dev/null"], "cannot read /dev/null as JSON"),
        ([TIME, "--region", "nowhere", "--vm-memory", "1"], "steps of 256.*three letters such as iad"),
        ([], "say what to launch"),
        ([TIME, "--bearer-token=perhaps"], "must be true or false"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_before_anything_is_made(daemon, run, words, reason):
    code, out, err = run("launch", *words)
    assert (code, out) == (2, "")
    assert re.search(reason, err)
    assert server_files.names() == []


def test_a_list_is_no_machine_config(tmp_path, run):
    (tmp_path / "m").write_text("[]")
    code, _, err = run("launch", TIME, "--machine-config", f"{tmp_path}/m")
    assert code == 2
    assert "must hold a JSON object" in err


def test_a_file_that_is_too_long_is_refused(tmp_path, run):
    (tmp_path / "long").write_bytes(b"x" * (launch_flags.MAX_FILE_BYTES + 1))
    assert "longer than" in run("launch", TIME, "--file-local", f"/l={tmp_path}/long")[2]


def test_a_plan_is_shown_and_nothing_made(places, daemon, run):
    file = places / "mcp.json"
    file.write_text('{"mcpServers": {}}')
    code, out, err = run(
        "launch",
        TIME,
        "--server",
        "time",
        "--dry-run",
        "--secret",
        "A=hush",
        "--config",
        str(file),
        "--setup",
        "x",
    )
    assert code == 0
    assert "would launch time as app time:" in out
    assert "make the machine: POST /v1/apps/time/machines" in out
    assert '"mcpServers": {"time": {' in out
    assert "at each cold start" in err
    assert "hush" not in out + err
    assert file.read_text() == '{"mcpServers": {}}'
    assert server_files.names() == []


def test_a_plan_as_json(run):
    code, out, _ = run("launch", TIME, "--dry-run", "--json")
    assert code == 0
    assert json.loads(out)["calls"][0]["method"] == "GET"


def test_a_name_that_is_taken_here_is_refused(daemon, run):
    run("add", "--server", "time", "--url", "http://127.0.0.1:1/")
    code, _, err = run("launch", TIME, "--server", "time")
    assert code == 5
    assert "--replace" in err
    assert run("launch", TIME, "--server", "time", "--dry-run", "--replace")[0] == 0


def test_without_a_token_it_is_said_how_to_get_one(places, daemon, run, monkeypatch):
    for name in ("FLY_ACCESS_TOKEN", "FLY_API_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    code, _, err = run("launch", TIME, "--server", "time")
    assert code == 3
    assert "fly tokens create org" in err
    assert "--local" in err
    assert server_files.names() == []


def test_files_for_fly_deploy(tmp_path, run):
    folder = tmp_path / "new" / "folder"
    code, _, _ = run("launch", TIME, "--eject", str(folder), "--secret", "A=hush")
    assert code == 0
    assert sorted(os.listdir(folder)) == ["Dockerfile", "fly.toml"]
    assert "hush" not in (folder / "fly.toml").read_text()
    assert run("doctor", str(folder / "fly.toml")) == (
        0, f"{folder}/fly.toml: nothing found that would hurt an MCP server\n", "",
    )  # fmt: skip
    code, _, err = run("launch", TIME, "--eject", str(folder))
    assert code == 5
    assert "--replace writes over it" in err
    assert run("launch", "uvx x", "--eject", str(folder), "--replace", "--json")[0] == 0
    assert 'CMD ["uvx", "x"]' in (folder / "Dockerfile").read_text()


def test_a_folder_that_cannot_be_made_is_said(tmp_path, run):
    (tmp_path / "file").touch()
    code, _, err = run("launch", TIME, "--eject", str(tmp_path / "file" / "x"))
    assert code == 2
    assert "cannot write" in err


def test_the_preset_of_a_volume(run):
    code, out, _ = run("volume", "--dry-run", "--json")
    calls = {call["path"]: call["body"] for call in json.loads(out)["calls"]}
    config = calls["/v1/apps/volume/machines"]["config"]
    assert code == 0
    assert config["init"]["cmd"] == [
        "npx",
        "-y",
        "@modelcontextprotocol/server-filesystem",
        "/data",
    ]
    assert config["mounts"] == [
        {
            "volume": "VOLUME",
            "name": "data",
            "path": "/data",
            "extend_threshold_percent": 80,
            "add_size_gb": 1,
            "size_gb_limit": 10,
        }
    ]
    assert calls["/v1/apps/volume/volumes"]["size_gb"] == 1


def test_the_preset_can_be_changed(run):
    words = (
        "--source",
        "d",
        "--destination",
        "/srv",
        "--initial-size",
        "2GB",
        "--snapshot-retention",
        "7",
    )
    calls = json.loads(run("volume", "--dry-run", "--json", "--server", "files", *words)[1])[
        "calls"
    ]
    [body] = [call["body"] for call in calls if call["path"].endswith("/volumes")]
    assert (body["name"], body["size_gb"], body["snapshot_retention"]) == ("d", 2, 7)
    assert run("volume", "-v", "a:/a")[0] == 2


# ---------------------------------------------------------------- what is written here


def written(fields, **made):
    made = {"app": "time", "machine": "m1", "url": "https://time.fly.dev/mcp", **made}
    return fly_servers.draft(
        {"at": "fly.io", "policy": "attached", **fields}, made, "streamable-http"
    )


@pytest.mark.parametrize(
    ("fields", "headers", "secrets"),
    [
        ({"bearer": True}, {"Authorization": "Bearer ${secret:bearer-token}"}, {}),
        ({"bearer": False}, None, {}),
        (
            {"bearer": False, "user": "me", "password": "p:\N{SNOWMAN}"},
            {"Authorization": "Basic ${secret:basic}"},
            {"basic": base64.b64encode("me:p:\N{SNOWMAN}".encode()).decode()},
        ),
    ],
)
def test_a_server_is_written_with_the_credentials_that_it_wants(fields, headers, secrets):
    draft = written(fields)
    assert draft.spec.get("headers") == headers
    assert draft.secrets == secrets


@pytest.mark.parametrize(
    ("fields", "made", "fly"),
    [
        ({}, {}, {"app": "time", "machine": "m1", "at": "fly.io", "policy": "attached"}),
        ({"at": "local", "auto_stop": "stop"}, {"machine": None},
         {"app": "time", "at": "local", "policy": "attached", "sleep": "stop"}),
    ],
)  # fmt: skip
def test_the_daemon_can_read_what_a_launch_writes(fields, made, fly):
    draft = written(fields, **made)
    assert draft.spec["fly"] == fly
    server_files.write("time", server_files.encode(draft.spec), replace=False)
    loaded = load_folder(wire.config_dir())
    assert loaded.errors == []
    assert loaded.servers["time"].spec.fly.app == "time"
    assert fly_servers.places() == {"time": fly}


def test_a_server_that_was_not_launched_has_no_place(daemon, run):
    run("add", "--server", "plain", "--url", "http://127.0.0.1:1/")
    Path(server_files.path_of("broken")).write_text("= 1")
    for name, reason in (
        ("plain", "was not launched"),
        ("none", "there is no server"),
        ("broken", "was not launched"),
    ):
        for command in ("rollback", "rotate", "secrets", "logs", "status"):
            code, _, err = run(command, name)
            assert code == 4
            assert reason in err
    assert fly_servers.places() == {}


def test_a_server_that_was_removed_is_destroyed_by_the_record_of_its_launch(daemon, run):
    server_files.write("time", b'url = "http://h/"\n[fly]\napp = "app-of-time"\n', replace=False)
    code, _, err = run("remove", "time")
    assert code == 0
    assert "app app-of-time is left on Fly; 'mcpctl destroy time' deletes it" in err
    code, _, err = run("destroy", "time", "--yes")  # there is no such record here
    assert code == 4
    assert "it was not launched from here" in err


@pytest.mark.parametrize("words", [("scale", "x"), ("update", "x")])
def test_a_change_has_to_be_said(run, words):
    code, _, err = run(*words)
    assert code == 2
    assert "say " in err


def test_nothing_is_destroyed_without_being_asked(daemon, run):
    server_files.write("time", b'url = "http://h/"\n[fly]\napp = "time"\n', replace=False)
    code, _, err = run("destroy", "time")
    assert code == 2
    assert "--yes" in err
    assert server_files.names() == ["time"]


@pytest.mark.parametrize("words", [(), ("--daemon", "time")])
def test_it_has_to_be_said_whose_log(run, words):
    code, _, err = run("logs", *words)
    assert code == 2
    assert "mcpctl logs NAME" in err


# ---------------------------------------------------------------- doctor


def test_what_will_hurt_is_said(tmp_path, run):
    file = tmp_path / "fly.toml"
    file.write_text("[http_service]\nauto_stop_machines = 'suspend'\nauto_start_machines = false\n")
    code, out, _ = run("doctor", str(file))
    assert code == 1
    assert (
        "problem: auto_start_machines: false with autostop suspend: once asleep it never comes back"
        in out
    )
    assert out.splitlines()[-1].startswith(f"{file}: 3 problems, ")
    code, out, _ = run("doctor", str(file), "--json")
    assert code == 1
    assert {one["level"] for one in json.loads(out)["findings"]} == {"problem", "advice"}


@pytest.mark.parametrize(
    ("data", "reason"),
    [(b"=", "cannot read it as TOML"), (b"\xff", "not UTF-8"), (None, "cannot read")],
)
def test_a_file_that_is_none_is_said(tmp_path, run, data, reason):
    if data is not None:
        (tmp_path / "fly.toml").write_bytes(data)
    code, _, err = run("doctor", str(tmp_path / "fly.toml"))
    assert code == 2
    assert reason in err


def test_a_file_that_is_too_long_is_no_fly_toml(tmp_path, run):
    (tmp_path / "fly.toml").write_text("#" * 1024 * 1024 + "##")
    assert "too long" in run("doctor", str(tmp_path / "fly.toml"))[2]


# ---------------------------------------------------------------- what the documentation says


def blocks(kind):
    return re.findall(rf"^```{kind}\n(.*?)^```", DOCS.read_text(), flags=re.MULTILINE | re.DOTALL)


def test_every_command_of_the_documentation_can_be_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = "".join(blocks("sh")).replace("\\\n", "").splitlines()
    commands = [line for line in lines if line.startswith("mcpctl ")]
    assert len(commands) > 12
    for line in commands:
        words, _ = cli.split_command(shlex.split(line, comments=True)[1:])
        assert cli.make_parser(words[0]).parse_args(words)


def test_the_dockerfile_of_the_documentation_starts_our_front():
    [text] = blocks("dockerfile")
    assert f"ENTRYPOINT {json.dumps([*FRONT, '--'])}" in text


def test_the_containers_of_the_documentation_are_those_of_a_machine():
    [text] = blocks("json")
    found = resolve(Wish(command="uvx mcp-server-redis", machine_config=json.loads(text)))
    config = machine_config(found, launch_id="L", region="iad")
    assert "init" not in config
    assert config["containers"][0]["entrypoint"] == [*FRONT, "--"]
    assert config["services"][0]["internal_port"] == 8080


def test_the_examples_of_toml_are_toml():
    for text in blocks("toml"):
        tomllib.loads(text)


def test_the_inspector_becomes_a_client_of_the_server(tmp_path, monkeypatch):
    npx = tmp_path / "npx"
    npx.write_text("#!/bin/sh\n")
    npx.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    started = []
    monkeypatch.setattr(os, "execve", lambda path, words, environment: started.append(words))
    launch.inspect("time")
    assert started == [
        [
            str(npx),
            "-y",
            "@modelcontextprotocol/inspector",
            sys.executable,
            "-m",
            "mcpctl",
            "attach",
            "time",
        ]
    ]
    npx.unlink()
    with pytest.raises(CtlError, match="needs npx"):
        launch.inspect("time")
