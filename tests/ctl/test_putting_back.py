"""`mcpctl clients put-back`: only what we put there, and have not taken out since, is written again."""

import io
import json
import sys

import pytest

from mcpctl import server_files
from mcpctl.clients import our_words

EMPTY = '{\n  "mcpServers": {},\n  "theme": "dark"\n}\n'
SERVER = ("--server", "notes", "--url", "http://127.0.0.1:1/mcp")


@pytest.fixture
def file(daemon, places, run):
    """Claude Desktop's file, into which `notes` was put."""
    made = places / ".config" / "Claude" / "claude_desktop_config.json"
    made.parent.mkdir(parents=True)
    made.write_text(EMPTY)
    assert run("add", *SERVER, "--claude")[0] == 0
    return made


@pytest.fixture
def put_back(file, run, monkeypatch):
    def put_back(*, client="claude-desktop", path=file, entry="notes", text=None):
        command, *args = our_words("notes", for_project=False)
        text = text or json.dumps({"command": command, "args": args, "timeout": 60})
        monkeypatch.setattr(sys, "stdin", io.StringIO(text))
        return run("clients", "put-back", "--client", client, "--file", str(path), entry)

    return put_back


def test_an_entry_is_written_as_it_was_and_nothing_else_moves(file, put_back):
    file.write_text(EMPTY)
    code, out, _ = put_back()
    assert (code, out) == (0, f"put back: notes in {file}\n")
    written = json.loads(file.read_text())
    assert written["mcpServers"]["notes"]["timeout"] == 60
    assert file.read_text().endswith('},\n  "theme": "dark"\n}\n')


def test_even_when_the_section_has_gone(file, put_back):
    file.write_text('{"theme": "dark"}')
    assert put_back()[0] == 0
    assert json.loads(file.read_text())["mcpServers"].keys() == {"notes"}


def test_an_entry_that_is_there_is_left_as_it_is(file, put_back):
    before = file.read_bytes()
    assert put_back()[1] == f"is there: notes in {file}\n"
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    ("given", "code", "why"),
    [
        ({"client": "cursor"}, 2, "not known to wipe"),
        ({"client": "nobody"}, 4, "there is no client"),
        ({"path": "/etc/passwd"}, 2, "not known to wipe entries from /etc/passwd"),
        ({"entry": "other"}, 4, "was not put into"),
        ({"text": '{"command": "sh"}'}, 2, "does not attach to notes"),
        ({"text": '{"command": "mcpctl", "args": ["attach", "x"]}'}, 2, "does not attach to notes"),
        ({"text": "}{"}, 2, "notes"),
    ],
)
def test_what_is_not_ours_to_put_back_is_refused(file, put_back, given, code, why):
    file.write_text(EMPTY)
    found, _, err = put_back(**given)
    assert (found, why in err) == (code, True), err
    assert file.read_text() == EMPTY


@pytest.mark.parametrize(
    ("argv", "code"),
    [
        (("remove", "notes", "--claude"), 5),
        (("remove", "notes"), 5),
        (("clients", "undo"), 4),
    ],
)
def test_what_the_user_has_taken_out_stays_out(file, put_back, run, argv, code):
    assert run(*argv)[0] == 0
    assert file.read_text() == EMPTY
    assert put_back()[0] == code
    assert file.read_text() == EMPTY


def test_an_entry_of_a_server_that_is_no_more_stays_out(file, put_back):
    server_files.remove("notes")
    file.write_text(EMPTY)
    code, _, err = put_back()
    assert (code, "server notes was removed" in err) == (4, True)
    assert file.read_text() == EMPTY
