import os
import subprocess
import sys

import pytest

from mcpctl import cli, wire
from mcpctl.commands import status


def mcpctl(*argv, **options):
    return subprocess.run(
        [sys.executable, "-m", "mcpctl", *argv],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        **options,
    )


def test_version():
    done = mcpctl("--version")
    assert (done.returncode, done.stdout) == (0, f"mcpctl {wire.VERSION}\n")


def test_help_is_the_answer_and_names_every_command_and_exit_code():
    done = mcpctl("--help")
    assert (done.returncode, done.stderr) == (0, "")
    for word in (*cli.MODULES, *cli.FAST, *wire.KINDS):
        assert f" {word}" in done.stdout


@pytest.mark.parametrize("argv", [(), ("nonsense",), ("list", "--nonsense"), ("list", "--", "x")])
def test_a_wrong_command_line_exits_as_bad_request(run, argv):
    code, out, err = run(*argv)
    assert (code, out) == (2, "")
    assert "usage: mcpctl" in err


def test_a_flag_is_not_guessed_from_its_beginning(run):
    assert run("status", "--js")[0] == 2


def test_attach_does_not_pay_for_the_command_line(places):
    code = (
        "import sys; sys.argv = ['mcpctl', 'attach', '--help']\n"
        "from mcpctl.__main__ import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "wanted = {'argparse', 'json', 'http', 're', 'dataclasses', 'mcpctl.cli'}\n"
        "print('heavy:', sorted(wanted & set(sys.modules)))"
    )
    argv = [sys.executable, "-I", "-S", "-c"]
    folder = wire.__file__.rpartition("/mcpctl/")[0]
    prologue = f"import sys; sys.path.insert(0, {folder!r})\n"
    done = subprocess.run([*argv, prologue + code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("heavy: []\n")


def test_a_command_loads_its_own_module_only():
    code = (
        "import sys; from mcpctl import cli\n"
        "cli.main(['logs', '--daemon'])\n"
        "print(sorted(m for m in sys.modules if m.startswith('mcpctl.commands.')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "['mcpctl.commands.common', 'mcpctl.commands.logs']\n"


def failing(monkeypatch, exc):
    def client():
        raise exc

    monkeypatch.setattr(status, "Client", client)


def test_a_bug_is_one_line_and_no_traceback(run, monkeypatch):
    failing(monkeypatch, ZeroDivisionError("by zero"))
    code, out, err = run("status")
    assert (code, out) == (70, "")
    assert err == "mcpctl: bug: ZeroDivisionError: by zero (MCPCTL_DEBUG=1 shows where)\n"


def test_a_bug_can_be_seen_whole(run, monkeypatch):
    monkeypatch.setenv("MCPCTL_DEBUG", "1")
    failing(monkeypatch, ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        run("status")


def test_an_interrupt_is_quiet(run, monkeypatch):
    failing(monkeypatch, KeyboardInterrupt())
    assert run("status") == (130, "", "")


def test_a_reader_that_leaves_is_no_error(daemon):
    argv = [sys.executable, "-m", "mcpctl", "--help"]
    env = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    with subprocess.Popen(argv, env=env, stdout=-1, stderr=-1) as process:
        process.stdout.close()
        assert process.wait(10) in (0, 141)
        assert process.stderr.read() == b""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_a_full_disk_below_stdout_is_told(daemon):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "mcpctl", "list"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 6
    assert done.stderr == "mcpctl: cannot write the answer: No space left on device\n"
