"""The files for service managers are right by the judgement of the service managers' own tools."""

import contextlib
import json
import os
import plistlib
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest

from mcpctl import daemon_process, units, wire
from mcpctl.client import Client
from mcpctl.errors import CtlError

ODD = ["/opt/with space/50%/$x/\"q\"/'s'/back\\slash/mcpctld"]


def tool(name):
    """The path of a program; without it the test is skipped, or fails by MCPCTL_REQUIRE=systemd."""
    found = shutil.which(name)
    if found is None:
        if "systemd" in os.environ.get("MCPCTL_REQUIRE", "").split(","):
            pytest.fail(f"MCPCTL_REQUIRE names systemd, but {name} is not installed")
        pytest.skip(f"{name} is not installed")
    return found


@pytest.fixture
def places(monkeypatch):
    folder = Path(tempfile.mkdtemp(prefix="unit"))
    for name in ("config", "state", "runtime"):
        (folder / name).mkdir(mode=0o700)
        monkeypatch.setenv(f"MCPCTL_{name.upper()}_DIR", str(folder / name))
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("MCPCTL_SECRETS", "file")
    yield folder
    shutil.rmtree(folder)


def settings(text, section):
    """The `Key=Value` lines of a section of a unit, in order."""
    lines = text.partition(f"[{section}]\n")[2].partition("\n[")[0].splitlines()
    return [tuple(line.split("=", 1)) for line in lines if line and line[0] != "#"]


@pytest.mark.parametrize("program", [daemon_process.program(), ODD], ids=["ours", "odd"])
def test_systemd_accepts_the_units(places, tmp_path, program):
    verify = tool("systemd-analyze")
    odd = tmp_path / "folder with 50% odd $names"
    if program is ODD:
        odd.mkdir()
        program = [str(odd / "mcpctld")]
        Path(program[0]).write_text("#!/bin/sh\n")
        Path(program[0]).chmod(0o755)
    for name, text in units.systemd_units(program).items():
        assert "@" not in text.replace("between @ signs", "")
        (tmp_path / name).write_text(text)
    done = subprocess.run(
        [verify, "verify", "--user", "--man=no", *(str(tmp_path / n) for n in units.SYSTEMD_UNITS)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path), "SYSTEMD_LOG_LEVEL": "warning"},
    )
    ours = [line for line in done.stderr.splitlines() if "mcpctld" in line]
    assert (done.returncode, ours) == (0, [])


def test_every_word_of_the_command_survives_systemd(places):
    text = units.systemd_units([*ODD, "-m", "a $b"])["mcpctld.service"]
    command = dict(settings(text, "Service"))["ExecStart"]
    odd = '"/opt/with space/50%%/$x/\\"q\\"/\'s\'/back\\\\slash/mcpctld"'
    assert command == f'{odd} -m "a $$b"'


def test_the_sockets_are_named_and_private(places):
    rendered = units.systemd_units(["/x"])
    for name in ("attach", "control"):
        file = "mcpctld.socket" if name == "attach" else "mcpctld-control.socket"
        found = dict(settings(rendered[file], "Socket"))
        assert found["ListenStream"] == f"{places}/runtime/{name}.sock"
        assert found["FileDescriptorName"] == name
        assert found["Service"] == "mcpctld.service"
        assert (found["SocketMode"], found["DirectoryMode"]) == ("0600", "0700")


def test_the_usual_socket_folder_is_that_of_the_login_session(monkeypatch):
    monkeypatch.delenv("MCPCTL_RUNTIME_DIR", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", f"/run/user/{os.getuid()}")
    found = dict(settings(units.systemd_units(["/x"])["mcpctld.socket"], "Socket"))
    assert found["ListenStream"] == "%t/mcpctl/attach.sock"


def test_the_service_finds_the_folders_of_the_one_who_installed_it(places, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", "/etc/my certs/50%.pem")
    monkeypatch.setenv("HTTPS_PROXY", "http://user:hunter2@proxy:3128")
    monkeypatch.setenv("MCPCTL_BEARER_TOKEN", "hunter2")
    text = units.systemd_units(["/x"])["mcpctld.service"]
    found = [value for key, value in settings(text, "Service") if key == "Environment"]
    assert f"MCPCTL_STATE_DIR={places}/state" in found
    assert '"SSL_CERT_FILE=/etc/my certs/50%%.pem"' in found
    assert "hunter2" not in text


def test_a_line_break_cannot_add_a_setting(places, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", "/x\nExecStartPre=/bin/evil")
    for render in (units.systemd_units, units.launchd_agent):
        with pytest.raises(CtlError, match="line break"):
            render(["/x"])


def test_the_property_list_says_what_launchd_needs(places, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", "/a<b>&c.pem")
    agent = plistlib.loads(units.launchd_agent(["/opt/a & b/mcpctld", "<x>"]).encode())
    assert agent["Label"] == units.LAUNCHD_LABEL
    assert agent["ProgramArguments"] == ["/opt/a & b/mcpctld", "<x>"]
    assert agent["EnvironmentVariables"]["SSL_CERT_FILE"] == "/a<b>&c.pem"
    assert agent["Sockets"] == {
        "attach": {"SockPathName": wire.attach_socket(), "SockPathMode": 0o600},
        "control": {"SockPathName": wire.control_socket(), "SockPathMode": 0o600},
    }
    assert agent["KeepAlive"] == {"SuccessfulExit": False}
    assert agent["StandardErrorPath"].startswith(wire.state_dir())
    assert agent["ExitTimeOut"] > 10


def test_a_connection_starts_the_daemon_with_its_sockets(places):
    activate = tool("systemd-socket-activate")
    argv = [activate, "-l", wire.attach_socket(), "-l", wire.control_socket()]
    variables = [f"-E{key}" for key in os.environ if key.startswith(("MCPCTL_", "HOME"))]
    argv += ["--fdname=attach:control", *variables, *daemon_process.program()]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as process:
        try:
            while process.stderr.readline().count("Listening on") != 1 or not _both_exist():
                assert process.poll() is None
            found = Client(timeout_s=20).status()["daemon"]
            assert (found["activation"], found["pid"]) == ("systemd", process.pid)
            assert _open_sockets(process.pid)
            process.send_signal(signal.SIGTERM)
            assert process.wait(15) == 0
        finally:
            process.kill()
    # They belong to the service manager, which listens on after the daemon has gone.
    assert _both_exist()
    log = Path(daemon_process.log_file()).read_text().splitlines()
    assert json.loads(log[-1])["event"] == "daemon.stopped"


def _both_exist():
    return os.path.exists(wire.attach_socket()) and os.path.exists(wire.control_socket())


def _open_sockets(pid):
    links = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):  # it was just closed
            links.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
    return [link for link in links if link.startswith("socket:")]


def test_the_templates_are_found_in_a_wheel_too(places, tmp_path, monkeypatch):
    package = tmp_path / "mcpctl"
    shutil.copytree(_source() / "systemd", package / "_units/systemd")
    monkeypatch.setattr(units, "__file__", str(package / "units.py"))
    assert sorted(units.systemd_units(["/x"])) == sorted(units.SYSTEMD_UNITS)


def test_an_installation_without_templates_is_told(places, tmp_path, monkeypatch):
    monkeypatch.setattr(units, "__file__", str(tmp_path / "a/b/units.py"))
    with pytest.raises(CtlError, match="install mcpctl again"):
        units.systemd_units(["/x"])


def _source():
    return Path(__file__).parent.parent.parent


def test_the_wait_for_a_drain_is_shorter_than_that_of_the_manager(places):
    text = units.systemd_units(["/x"])["mcpctld.service"]
    assert int(dict(settings(text, "Service"))["TimeoutStopSec"]) > 2 * 10.0
