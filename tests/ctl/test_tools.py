import io
import json
import sys

import pytest

from mcpctl import mcp_client
from mcpctl.commands import tools as tools_command

INIT = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "serverInfo": {"name": "s", "version": "1"},
}


def result(message, value):
    return {"jsonrpc": "2.0", "id": message["id"], "result": value}


def error(message, code, text, data=None):
    body = {"code": code, "message": text, **({} if data is None else {"data": data})}
    return {"jsonrpc": "2.0", "id": message["id"], "error": body}


def text(value, **others):
    return {"content": [{"type": "text", "text": value}], **others}


class Legacy:
    """A server of 2025-11-25; `on_call` answers tools/call."""

    def __init__(self, on_call=None):
        self.heard = []
        self.on_call = on_call

    def __call__(self, message):
        self.heard.append(message)
        match message.get("method"):
            case "initialize":
                yield result(message, INIT)
            case "tools/list":
                yield from self.list(message)
            case "tools/call":
                yield from self.on_call(message)

    def list(self, message):
        if "cursor" not in message["params"]:
            tools = [{"name": "echo", "description": "Says it\nagain"}]
            yield result(message, {"tools": tools, "nextCursor": "2"})
        else:
            assert message["params"]["cursor"] == "2"
            yield result(message, {"tools": [{"name": "add", "title": "Sum"}]})


def answering(value):
    return Legacy(lambda message: [result(message, value)])


def test_tools_lists_every_page(daemon, run):
    daemon.mcp = Legacy()
    code, out, err = run("tools", "x")
    assert (code, err) == (0, "")
    assert out == "TOOL  DESCRIPTION\necho  Says it\nadd   Sum\n"
    assert [message["method"] for message in daemon.mcp.heard[:2]] == [
        "initialize",
        "notifications/initialized",
    ]
    assert daemon.mcp.heard[0]["params"]["clientInfo"]["name"] == "mcpctl"
    assert ("server", "x") in daemon.greetings[0]
    assert {"cwd", "ppid", "version"} <= dict(daemon.greetings[0]).keys()


def test_tools_of_a_url_as_json(daemon, run):
    daemon.mcp = Legacy()
    names = [
        tool["name"]
        for tool in json.loads(run("tools", "--url", "http://h/", "--json")[1])["tools"]
    ]
    assert names == ["echo", "add"]
    assert ("url", "http://h/") in daemon.greetings[0]


def test_tools_needs_one_server(daemon, run):
    assert run("tools")[0] == 2
    assert run("tools", "x", "--url", "http://h/")[0] == 2


def test_call_prints_the_text_of_the_answer(daemon, run):
    daemon.mcp = Legacy(lambda m: [result(m, text(m["params"]["arguments"]["say"]))])
    assert run("call", "x", "echo", '{"say": "hü"}') == (0, "hü\n", "")


def test_arguments_come_from_a_file_or_stdin_or_not_at_all(daemon, run, places, monkeypatch):
    daemon.mcp = Legacy(lambda m: [result(m, text(json.dumps(m["params"]["arguments"])))])
    (places / "a.json").write_text('{"from": "file"}')
    assert run("call", "x", "echo", f"@{places}/a.json")[1] == '{"from": "file"}\n'
    monkeypatch.setattr(sys, "stdin", io.StringIO('{"from": "stdin"}'))
    assert run("call", "x", "echo", "-")[1] == '{"from": "stdin"}\n'
    assert run("call", "x", "echo")[1] == "{}\n"


@pytest.mark.parametrize("arguments", ["{", "[]", "3", "@/nonexistent", "NaN x"])
def test_arguments_that_are_no_object_are_refused_before_anything_is_started(
    run, arguments, places
):
    code, out, err = run("call", "x", "echo", arguments)
    assert (code, out) == (2, "")
    assert "the arguments" in err
    assert not list((places / "runtime").iterdir())


def test_a_tool_that_fails_exits_with_1_and_its_text_on_stderr(daemon, run):
    daemon.mcp = answering(text("disk full", isError=True))
    assert run("call", "x", "t") == (1, "", "mcpctl: tool t failed:\ndisk full\n")
    code, out, err = run("call", "x", "t", "--json")
    assert (code, json.loads(out)["isError"], err) == (1, True, "")


@pytest.mark.parametrize(
    ("value", "printed"),
    [
        ({"content": [], "structuredContent": {"a": 1}}, '{\n  "a": 1\n}'),
        ({"structuredContent": [1]}, "[\n  1\n]"),
        (text("seen", structuredContent={"a": 1}), "seen"),
        (
            {"content": [{"type": "image", "data": "AAAA", "mimeType": "image/png"}]},
            "[image: image/png, about 3 bytes; --json has them]",
        ),
        (
            {"content": [{"type": "resource_link", "uri": "f:///x", "name": "X"}, 7]},
            "[link: f:///x X]",
        ),
        ({"content": [{"type": "resource", "resource": {"uri": "u", "text": "T"}}]}, "T"),
        (
            {"content": [{"type": "resource", "resource": {"uri": "u", "mimeType": "a/b"}}]},
            "[resource: u, a/b; --json has it]",
        ),
        ({"content": [{"type": "hologram"}]}, "[hologram; --json has it]"),
        ({}, ""),
    ],
)
def test_other_content_is_described(value, printed):
    assert tools_command.describe(value) == printed


def test_progress_and_logs_go_to_stderr(daemon, run):
    def on_call(message):
        token = message["params"]["_meta"]["progressToken"]
        for params in (
            {"progressToken": token, "progress": 1, "total": 2, "message": "half"},
            {"progressToken": token, "progress": 3},
        ):
            yield {"jsonrpc": "2.0", "method": "notifications/progress", "params": params}
        for data in ("words\x1b[2J", {"a": 1}):
            params = {"level": "info", "data": data}
            yield {"jsonrpc": "2.0", "method": "notifications/message", "params": params}
        yield {"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}
        yield result(message, text("done"))

    daemon.mcp = Legacy(on_call)
    code, out, err = run("call", "x", "t")
    assert (code, out) == (0, "done\n")
    assert err.splitlines() == [
        "mcpctl: progress 1/2 half",
        "mcpctl: progress 3",
        "mcpctl: info server: words\\x1b[2J",
        'mcpctl: info server: {"a": 1}',
    ]


def test_requests_of_the_server_are_refused_and_a_ping_is_answered(daemon, run):
    def on_call(message):
        yield {"jsonrpc": "2.0", "id": "p", "method": "ping"}
        yield {"jsonrpc": "2.0", "id": 1, "method": "sampling/createMessage", "params": {}}
        yield {"jsonrpc": "2.0", "id": 99, "result": {}}
        yield result(message, text("done"))

    daemon.mcp = Legacy(on_call)
    assert run("call", "x", "t")[:2] == (0, "done\n")
    daemon.close()  # when its threads have ended, it has heard everything
    ping, sampling = daemon.mcp.heard[-2:]
    assert ping == {"jsonrpc": "2.0", "id": "p", "result": {}}
    assert (sampling["id"], sampling["error"]["code"]) == (1, -32601)


@pytest.mark.parametrize(
    ("code", "data", "exit_code"),
    [
        (-32602, None, 2),
        (-32601, None, 4),
        (-32000, None, 7),
        (-32603, {"kind": "nonsense"}, 7),
        ("odd", ["x"], 7),
    ],
)
def test_an_error_answer_names_the_method_and_has_its_exit_code(daemon, run, code, data, exit_code):
    daemon.mcp = Legacy(lambda m: [error(m, code, "no luck", data)])
    found, out, err = run("call", "x", "t")
    assert (found, out) == (exit_code, "")
    assert err == f"mcpctl: tools/call: no luck ({code})\n"


def test_an_error_of_the_daemon_has_its_kind_and_only_its_words(daemon, run):
    data = {"source": "mcpctl", "kind": "unreachable"}
    daemon.mcp = Legacy(lambda m: [error(m, -32603, "mcpctl: http://h refused", data)])
    assert run("call", "x", "t") == (6, "", "mcpctl: http://h refused\n")


def modern(message):
    """A server of 2026-07-28 and nothing else."""
    meta = message.get("params", {}).get("_meta", {})
    if meta.get("io.modelcontextprotocol/protocolVersion") != "2026-07-28":
        data = {"supported": ["2026-07-28"], "requested": "2025-11-25"}
        yield error(message, -32022, "unsupported version", data)
        return
    assert meta["io.modelcontextprotocol/clientCapabilities"] == {}
    assert meta["io.modelcontextprotocol/clientInfo"]["name"] == "mcpctl"
    match message["method"]:
        case "server/discover":
            yield result(message, {"supportedVersions": ["2026-07-28"], "resultType": "complete"})
        case "tools/list":
            yield result(message, {"tools": [{"name": "new"}], "resultType": "complete"})
        case "tools/call" if message["params"]["name"] == "ask":
            yield result(message, {"resultType": "input_required", "inputRequests": {}})
        case "tools/call":
            assert meta["progressToken"]
            yield result(message, text("modern", resultType="complete"))


def test_a_server_that_refuses_initialize_is_spoken_to_without_it(daemon, run):
    daemon.mcp = modern
    assert run("tools", "x")[1] == "TOOL  DESCRIPTION\nnew\n"
    assert run("call", "x", "t") == (0, "modern\n", "")


def test_a_tool_that_wants_input_is_an_error_that_says_so(daemon, run):
    daemon.mcp = modern
    code, _, err = run("call", "x", "ask")
    assert code == 7
    assert "asks for input" in err


def test_a_server_that_knows_neither_way_is_told_with_its_first_answer(daemon, run):
    daemon.mcp = lambda m: [error(m, -32601, f"no {m['method']}")]
    code, _, err = run("tools", "x")
    assert (code, err) == (4, "mcpctl: initialize: no initialize (-32601)\n")


def test_no_answer_within_the_bound_is_a_timeout_and_the_request_is_cancelled(daemon, run):
    daemon.mcp = Legacy(lambda message: [])
    code, _, err = run("call", "x", "t", "--timeout", "0.2")
    assert code == 8
    assert "--timeout" in err
    daemon.close()  # when its threads have ended, it has heard everything
    cancelled = daemon.mcp.heard[-1]
    assert cancelled["method"] == "notifications/cancelled"
    assert cancelled["params"]["requestId"] == daemon.mcp.heard[-2]["id"]


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf", "x"])
def test_a_timeout_is_a_number_of_seconds(run, seconds):
    assert run("call", "x", "t", "--timeout", seconds)[0] == 2


@pytest.mark.parametrize("garbage", [b"<html>", b"[]", b"\xff", b'"text"'])
def test_a_line_that_is_no_message_is_an_error_of_the_other_side(daemon, run, garbage):
    daemon.mcp = lambda message: [garbage]
    code, _, err = run("tools", "x")
    assert code == 7
    assert "the server's line" in err


@pytest.mark.parametrize("answer", [{"result": []}, {}])
def test_an_answer_without_a_result_is_an_error_of_the_other_side(daemon, run, answer):
    daemon.mcp = lambda message: [{"jsonrpc": "2.0", "id": message["id"], **answer}]
    assert run("tools", "x")[0] == 7


def test_an_error_without_an_id_ends_the_wait(daemon, run):
    daemon.mcp = lambda message: [{**error(message, -32700, "cannot read that"), "id": None}]
    code, _, err = run("tools", "x")
    assert (code, err) == (7, "mcpctl: the server: cannot read that (-32700)\n")


def test_the_last_words_of_the_daemon_are_ours(daemon, run):
    daemon.mcp = lambda message: [None]
    daemon.last_words = "4 mcpctl: there is no server 'x'; did you mean 'y'?\n"
    assert run("tools", "x") == (4, "", "mcpctl: there is no server 'x'; did you mean 'y'?\n")


@pytest.mark.parametrize("words", ["", "half", "0 \n"])
def test_a_session_that_ends_without_an_answer_is_an_error(daemon, run, words):
    daemon.mcp = lambda message: [None]
    daemon.last_words = words
    assert run("tools", "x")[0] in (7, 69)


def test_a_message_larger_than_every_buffer_goes_both_ways(daemon, run):
    daemon.mcp = Legacy(lambda m: [result(m, text(m["params"]["arguments"]["say"]))])
    say = "x" * 3_000_000
    link_fields = [("server", "x")]
    with mcp_client.session(link_fields, 30, lambda *_: None) as session:
        assert session.call("echo", {"say": say})["content"][0]["text"] == say


def test_a_socket_folder_that_others_can_enter_is_refused(run, places):
    (places / "runtime").chmod(0o755)
    code, _, err = run("tools", "x")
    assert code == 3
    assert "chmod 700" in err
