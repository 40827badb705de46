"""The scripts are run by the shell of this machine; what they would install is played by small programs in PATH."""

import json
import os
import subprocess
import sys

import pytest

from mcpctld.launch import boot

ECHO = '#!/bin/sh\necho front: "$@"\n'
"""What stands where the front would."""


def program(folder, name, text):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(text)
    path.chmod(0o755)


def run(script, *words, path=None):
    env = {**os.environ, "PATH": f"{path or '/nowhere'}:{os.environ['PATH']}"}
    return subprocess.run(
        ["/bin/sh", "-c", script, "sh", *words], env=env, capture_output=True, text=True, timeout=60
    )


def test_steps_run_in_order_and_then_the_words_as_they_are():
    done = run(boot.script(["echo one", "echo two # and a remark"]), "printf", "%s|", "a b", "$c")
    assert done.stdout == "one\ntwo\na b|$c|"


def test_a_step_that_fails_is_the_end():
    done = run(boot.script(["echo one", "exit 3", "echo two"]), "echo", "server")
    assert (done.returncode, done.stdout) == (3, "one\n")
    assert run(boot.script(["false", "echo on"]), "echo", "server").stdout == ""


def test_uv_installs_the_front_where_there_is_one(tmp_path):
    place = tmp_path / "place"
    fake = f'#!/bin/sh\necho uv "$@"\nmkdir -p {place}/bin\nln -sf {tmp_path}/bin/echo-front {place}/bin/mcpctl\n'
    program(tmp_path / "bin", "uv", fake)
    program(tmp_path / "bin", "echo-front", ECHO)
    done = run(
        boot.script([], boot.install("1.2", str(place))),
        "mcpctl",
        "wrap",
        "--",
        "x y",
        path=tmp_path / "bin",
    )
    assert done.stdout.splitlines() == [
        f"uv venv --quiet {place}",
        f"uv pip install --quiet --python {place}/bin/python mcpctl==1.2",
        "front: wrap -- x y",
    ]


def test_python_installs_it_elsewhere(tmp_path):
    place = tmp_path / "place"
    fake = (
        "#!/bin/sh\n"
        f'[ "$1" = -c ] && exit 0\necho python "$@"\nmkdir -p {place}/bin\n'
        f"ln -s {tmp_path}/bin/pip {place}/bin/pip\nln -s {tmp_path}/bin/echo-front {place}/bin/mcpctl\n"
    )
    program(tmp_path / "bin", "python3", fake)
    program(tmp_path / "bin", "pip", '#!/bin/sh\necho pip "$@"\n')
    program(tmp_path / "bin", "echo-front", ECHO)
    script = boot.script([], boot.install("1.2", str(place))).replace("command -v uv ", "false ")
    done = run(script, "mcpctl", "wrap", path=tmp_path / "bin")
    assert done.stdout.splitlines() == [
        f"python -m venv {place}",
        "pip install --quiet --disable-pip-version-check mcpctl==1.2",
        "front: wrap",
    ]


@pytest.mark.parametrize("manager", ["apt-get", "apk"])
def test_a_package_manager_brings_python_where_there_is_none(tmp_path, manager):
    tools = tmp_path / "bin"
    program(tools, "python3", "#!/bin/sh\nexit 1\n")
    program(tools, manager, f'#!/bin/sh\necho {manager} "$@"\n')
    script = boot.script([], boot.install("1.2", str(tmp_path / "place")))
    done = subprocess.run(
        ["/bin/sh", "-c", script], env={"PATH": str(tools)}, capture_output=True, text=True
    )
    assert done.returncode == 1  # this python3 makes no environment
    assert manager in done.stdout
    assert "python3" in done.stdout


def test_an_image_without_any_of_it_says_so(tmp_path):
    script = boot.script([], boot.install("1.2", str(tmp_path)))
    done = subprocess.run(
        ["/bin/sh", "-c", script], env={"PATH": str(tmp_path)}, capture_output=True, text=True
    )
    assert done.returncode == 78
    assert "neither Python 3.11 nor apt-get nor apk" in done.stderr


def test_what_is_installed_is_not_installed_again(tmp_path):
    program(tmp_path / "bin", "mcpctl", ECHO)
    done = run(boot.script([], boot.install("1.2", str(tmp_path))), "mcpctl", "wrap")
    assert done.stdout == "front: wrap\n"


@pytest.mark.parametrize(
    ("config", "words", "out"),
    [
        ({"Entrypoint": ["echo", "-n"], "Cmd": ["usual"]}, [], "usual"),
        ({"Entrypoint": ["echo", "-n"], "Cmd": ["usual"]}, ["a b"], "a b"),
        ({"Cmd": ["echo", "-n", "only"]}, [], "only"),
        ({"Entrypoint": None}, ["echo", "-n", "x"], "x"),
    ],
)
@pytest.mark.parametrize("whole", [True, False])
def test_an_image_runs_what_its_configuration_says(tmp_path, config, words, out, whole):
    file = tmp_path / "image.json"
    file.write_text(json.dumps({"config": config, "os": "linux"} if whole else config))
    command = boot.image_command(sys.executable, str(file))
    done = subprocess.run([*command, *words], capture_output=True, text=True)
    assert (done.stdout, done.returncode) == (out, 0)


def test_an_image_that_starts_nothing_says_so(tmp_path):
    file = tmp_path / "image.json"
    file.write_text('{"config": {}}')
    done = subprocess.run(
        boot.image_command(sys.executable, str(file)), capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "give a command" in done.stderr


def test_fly_is_told_where_to_write_the_configuration_of_the_image():
    assert boot.image_config_file("acme/x") == {
        "guest_path": boot.IMAGE_CONFIG,
        "image_config": "acme/x",
    }
