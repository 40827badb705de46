"""The rules of a server: what is accepted, and what is refused with which words."""

import math
from typing import Any

import pytest

from mcpctld.config.check import nearest, server_problems, settings_problems, split_url
from mcpctld.model import FlySpec, ServerSpec, Settings, TunnelSpec

URL = "https://mcp.example/mcp"
SECRET = {"Authorization": "Bearer ${secret:token}"}


def fly(app: str = "slack-mcp", **fields: Any) -> ServerSpec:
    return ServerSpec(url=URL, fly=FlySpec(app=app, **fields))


@pytest.mark.parametrize(
    "spec",
    [
        ServerSpec(url=URL),
        ServerSpec(url="http://127.0.0.1:8080/mcp?a=b%20c&d=@", headers=SECRET),
        ServerSpec(url="http://[::1]:8080/", headers=SECRET),
        ServerSpec(url="http://[fd12:3456::1]/", headers=SECRET),
        ServerSpec(url="http://[::ffff:10.0.0.1]/", headers=SECRET),
        ServerSpec(url="http://192.168.1.4/", headers=SECRET),
        ServerSpec(url="http://localhost:1/", headers=SECRET),
        ServerSpec(url="http://app.internal:8080/", headers=SECRET),
        ServerSpec(url="http://app.flycast/", headers=SECRET),
        ServerSpec(url="http://mcp.example/", headers={"X-Trace": "on"}),
        ServerSpec(url=URL, headers={"X-Text": "tab\there, and ü", "x_y": "$${literal}"}),
        ServerSpec(url=URL, transport="http-sse", instance="d8d9014b2c3e78"),
        ServerSpec(command=["/bin/echo", "${HOME}"], env={"A": "${secret:a}\nb"}, cwd="/"),
        ServerSpec(command=["/bin/echo"], transport="stdio"),
        ServerSpec(url=URL, connect_timeout_s=0.001, call_timeout_s=1e9),
        fly(machine="d8d9014b2c3e78", at="local", policy="never", sleep="stop"),
        fly(wake_at=["09:00", "Mon-Fri 08:50", "Sat,Sun 10:00", "Mon-Wed,Fri 23:59"]),
    ],
)
def test_a_sensible_server_has_no_problems(spec):
    assert server_problems(spec) == []


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (ServerSpec(), "exactly one of url"),
        (ServerSpec(url=URL, command=["/bin/echo"]), "exactly one of url"),
        (ServerSpec(url=URL, transport="stdio"), "goes with command"),
        (ServerSpec(command=["/bin/echo"], transport="http-sse"), "goes with url"),
        (ServerSpec(command=["/bin/echo"], headers={"A": "b"}), "headers goes with url"),
        (ServerSpec(command=["/bin/echo"], instance="abc"), "instance goes with url"),
        (ServerSpec(url=URL, env={"A": "b"}), "env goes with command"),
        (ServerSpec(url=URL, cwd="/"), "cwd goes with command"),
        (ServerSpec(url="ftp://mcp.example/"), "http:// or https://"),
        (ServerSpec(url="mcp.example/mcp"), "http:// or https://"),
        (ServerSpec(url="https:///mcp"), "a host"),
        (ServerSpec(url="https://[::1/"), "cannot be used"),
        (ServerSpec(url="https://mcp.example:port/"), "cannot be used"),
        (ServerSpec(url="https://mcp.example:0/"), "cannot be used"),
        (ServerSpec(url="https://mcp.example/a b"), "percent-encoded"),
        (ServerSpec(url="https://mcp.example/\r\nHost: x"), "percent-encoded"),
        (ServerSpec(url="https://mcp.example/ü"), "percent-encoded"),
        (ServerSpec(url="https://mcp.example/${secret:a}"), "percent-encoded"),
        (ServerSpec(url=URL + "#part"), "fragment"),
        (ServerSpec(url="http://mcp.example/", headers=SECRET), "use https"),
        (ServerSpec(url="http://8.8.8.8/", headers={"X-Api-Key": "k"}), "X-Api-Key would travel"),
        (ServerSpec(url="http://internal/", headers={"X": "${secret:a}"}), "in clear"),
        (ServerSpec(url=URL, headers={"Bad Name": "b"}), "'Bad Name'"),
        (ServerSpec(url=URL, headers={"": "b"}), "''"),
        (ServerSpec(url=URL, headers={"A": "b\r\nC: d"}), "a line break"),
        (ServerSpec(url=URL, headers={"A": "€"}), "Latin-1"),
        (ServerSpec(url=URL, headers={"A": "b", "a": "c"}), "given twice"),
        (ServerSpec(url=URL, headers={"Fly-Force-Instance-Id": "b"}), "into instance"),
        (ServerSpec(url=URL, headers={"Mcp-Param-Region": "b"}), "sets it itself"),
        (ServerSpec(url=URL, headers={"A": "${TOKEN}"}), "${secret:KEY}"),
        (ServerSpec(url=URL, headers={"A": "${secret:not a key}"}), "${secret:KEY}"),
        (ServerSpec(url=URL, instance="a b"), "id of a machine"),
        (ServerSpec(command=[]), "absolute path"),
        (ServerSpec(command=["echo"]), "absolute path"),
        (ServerSpec(command=["/bin/echo", "a\0b"]), "NUL"),
        (ServerSpec(command=["/bin/echo", "--token=${secret:a}"]), "put it into env"),
        (ServerSpec(command=["/bin/echo"], cwd="here"), "absolute path"),
        (ServerSpec(command=["/bin/echo"], env={"A=B": "c"}), "'A=B'"),
        (ServerSpec(command=["/bin/echo"], env={"": "c"}), "not a name"),
        (ServerSpec(command=["/bin/echo"], env={"A": "\0"}), "NUL"),
        (ServerSpec(command=["/bin/echo"], env={"A": "${B}"}), "env A: write"),
        (ServerSpec(url=URL, connect_timeout_s=0), "connect_timeout_s"),
        (ServerSpec(url=URL, call_timeout_s=-1), "call_timeout_s"),
        (ServerSpec(url=URL, call_timeout_s=math.nan), "call_timeout_s"),
        (ServerSpec(url=URL, call_timeout_s=math.inf), "call_timeout_s"),
        (ServerSpec(command=["/bin/echo"], fly=FlySpec(app="a")), "[fly] goes with url"),
        (fly(app="Not_An_App"), "fly.app 'Not_An_App'"),
        (fly(app=""), "fly.app ''"),
        (fly(machine="a b"), "fly.machine 'a b'"),
        (fly(idle_timeout_s=0), "fly.idle_timeout_s"),
        (fly(idle_timeout_s=math.nan), "fly.idle_timeout_s"),
        (fly(wake_at=["9:00"]), "fly.wake_at '9:00'"),
        (fly(wake_at=["09:00", "Monday 09:00"]), "fly.wake_at 'Monday 09:00'"),
        (fly(wake_at=["24:00"]), "fly.wake_at '24:00'"),
    ],
)
def test_a_broken_rule_is_named(spec, words):
    problems = server_problems(spec)
    assert any(words in problem for problem in problems), problems


@pytest.mark.parametrize(
    "name",
    ["Host", "content-length", "Connection", "Transfer-Encoding", "MCP-Session-ID", "Accept"],
)
def test_a_header_that_is_ours_is_refused(name):
    (problem,) = server_problems(ServerSpec(url=URL, headers={name: "x"}))
    assert problem == f"header {name}: mcpctl sets it itself; take it out"


def test_credentials_in_a_url_are_refused_and_not_repeated():
    problems = server_problems(ServerSpec(url="https://ann:hunter2@mcp.example/#x"))
    assert len(problems) == 1
    assert "--bearer-token" in problems[0]
    assert "hunter2" not in problems[0]


def test_the_value_of_a_header_is_never_repeated():
    spec = ServerSpec(url="http://mcp.example", headers={"Bad Token": "hunter2\n${x}"})
    assert "hunter2" not in " ".join(server_problems(spec))


def test_every_problem_is_told_at_once():
    assert len(server_problems(ServerSpec(url="x", instance="?", call_timeout_s=0))) == 3


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (Settings(max_message_bytes=0), "max_message_bytes"),
        (Settings(max_sessions=0), "max_sessions"),
        (Settings(max_connections_per_origin=-1), "max_connections_per_origin"),
        (Settings(drain_timeout_s=-0.1), "drain_timeout_s"),
        (Settings(drain_timeout_s=math.nan), "drain_timeout_s"),
    ],
)
def test_settings_out_of_range_are_named(settings, words):
    (problem,) = settings_problems(settings)
    assert words in problem


def tunnel(name: str = "fly", conf: str = "/fly.conf", **fields: Any) -> Settings:
    return Settings(tunnels={name: TunnelSpec(kind="wireguard", conf=conf, **fields)})


@pytest.mark.parametrize(
    "settings",
    [
        tunnel(),
        tunnel(conf="~/fly.conf"),
        Settings(
            tunnels={"fly": TunnelSpec(kind="fly", org="personal", network="n-1", region="ams")}
        ),
        tunnel(
            hosts=("*.internal", "app.internal", "_api.internal", "fdaa::/16", "10.0.0.0/8", "::1")
        ),
        tunnel(websocket="wss://192.0.2.1:443/"),
        tunnel(websocket="ws://[::1]:8080"),
    ],
)
def test_tunnels_that_are_fine(settings):
    assert list(settings_problems(settings)) == []


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (tunnel("a b"), "tunnels.a b: its name breaks the rule"),
        (tunnel(conf="fly.conf"), "conf must be an absolute path"),
        (tunnel(org="personal"), "org, network and region go with kind 'fly'"),
        (Settings(tunnels={"fly": TunnelSpec(kind="fly")}), "kind 'fly' needs org"),
        (Settings(tunnels={"fly": TunnelSpec(kind="flyctl-agent")}), "'flyctl-agent' needs org"),
        (Settings(tunnels={"fly": TunnelSpec(kind="fly", org="a b")}), "org 'a b': a name has"),
        (
            Settings(tunnels={"fly": TunnelSpec(kind="fly", org="o", conf="/x")}),
            "conf goes with kind",
        ),
        (tunnel(conf="/fly\0"), "conf must be an absolute path"),
        (tunnel(hosts=("*",)), "hosts '*': write a name"),
        (tunnel(hosts=("a*b.internal",)), "hosts 'a*b.internal'"),
        (tunnel(hosts=("",)), "hosts ''"),
        (tunnel(websocket="https://h/"), "websocket must be a URL"),
        (tunnel(websocket="wss://user:word@h/"), "websocket must be a URL"),
        (tunnel(close_after_s=0), "close_after_s must be"),
        (tunnel(close_after_s=math.inf), "close_after_s must be"),
    ],
)
def test_tunnels_that_are_not(settings, words):
    (problem,) = settings_problems(settings)
    assert words in problem


def test_the_default_settings_have_no_problems():
    assert list(settings_problems(Settings(drain_timeout_s=0))) == []


def test_the_nearest_name_is_found_whatever_its_case():
    assert nearest("SLAK", ["slack", "github"]) == "slack"
    assert nearest("Slack", ["slack"]) == "slack"
    assert nearest("zzz", ["slack"]) is None


def test_the_parts_of_a_url_are_given_only_when_it_can_be_used():
    parts = split_url("https://mcp.example:8443/a?b")
    assert parts is not None
    assert parts.port == 8443
    assert split_url("https://") is None
