"""`mcpctl inspect`: everything that a server offers is shown and can be tried, from a terminal or a pipe."""

import io
import json
import os
import pty
import sys

import pytest

from mcpctl.inspecting import arguments

TOOL = {
    "name": "find",
    "title": "Find notes",
    "description": "Searches.\nAlso in the archive.",
    "inputSchema": {
        "type": "object",
        "required": ["text"],
        "properties": {
            "text": {"type": "string"},
            "limit": {"type": "integer"},
            "order": {"enum": ["new", "old"]},
            "tags": {"type": "array", "items": {"type": "string"}},
            "since": {"anyOf": [{"type": "string"}, {"type": "null"}]},
            "raw": True,
        },
    },
    "annotations": {"readOnlyHint": True, "openWorldHint": False},
}
PROMPT = {
    "name": "greet",
    "description": "Says hello",
    "arguments": [{"name": "who", "required": True, "description": "whom"}, {"name": "how"}],
}
RESOURCE = {
    "uri": "note://1",
    "name": "first",
    "mimeType": "text/plain",
    "size": 5,
    "annotations": {"audience": ["user"], "priority": 0.5, "lastModified": "2026-01-01T00:00:00Z"},
}
TEMPLATE = {"uriTemplate": "note://{id}", "name": "any note"}

SHOWN = """\
notes 2.1, MCP 2025-11-25
      Be kind.

TOOLS
  find(text: string, limit?: integer, order?: 'new' | 'old', tags?: string[], since?: string | null, \
raw?: any) [read-only, closed world]
      Find notes
      Searches.
      Also in the archive.

PROMPTS
  greet(who, how?)
      Says hello
      who: whom

RESOURCES
  note://1 [text/plain, 5 bytes, for user, priority 0.5, modified 2026-01-01T00:00:00Z]
      first

RESOURCE TEMPLATES
  note://{id}
      any note
"""


class Notes:
    """A server of 2025-11-25 with one of everything; what it lacks it says it does not know."""

    can = ("tools", "prompts", "resources")

    def __init__(self):
        self.heard = []

    def __call__(self, message):
        self.heard.append(message)
        if "id" not in message:
            return
        found = self.answer(message["method"], message["params"])
        code = {"code": -32601, "message": "no such method"}
        answer = {"error": code} if found is None else {"result": found}
        yield {"jsonrpc": "2.0", "id": message["id"], **answer}

    def answer(self, method, params):
        match method:
            case "initialize":
                return {
                    "protocolVersion": "2025-11-25",
                    "serverInfo": {"name": "notes", "version": "2.1"},
                    "capabilities": {name: {} for name in self.can},
                    "instructions": "Be kind.",
                }
            case "tools/list":
                return {"tools": [TOOL]}
            case "prompts/list":
                return {"prompts": [PROMPT]}
            case "resources/list":
                return {"resources": [RESOURCE]}
            case "resources/templates/list":
                return {"resourceTemplates": [TEMPLATE]}
            case "tools/call" if params["name"] == "find":
                return {"content": [{"type": "text", "text": json.dumps(params["arguments"])}]}
            case "tools/call":
                return {"content": [{"type": "text", "text": "it broke"}], "isError": True}
            case "prompts/get":
                content = {"type": "text", "text": f"hello {params['arguments']}"}
                return {
                    "description": "a greeting",
                    "messages": [{"role": "user", "content": content}],
                }
            case "resources/read" if params["uri"] == "note://1":
                return {"contents": [{"uri": "note://1", "text": "hello"}]}
        return None


@pytest.fixture
def notes(daemon):
    daemon.mcp = Notes()
    return daemon.mcp


@pytest.fixture
def typed(monkeypatch):
    """What comes through the pipe."""

    def typed(*lines):
        monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{line}\n" for line in lines)))

    typed()
    return typed


def test_everything_is_shown(notes, run, typed):
    assert run("inspect", "notes") == (0, SHOWN, "")


def test_as_json_every_item_is_as_the_server_described_it(notes, run, monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)  # and it is not read
    code, out, _ = run("inspect", "--server", "notes", "--json")
    shown = json.loads(out)
    assert code == 0
    assert shown["server"]["instructions"] == "Be kind."
    assert (shown["tools"], shown["prompts"]) == ([TOOL], [PROMPT])
    assert (shown["resources"], shown["resourceTemplates"]) == ([RESOURCE], [TEMPLATE])


def test_what_a_server_does_not_have_is_not_asked_for(notes, run, typed):
    notes.can = ()
    assert run("inspect", "notes")[0] == 0
    assert [m["method"] for m in notes.heard if "list" in m["method"]] == ["tools/list"]


def test_a_list_that_is_declared_and_unknown_is_empty(notes, run, typed, monkeypatch):
    answer = notes.answer
    monkeypatch.setattr(notes, "answer", lambda m, p: None if "templates" in m else answer(m, p))
    code, out, _ = run("inspect", "notes")
    assert (code, "TEMPLATES" in out, "RESOURCES" in out) == (0, False, True)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('call find {"text": "a b", "limit": 3}', '{"text": "a b", "limit": 3}'),
        (
            "call find text=7 limit=3 'since=x y' raw=true",
            '{"text": "7", "limit": 3, "since": "x y", "raw": true}',
        ),
        ("call find", "{}"),
        ("prompt greet who=1", "a greeting\nuser: hello {'who': '1'}"),
        ("read note://1", "hello"),
        ("show find", json.dumps(TOOL, indent=2)),
        ("show note://{id}", json.dumps(TEMPLATE, indent=2)),
        ("# nothing", ""),
    ],
)
def test_commands_come_through_a_pipe(notes, run, typed, line, said):
    typed("", line, "quit", "call broken")
    code, out, err = run("inspect", "notes")
    assert (code, err) == (0, "")
    assert out == SHOWN + (f"{said}\n" if said else "")


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("call broken", 1, "it broke"),
        ("call", 2, "say which: call NAME"),
        ("dance", 2, "there is no command 'dance'"),
        ("call find {", 2, "not JSON"),
        ("call find text", 2, "neither K=V"),
        ("call find 'text", 2, "cannot read the arguments"),
        ("read note://2", 4, "no such method"),
        ("show nothing", 4, "nothing called 'nothing'"),
    ],
)
def test_a_command_that_fails_is_told_and_the_next_one_is_done(notes, run, typed, line, code, said):
    typed(line, "read note://1")
    found, out, err = run("inspect", "notes")
    assert found == code
    assert said in err
    assert out.endswith("hello\n")


def test_at_a_terminal_it_asks_for_commands(notes, run, monkeypatch):
    ours, theirs = pty.openpty()
    with open(theirs, closefd=False) as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
        os.write(ours, b"read note://1\nhelp\nquit\n")
        monkeypatch.setattr("builtins.input", lambda prompt: terminal.readline().rstrip())
        code, out, _ = run("inspect", "notes")
    os.close(ours)
    os.close(theirs)
    assert code == 0
    assert "\nhello\n" in out
    assert "call TOOL" in out


def test_a_server_behind_a_url_gets_the_settings_of_proxy(daemon, notes, run, typed):
    flags = (
        "--bearer-token",
        "t",
        "--instance",
        "m1",
        "--sse",
        "-b",
        "127.0.0.1",
        "--ping",
        "--timeout",
        "9",
    )
    assert run("inspect", "-a", "notes", *flags)[0] == 0
    greeting = daemon.greetings[0]
    for field in (
        ("url", "https://notes.fly.dev/"), ("header", "Authorization: Bearer t"), ("instance", "m1"),
        ("transport", "http-sse"),
    ):  # fmt: skip
        assert field in greeting


def test_the_entry_of_a_client_is_looked_up(daemon, notes, run, typed, places):
    file = places / ".cursor" / "mcp.json"
    file.parent.mkdir()
    ours = {"command": "mcpctl", "args": ["attach", "notes"]}
    file.write_text(json.dumps({"mcpServers": {"mine": ours, "theirs": {"command": "x"}}}))
    assert run("inspect", "--cursor")[0] == 0
    assert run("inspect", "mine", "--config", str(file))[0] == 0
    assert all(("server", "notes") in greeting for greeting in daemon.greetings)
    code, _, err = run("inspect", "theirs", "--cursor")
    assert (code, "mcpctl adopt theirs" in err) == (2, True)
    assert run("inspect", "nobody", "--cursor")[0] == 4
    other = {"command": "mcpctl", "args": ["attach", "other"]}
    file.write_text(json.dumps({"mcpServers": {"mine": ours, "more": other}}))
    code, _, err = run("inspect", "--cursor")
    assert (code, "notes, other" in err) == (2, True)


@pytest.mark.parametrize(
    "argv",
    [
        (),
        ("a", "--server", "b"),
        ("a", "--url", "http://h/"),
        ("a", "--sse"),
        ("--url", "http://h/", "-i", "a"),
    ],
)
def test_what_is_to_be_inspected_must_be_clear(run, argv):
    assert run("inspect", *argv)[0] == 2


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("notes",), ["attach", "notes"]),
        (
            ("--url", "https://x", "--bearer-token", "s3cret", "--stream", "--timeout", "9"),
            ["proxy", "--url", "https://x", "--timeout", "9.0", "--stream"],
        ),
    ],
)
def test_the_inspector_starts_us_with_the_same_settings(run, became, argv, words):
    run("inspect", *argv, "-i")
    assert became["argv"][:3] == ["/bin/npx", "-y", "@modelcontextprotocol/inspector"]
    assert became["argv"][4:] == ["-m", "mcpctl", *words]
    assert became["env"].get("MCPCTL_BEARER_TOKEN") == ("s3cret" if "--url" in argv else None)


def test_without_npx_the_inspector_is_refused(run, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    code, _, err = run("inspect", "notes", "-i")
    assert (code, "npx" in err) == (2, True)


@pytest.mark.parametrize(
    ("text", "schema", "value"),
    [
        ("", None, {}),
        ("a=1 b=x c=", None, {"a": 1, "b": "x", "c": ""}),
        ("a=1", {}, {"a": "1"}),
        ("a=1", {"properties": {"a": {"type": "string"}}}, {"a": "1"}),
        ("a=[1,2]", {"properties": {"a": {"type": "array"}}}, {"a": [1, 2]}),
        ("a=b=c", {"properties": 3}, {"a": "b=c"}),
    ],
)
def test_arguments_are_read_as_the_schema_has_them(text, schema, value):
    assert arguments(text, schema) == value
