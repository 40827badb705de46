"""The pure parts: limits, failures, shapes, commands, shims, GraphQL documents, logs."""

import contextlib
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpctld.localfly import commands, shims
from mcpctld.localfly.commands import CannotRun, image_name, machine_command, place
from mcpctld.localfly.errors import ApiError
from mcpctld.localfly.faults import Fault, Faults, answer, parse_fault
from mcpctld.localfly.graphql import Problem, read_fields
from mcpctld.localfly.homes import inside
from mcpctld.localfly.ids import ulid
from mcpctld.localfly.limits import Limits
from mcpctld.localfly.logs import MOST_LINES, Line, LogBook, as_json
from mcpctld.localfly.shapes import parse_duration, read_config

quick = settings(derandomize=True, deadline=None, max_examples=100)

# ---------------------------------------------------------------- limits


@quick
@given(st.lists(st.floats(0, 3), max_size=80), st.sampled_from(["start-machine", "get-machine"]))
def test_no_window_has_more_than_burst_and_rate_allow(gaps, action):
    rate, burst = (5, 10) if action == "get-machine" else (1, 3)
    limits, now, granted = Limits(), 0.0, []
    for gap in gaps:
        now += gap
        wait_s = limits.take(action, "m", now)
        if not wait_s:
            granted.append(now)
        else:
            assert limits.take(action, "other", now) == 0 or limits.take(action, "third", now) >= 0
    for first in range(len(granted)):
        for last in range(first, len(granted)):
            window = granted[last] - granted[first]
            assert last - first + 1 <= burst + rate * window + 1e-6


def test_a_refusal_says_when_it_may_be_asked_again():
    limits = Limits()
    assert [limits.take("start-machine", "m", 0.0) for _ in range(3)] == [0, 0, 0]
    wait_s = limits.take("start-machine", "m", 0.0)
    assert wait_s == pytest.approx(1.0)
    assert limits.take("start-machine", "m", wait_s) == 0


def test_full_buckets_are_forgotten():
    limits = Limits()
    for number in range(30_000):
        limits.take("start-machine", str(number), number * 1.0)
    assert len(limits._buckets) <= 10_001


# ---------------------------------------------------------------- failures


def test_failures_are_found_counted_and_spared():
    faults = Faults()
    faults.all = [
        Fault(kind="error", request="POST /v1/apps/*/machines", status=503, times=1, skip=1),
        Fault(kind="slow_start", app="a*", seconds=2.0),
    ]
    asked = [faults.of_request("POST", "/v1/apps/x/machines") for _ in range(3)]
    assert [each is not None for each in asked] == [False, True, False]
    assert faults.of_request("GET", "/v1/apps/x/machines") is None
    assert faults.of_machine("abc", "slow_start").seconds == 2.0
    assert faults.of_machine("b", "slow_start") is None
    assert faults.of_machine("abc", "fails_to_start") is None


@pytest.mark.parametrize(
    ("text", "status", "code"),
    [
        ("error,status=429", 429, ""), ("error", 500, ""), ("name_taken", 422, "name_taken"),
        ("insufficient_capacity", 412, "insufficient_capacity"), ("lease_held", 409, ""), ("unauthorized", 401, ""),
    ],
)  # fmt: skip
def test_what_a_failing_request_is_answered_with(text, status, code):
    error = answer(parse_fault(text))
    assert (error.status, error.code) == (status, code)


@pytest.mark.parametrize("text", ["nothing", "error,status", "error,status=x", "error,colour=red"])
def test_a_failure_that_makes_no_sense_is_refused(text):
    with pytest.raises(ValueError):
        parse_fault(text)


# ---------------------------------------------------------------- configurations


@pytest.mark.parametrize(
    ("given", "shown"), [("off", False), (False, False), ("stop", True), (True, True), ("suspend", "suspend")]
)  # fmt: skip
def test_autostop_is_shown_as_fly_shows_it(given, shown):
    config = read_config({"image": "x", "services": [{"autostop": given}]})
    assert config["services"] == [{"autostop": shown}]


def test_unknown_fields_and_null_are_dropped():
    config = read_config(
        {
            "image": "x",
            "colour": 1,
            "services": [{"auto_stop_machines": 1, "internal_port": 80}],
            "env": None,
        }
    )
    assert config == {"image": "x", "services": [{"internal_port": 80}]}


@pytest.mark.parametrize(
    "config",
    [
        None,
        [],
        {},
        {"image": 1},
        {"image": "x", "env": {"A": 1}},
        {"image": "x", "stop_config": {"signal": "SIGNOTHING"}},
        {"image": "x", "stop_config": {"timeout": "soon"}},
        {"image": "x", "checks": {"a": {"interval": "often"}}},
        {"image": "x", "services": [{"checks": [{"port": 70000}]}]},
        {"image": "x", "services": [{"internal_port": -1}]},
    ],
)
def test_a_configuration_of_the_wrong_type_is_refused(config):
    with pytest.raises(ApiError) as caught:
        read_config(config)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("10s", 10),
        ("1m30s", 90),
        ("500ms", 0.5),
        ("2h", 7200),
        (15, 15),
        ("1.5s", 1.5),
        ("", 7),
        (None, 7),
    ],
)
def test_durations(text, seconds):
    assert parse_duration(text, 7) == seconds


@pytest.mark.parametrize("text", ["x", "10", "10q", "s", "1.2.3s", "-5s"])
def test_what_is_no_duration_is_refused(text):
    if text == "10":
        assert parse_duration(text, 0) == 10
        return
    with pytest.raises(ApiError):
        parse_duration(text, 0)


# ---------------------------------------------------------------- commands

WRAP = ["uvx", "--from", "mcpctl==0.1.0", "mcpctl", "wrap", "--"]


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("flyio/mcp", "flyio/mcp"), ("flyio/mcp:latest", "flyio/mcp"), ("docker.io/library/python:3.12", "python"),
        ("node@sha256:ab12", "node"), ("ghcr.io/astral-sh/uv:0.5", "astral-sh/uv"), ("localhost.x:5000/a/b:c", "a/b"),
    ],
)  # fmt: skip
def test_image_names(image, name):
    assert image_name(image) == name


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"image": "flyio/mcp", "init": {"cmd": ["npx", "x"]}}, ["flyctl", "mcp", "wrap", "--", "npx", "x"]),
        ({"image": "flyio/mcp:v1", "init": {"entrypoint": WRAP, "cmd": ["a"]}}, [*WRAP, "a"]),
        ({"image": "weird", "init": {"exec": ["a", "b"], "cmd": ["c"]}}, ["a", "b"]),
        ({"image": "weird", "init": {"entrypoint": ["/usr/bin/flyctl", "mcp", "wrap", "--"], "cmd": ["a"]}},
         ["flyctl", "mcp", "wrap", "--", "a"]),
        ({"image": "python:3.12", "init": {"cmd": ["python", "-c", "1"]}}, ["python", "-c", "1"]),
    ],
)  # fmt: skip
def test_what_a_machine_runs(config, words):
    assert machine_command(config) == words


@pytest.mark.parametrize(
    "config",
    [
        {"image": "nginx"}, {"image": "nginx", "init": {"cmd": ["a"]}}, {"image": "flyio/mcp"},
        {"image": "flyio/mcp", "containers": [{}], "init": {"exec": ["a"]}},
    ],
)  # fmt: skip
def test_what_cannot_run_says_why(config):
    with pytest.raises(CannotRun):
        machine_command(config)


def test_paths_of_the_machine_become_ours():
    places = {"/data": "/tmp/v 1", "/app/x.py": "/r/app/x.py"}
    words = [
        "serve",
        "/data",
        "/data/sub",
        "/database",
        "--dir=/data",
        "cat /data/a; ls /database",
        "/app/x.py",
    ]
    assert place(words, places) == [
        "serve", "/tmp/v 1", "/tmp/v 1/sub", "/database", "--dir='/tmp/v 1'",
        "cat '/tmp/v 1'/a; ls /database", "/r/app/x.py",
    ]  # fmt: skip


@pytest.mark.parametrize("guest", ["/../x", "relative", "/", "/a/../../x", "/link/x"])
def test_no_path_leads_out_of_a_machine(tmp_path, guest):
    (tmp_path / "link").symlink_to("/")
    root = str(tmp_path)
    if guest in ("/../x", "/a/../../x"):
        with pytest.raises(CannotRun):
            inside(root, guest)
        return
    with pytest.raises(CannotRun):
        inside(root, guest)


# ---------------------------------------------------------------- programs that images have


@pytest.mark.parametrize(
    ("words", "spec", "command", "arguments"),
    [
        (["mcp-server-time"], "mcp-server-time", "mcp-server-time", []),
        (["mcp-server-time@1.2", "-x"], "mcp-server-time@1.2", "mcp-server-time", ["-x"]),
        (["--from", "a[b]==1", "tool", "--from", "c"], "a[b]==1", "tool", ["--from", "c"]),
        (["-q", "--from=a", "tool"], "a", "tool", []),
        (["--python", "3.12", "a"], "a", "a", []),
    ],
)
def test_uvx(words, spec, command, arguments):
    tool = shims.read_uvx(words)
    assert (tool.spec, tool.command, tool.arguments) == (spec, command, arguments)


@pytest.mark.parametrize("words", [[], ["--from"], ["--from", "a"], ["--strange", "a", "b"]])
def test_uvx_that_makes_no_sense(words):
    with pytest.raises(shims.Unusable):
        shims.read_uvx(words)


def test_our_own_wrap_is_that_of_this_installation():
    environ = {"PORT": "4321", "LOCALFLY_HOSTS": "a.localhost a.flycast"}
    words = [*WRAP[1:-1], "--idle-timeout", "9", "--", "uvx", "x", "--", "y"]
    argv = shims.find("uvx", words, environ)
    assert argv == [
        sys.executable, "-P", "-m", "mcpctld.wrap", "--idle-timeout", "9", "--port", "4321", "--bind",
        "127.0.0.1", "--allowed-host", "a.localhost", "--allowed-host", "a.flycast",
        "--", "uvx", "x", "--", "y",
    ]  # fmt: skip


def test_a_real_uvx_is_preferred(tmp_path):
    real = tmp_path / "uvx"
    real.write_text("#!/bin/sh\n")
    real.chmod(0o700)
    argv = shims.find("uvx", ["mcp-server-time"], {"LOCALFLY_PATH": str(tmp_path)})
    assert argv == [str(real), "mcp-server-time"]


def test_without_one_a_package_of_this_installation_is_used():
    argv = shims.find("uvx", ["mcp-server-time", "-h"], {"LOCALFLY_PATH": ""})
    assert argv[0].endswith("/mcp-server-time")
    assert argv[1:] == ["-h"]
    assert (
        shims.find(
            "pipx", ["run", "--spec", "mcp-server-time", "mcp-server-time"], {"LOCALFLY_PATH": ""}
        )
        == argv[:1]
    )


@pytest.mark.parametrize(
    ("spec", "pip"),
    [("a", "a"), ("a@latest", "a"), ("a@1.2", "a==1.2"), ("a>=1", "a>=1"), ("a @ x/y", "a @ x/y")],
)
def test_how_pip_writes_it(spec, pip):
    assert shims.pip_spec(spec) == pip


def test_every_shim_is_known():
    assert set(commands.SHIMS) == {"flyctl", "mcpctl", "pipx", "uvx"}
    with pytest.raises(shims.Unusable):
        shims.find("flyctl", ["deploy"], {})


# ---------------------------------------------------------------- GraphQL

QUERIES = [
    ('{ organizations(admin: true) { nodes { id } } }', [("organizations", "organizations", {"admin": True})]),
    ('query Q($n: String!, $l: [Int!] = [1]) { a: app(name: $n) { id } viewer { email } }',
     [("a", "app", {"name": "x"}), ("viewer", "viewer", {})]),
    ('mutation { allocateIpAddress(input: {appId: "a", type: v6, n: [1, -2.5], z: null}) { app { id } } }',
     [("allocateIpAddress", "allocateIpAddress", {"input": {"appId": "a", "type": "v6", "n": [1, -2.5], "z": None}})]),
    ('# c\n{ app(name: "a\\"b}") { x(y: "}") { z } } }', [("app", "app", {"name": 'a"b}'})]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "fields"), QUERIES)
def test_documents(text, fields):
    assert read_fields(text, {"n": "x"}) == fields


@quick
@given(st.text(alphabet='{}()[]:$"ab1,. \\-\n', max_size=60))
def test_any_text_is_read_or_refused(text):
    with contextlib.suppress(Problem):
        assert isinstance(read_fields(text, {}), list)


def test_deep_nesting_is_refused():
    with pytest.raises(Problem):
        read_fields("{a(b:" + "[" * 5000 + "]" * 5000 + ")}", {})


# ---------------------------------------------------------------- logs and names


def line(number, instance="m", region="iad"):
    return Line(
        id=number,
        message=f"line {number}",
        level="info",
        instance=instance,
        region=region,
        provider="app",
    )


def test_a_log_is_paged_oldest_first(tmp_path):
    book = LogBook(str(tmp_path / "a" / "log.ndjson"))
    for number in range(250):
        book.add(line(number + 1, instance=f"m{number % 2}"))
    first, token = book.page(0)
    assert [each.id for each in first] == list(range(151, 251)), "the newest hundred"
    assert book.page(token) == ([], token)
    book.add(line(0))
    assert [each.id for each in book.page(token)[0]] == [251], "ids always rise"
    assert all(each.instance == "m1" for each in book.page(0, instance="m1")[0])
    book.close()


def test_a_log_outlives_the_process_and_a_line_that_was_cut_off(tmp_path):
    path = tmp_path / "log.ndjson"
    book = LogBook(str(path))
    for number in range(MOST_LINES + 10):
        book.add(line(number + 1))
    book.close()
    with path.open("ab") as file:
        file.write(b'{"id": 99')
    again = LogBook(str(path))
    lines, _ = again.page(1)
    assert lines[0].id == 12
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_line_as_the_api_shows_it():
    shown = as_json(line(1_800_000_000_123_456_789))
    assert shown["attributes"]["timestamp"] == "2027-01-15T08:00:00.123456789Z"
    assert shown["attributes"]["meta"]["event"] == {"provider": "app"}


@quick
@given(st.floats(1e9, 4e9), st.floats(1e-3, 1e6))
def test_ulids_sort_by_time(now, gap):
    first, second = ulid(now), ulid(now + gap + 0.001)
    assert len(first) == 26
    assert first < second
