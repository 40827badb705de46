"""What is heard of the program: a small one says what each test wants, over a real pipe."""

import json
import signal
import textwrap

import pytest

from mcpctl import fly_program
from mcpctl.errors import CtlError


@pytest.fixture
def says(tmp_path, monkeypatch):
    """Make a program of some Python; its name."""

    def make(source):
        text = "import json, sys\nrequest = json.load(sys.stdin)\n" + textwrap.dedent(source)
        (tmp_path / "spoken.py").write_text(text)
        return "spoken"

    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return make


EMIT = "def emit(**event): print(json.dumps(event), flush=True)\n"


def test_the_request_goes_in_and_the_result_comes_out(says, capsys):
    program = says(EMIT + 'emit(event="result", operation=sys.argv[1], got=request)')
    made = fly_program.run("launch", {"secret": "hush"}, program=program)
    assert made == {"operation": "launch", "got": {"secret": "hush"}}
    assert capsys.readouterr() == ("", "")


def test_progress_is_shown_on_stderr(says, capsys):
    program = says(
        EMIT
        + """
        emit(event="step", text="made app time")
        emit(event="log", text="a\\tb\\x1b[2J")
        emit(event="unheard-of")
        emit(event="result")
    """.replace("\n        ", "\n")
    )
    assert fly_program.run("x", {}, program=program) == {}
    assert capsys.readouterr().err == "mcpctl: made app time\nmcpctl: a b\\x1b[2J\n"


def test_what_a_command_takes_is_not_shown(says, capsys):
    program = says(
        EMIT + 'emit(event="step", text="a")\nemit(event="log", text="b")\nemit(event="result")'
    )
    seen = []

    def takes(event):
        seen.append(event["text"])
        return event["event"] == "log"

    fly_program.run("x", {}, program=program, takes=takes)
    assert seen == ["a", "b"]
    assert capsys.readouterr().err == "mcpctl: a\n"


@pytest.mark.parametrize(("kind", "code"), [("denied", 3), ("unreachable", 6), ("unheard-of", 70)])
def test_an_error_is_ours_with_its_kind(says, kind, code):
    program = says(EMIT + f'emit(event="error", kind="{kind}", message="no token")\nsys.exit(9)')
    with pytest.raises(CtlError, match="no token") as failed:
        fly_program.run("x", {}, program=program)
    assert failed.value.exit_code == code


@pytest.mark.parametrize("source", ["sys.exit(4)", "", EMIT + 'emit(event="step", text="a")'])
def test_a_program_that_says_nothing_at_its_end_is_a_bug(says, source):
    with pytest.raises(CtlError, match=r"x ended with code \d and said nothing") as failed:
        fly_program.run("x", {}, program=says(source))
    assert failed.value.kind == "internal"


@pytest.mark.parametrize("line", ["hello", "[]", "\\xff"])
def test_what_is_no_event_is_a_bug(says, line):
    with pytest.raises(CtlError, match="cannot understand") as failed:
        fly_program.run("x", {}, program=says(f"print('{line}')"))
    assert failed.value.kind == "internal"


def test_a_program_that_does_not_read_says_why_it_ended(tmp_path, monkeypatch):
    (tmp_path / "deaf.py").write_text(
        'import os\nos.close(0)\nprint(\'{"event": "error", "kind": "denied", "message": "deaf"}\')'
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(CtlError, match="deaf"):
        fly_program.run("x", {"much": "x" * 1_000_000}, program="deaf")


UNDOING = (
    EMIT
    + """
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
emit(event="step", text="ready")
signal.sigwait([signal.SIGINT])
emit(event="step", text="undone")
emit(event="error", kind="timeout", message="stopped; run it again to go on")
sys.exit(130)
"""
)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_is_passed_on_and_the_end_heard_out(says, capsys, number):
    before = signal.getsignal(signal.SIGTERM)

    def takes(event):
        if event["text"] == "ready":
            signal.raise_signal(number)
        return False

    with pytest.raises(KeyboardInterrupt):
        fly_program.run("x", {}, program=says(UNDOING), takes=takes)
    assert capsys.readouterr().err == "mcpctl: undone\nmcpctl: stopped; run it again to go on\n"
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_program_that_dies_of_an_interrupt_was_interrupted(says):
    program = says("import os, signal\nsignal.signal(2, signal.SIG_DFL)\nos.kill(os.getpid(), 2)")
    with pytest.raises(KeyboardInterrupt):
        fly_program.run("x", {}, program=program)


def test_a_failure_of_ours_ends_the_program(says):
    def takes(event):
        raise RuntimeError("ours")

    with pytest.raises(RuntimeError, match="ours"):
        fly_program.run("x", {}, program=says(UNDOING), takes=takes)


def test_the_real_one_answers_without_asking_anybody():
    made = fly_program.offline("plan", {"command": "uvx mcp-server-time"})
    assert (made["server"], made["transport"]) == ("mcp-server-time", "streamable-http")
    assert json.dumps(made["calls"])
