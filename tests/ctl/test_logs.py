import json
import os
import signal
import subprocess
import sys
import time

import pytest

from mcpctl.commands import logs
from mcpctl.daemon_process import log_file

TS = 1_800_000_000.25


def record(event, **fields):
    return json.dumps({"ts": TS, "level": "info", "event": event, **fields}) + "\n"


def clock():
    return time.strftime("%H:%M:%S", time.localtime(TS))


def write(*lines, mode="w"):
    with open(log_file(), mode) as file:
        file.writelines(lines)


def test_a_line_is_clock_level_event_and_fields(run, places):
    write(record("session opened", server="x", n=3, text="two words", none=None))
    line = f'{clock()} info    session opened server=x n=3 text="two words" none=null\n'
    assert run("logs", "--daemon") == (0, line, "")


def test_json_is_the_file_as_it_is(run, places):
    write(record("a"), "broken {\n")
    assert run("logs", "--daemon", "--json")[1] == record("a") + "broken {\n"


@pytest.mark.parametrize(
    "line", ["broken {", "[1]", "3", "{}", '{"ts": "x"}', '{"ts": 1e300}', "\x1b[2J"]
)
def test_a_line_that_is_no_record_is_shown_as_it_is(run, places, line):
    write(line + "\n")
    assert run("logs", "--daemon")[1] == line.replace("\x1b", "\\x1b") + "\n"


def test_bytes_that_are_no_text_are_shown(run, places):
    with open(log_file(), "wb") as file:
        file.write(b"\xff\xfe half")
    assert run("logs", "--daemon")[1] == "\\xff\\xfe half\n"


def test_only_the_last_lines_are_shown(run, places):
    write(*(record(f"e{i}") for i in range(100)))
    assert [line.split()[-1] for line in run("logs", "--daemon", "-n", "2")[1].splitlines()] == [
        "e98",
        "e99",
    ]
    assert len(run("logs", "--daemon")[1].splitlines()) == logs.LINES
    assert run("logs", "--daemon", "-n", "0")[1] == ""


def test_bad_flags_are_refused(run):
    assert run("logs")[0] == 2
    assert run("logs", "--daemon", "-n", "-1")[0] == 2


def test_no_log_is_not_found(run, places):
    code, _, err = run("logs", "--daemon")
    assert code == 4
    assert "there is no log yet" in err


def test_follow_goes_on_through_rotation_and_loses_nothing(places):
    write(record("one"))
    argv = [sys.executable, "-m", "mcpctl", "logs", "--daemon", "-f", "--json"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        seen = []

        def expect(event):
            seen.append(json.loads(process.stdout.readline())["event"])
            assert seen[-1] == event

        expect("one")
        write(record("two")[:10], mode="a")
        write(record("two")[10:], mode="a")
        expect("two")
        os.rename(log_file(), log_file() + ".1")
        with open(log_file() + ".1", "a") as old:
            old.write(record("last of the old"))
        write(record("first of the new"))
        expect("last of the old")
        expect("first of the new")
        write(record("a"))  # cut and written anew: shorter than what was read
        expect("a")
        process.send_signal(signal.SIGINT)
        try:
            assert process.wait(10) == 130
        finally:
            process.kill()
