import io
import json
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpctld.launch import offline


def ask(operation, request):
    words = [sys.executable, "-P", "-m", "mcpctld.launch.offline", *operation]
    done = subprocess.run(
        words, input=json.dumps(request), capture_output=True, text=True, timeout=60
    )
    return done.returncode, json.loads(done.stdout), done.stderr


def test_a_plan_is_told():
    code, answer, err = ask(["plan"], {"command": "uvx mcp-server-time", "secrets": {"A": "hush"}})
    assert (code, err, answer["event"]) == (0, "", "result")
    assert (answer["server"], answer["app"], answer["transport"]) == (
        "mcp-server-time",
        "mcp-server-time",
        "streamable-http",
    )
    assert answer["calls"][0]["path"] == "/v1/apps/mcp-server-time"
    assert "hush" not in json.dumps(answer)


def test_all_problems_are_told():
    code, answer, _ = ask(["plan"], {"command": "uvx x", "region": "nowhere", "vm_memory": "1"})
    assert (code, answer["event"], answer["kind"]) == (1, "error", "bad-request")
    assert len(answer["problems"]) == 2


@pytest.mark.parametrize("words", [[], ["launch"]])
def test_an_operation_that_there_is_not(words):
    code, answer, _ = ask(words, {})
    assert code == 1
    assert "plan, eject, review" in answer["message"]


@pytest.mark.parametrize(("operation", "code"), [("plan", 0), ("paint", 1)])
def test_one_request_is_read_and_one_line_written(monkeypatch, capsysbinary, operation, code):
    monkeypatch.setattr(sys, "argv", ["offline", operation])
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"command": "uvx x"}')))
    assert offline.main() == code
    [line] = capsysbinary.readouterr().out.splitlines()
    assert json.loads(line)["event"] == ("error" if code else "result")


def run(operation, request):
    return offline.run(operation, json.dumps(request).encode())


def test_files_are_told():
    answer = run("eject", {"command": "x --flag", "image": "acme/x", "wrapper": "fly"})
    assert set(answer["files"]) == {"fly.toml", "Dockerfile"}
    assert answer["notes"] == []


def test_settings_are_reviewed():
    assert run("review", {"text": ""})["findings"][0]["setting"] == "services"
    assert run("review", {"config": {"services": []}})["findings"][0]["setting"] == "services"
    assert run("review", {"text": "="})["event"] == "error"


@pytest.mark.parametrize("request_", [{"colour": "red"}, [], {"command": 1}])
def test_a_request_of_another_shape_is_refused(request_):
    answer = run("plan", request_)
    assert (answer["event"], answer["kind"]) == ("error", "bad-request")


@settings(derandomize=True, deadline=None)
@given(st.sampled_from(["plan", "eject", "review"]), st.binary(max_size=50))
def test_any_bytes_are_answered(operation, data):
    assert offline.run(operation, data)["event"] == "error"
