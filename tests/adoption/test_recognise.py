"""`mcpctl.adoption`: what entries turn out to be, and which are left as they are."""

# ruff: noqa: E501 -- tables of entries

import os
from base64 import b64encode

import pytest

from mcpctl.adoption import plan
from mcpctl.adoption.programs import program
from mcpctl.adoption.recognise import recognise
from mcpctl.adoption.values import NotAdoptable, filled, looks_secret
from mcpctl.clients import Entry, Machine, Place, attached_to, client_named, read_entry

URL = "https://mcp.example.com/mcp"
ENVIRON = {"PATH": os.defpath, "HOME": "/home/ann", "OUTER": "outer-value"}
FLY = ["mcp", "proxy", "--url", URL]


def found(entry):
    return recognise(read_entry(entry), ENVIRON)


def run(*words, env=None):
    return {"command": words[0], "args": list(words[1:]), "env": env or {}}


@pytest.mark.parametrize(
    ("words", "name", "args"),
    [
        (("/usr/bin/mcp-proxy", URL), "mcp-proxy", [URL]),
        (("npx", "-y", "mcp-remote", URL), "mcp-remote", [URL]),
        (("/opt/node/bin/npx", "--yes", "mcp-remote@0.1.18", URL), "mcp-remote", [URL]),
        (("npx", "-p", "mcp-remote@latest", "mcp-remote", URL), "mcp-remote", [URL]),
        (("bunx", "mcp-remote", URL), "mcp-remote", [URL]),
        (("pnpm", "dlx", "mcp-remote", URL), "mcp-remote", [URL]),
        (("npm", "exec", "-y", "mcp-remote", "--", URL), "mcp-remote", [URL]),
        (("uvx", "mcp-proxy==0.8.2", URL), "mcp-proxy", [URL]),
        (("uv", "tool", "run", "--python", "3.12", "mcp-proxy[x]", URL), "mcp-proxy", [URL]),
        (("pipx", "run", "mcp-proxy", URL), "mcp-proxy", [URL]),
        (("npx", "@scope/server@1.2"), "@scope/server", []),
        (("npx",), "", []),
    ],
)
def test_the_program_is_found_behind_what_fetches_it(words, name, args):
    assert program(words) == (name, args)


@pytest.mark.parametrize(
    ("entry", "kind", "spec", "secrets"),
    [
        (
            run("/h/.fly/bin/flyctl", *FLY, "--bearer-token", "t0k"),
            "flyctl mcp proxy",
            {"url": URL, "headers": {"Authorization": "Bearer ${secret:bearer-token}"}},
            {"bearer-token": "t0k"},
        ),
        (
            run("fly", *FLY, env={"FLY_MCP_BEARER_TOKEN": "t0k"}),
            "fly mcp proxy",
            {"url": URL, "headers": {"Authorization": "Bearer ${secret:bearer-token}"}},
            {"bearer-token": "t0k"},
        ),
        (
            run("fly", "mcp", "proxy", "-a", "app", "--user", "u", "--password", "p", "--instance", "148e", "--sse"),
            "fly mcp proxy",
            {"url": "https://app.fly.dev/", "transport": "http-sse", "instance": "148e", "headers": {"Authorization": "Basic ${secret:basic}"}},
            {"basic": b64encode(b"u:p").decode()},
        ),
        (run("mcpctl", "proxy", "--url", URL, "--stream"), "mcpctl proxy", {"url": URL, "transport": "streamable-http"}, {}),
        (
            run("npx", "-y", "mcp-remote", URL, "3334", "--header", "X-Thing: ${T} ${OUTER}", "--allow-http", env={"T": "t0k"}),
            "mcp-remote",
            {"url": URL, "headers": {"X-Thing": "${secret:x-thing}"}},
            {"x-thing": "t0k outer-value"},
        ),
        (run("npx", "mcp-remote", URL, "--transport", "sse-only"), "mcp-remote", {"url": URL, "transport": "http-sse"}, {}),
        (
            run("npx", "-y", "supergateway", "--streamableHttp", URL, "--oauth2Bearer", "t0k"),
            "supergateway",
            {"url": URL, "transport": "streamable-http", "headers": {"Authorization": "Bearer ${secret:bearer-token}"}},
            {"bearer-token": "t0k"},
        ),
        (run("supergateway", "--sse", URL), "supergateway", {"url": URL, "transport": "http-sse"}, {}),
        (
            run("uvx", "mcp-proxy", URL, "-H", "X-A", "1", "--transport", "streamablehttp", env={"API_ACCESS_TOKEN": "t0k"}),
            "mcp-proxy",
            {"url": URL, "transport": "streamable-http", "headers": {"X-A": "${secret:x-a}", "Authorization": "Bearer ${secret:bearer-token}"}},
            {"x-a": "1", "bearer-token": "t0k"},
        ),
        ({"url": URL}, "url", {"url": URL}, {}),
        ({"type": "sse", "url": URL}, "url", {"url": URL, "transport": "http-sse"}, {}),
        ({"httpUrl": URL, "headers": {"A": "b"}}, "url", {"url": URL, "transport": "streamable-http", "headers": {"A": "${secret:a}"}}, {"a": "b"}),
        ({"serverUrl": "https://u:p%40@h.example.com/x"}, "url", {"url": "https://h.example.com/x", "headers": {"Authorization": "Basic ${secret:basic}"}}, {"basic": b64encode(b"u:p@").decode()}),
        ({"url": URL, "headers": {"Authorization": "Bearer ${env:OUTER}"}}, "url", {"url": URL, "headers": {"Authorization": "${secret:authorization}"}}, {"authorization": "Bearer outer-value"}),
    ],
)  # fmt: skip
def test_a_bridge_or_a_url_becomes_a_server_elsewhere(entry, kind, spec, secrets):
    answer = found(entry)
    assert (answer.kind, answer.draft.spec, answer.draft.secrets) == (kind, spec, secrets)


def test_a_command_becomes_a_server_here_with_its_secrets_apart(tmp_path):
    env = {
        "API_KEY": "hush",
        "MODE": "fast",
        "DB": "postgres://u:hush@h/",
        "ODD": "a1" * 12,
        "EMPTY": "",
    }
    draft = found({"command": "sh", "args": ["-c", "x"], "env": env, "cwd": str(tmp_path)}).draft
    assert draft.spec["command"][1:] == ["-c", "x"]
    assert os.path.isabs(draft.spec["command"][0])
    assert draft.spec["cwd"] == str(tmp_path)
    assert draft.secrets == {key: env[key] for key in ("API_KEY", "DB", "ODD")}
    assert draft.spec["env"] == {
        **{key: f"${{secret:{key}}}" for key in draft.secrets},
        "PATH": os.defpath, "HOME": "/home/ann", "MODE": "fast", "EMPTY": "",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        (run("fly", "mcp", "proxy", "--bearer-token", "t0k"), "names no server"),
        (run("fly", *FLY, "--surprise"), "unknown flag --surprise"),
        (run("fly", *FLY, "--user", "u"), "no password"),
        (run("fly", "mcp", "proxy", "--url", "http://app.flycast/"), "private network"),
        ({"url": "http://app.internal:8080/mcp"}, "private network"),
        (run("npx", "mcp-remote"), "names no server"),
        (run("npx", "mcp-remote", URL, "--static-oauth-client-info", "{}"), "--static-oauth-client-info"),
        (run("supergateway", "--stdio", "x"), "--stdio"),
        (run("supergateway"), "names no server"),
        (run("mcp-proxy", "uvx", "x"), "serves something itself"),
        (run("mcp-proxy", URL, "--no-verify-ssl"), "--no-verify-ssl"),
        ({"url": "https://h/?api_key=hush"}, "looks like a secret"),
        ({"url": "ftp://h/"}, "must begin with http"),
        ({"url": "https://[h/"}, "cannot be read"),
        ({"url": URL, "headers": {"A": "${input:token}"}}, "only its client can fill in"),
        ({"url": URL, "headers": {"A": "${NOWHERE}"}}, "NOWHERE, which is not set"),
        ({"url": URL, "oauth": {"clientId": "x"}}, "oauth"),
        (run("sh", "--token", "hush"), "every user of this machine can read"),
        (run("sh", "${workspaceFolder}/x"), "workspaceFolder"),
        (run("no-such-program-anywhere"), "is not in PATH"),
        ({"command": "sh", "cwd": "/nonexistent"}, "is not there"),
        (run("sh", env={"bad-name": "x"}), "cannot be the name of a variable"),
    ],
)  # fmt: skip
def test_what_cannot_be_moved_whole_is_left_and_says_why(entry, why):
    with pytest.raises(NotAdoptable, match=why) as caught:
        found(entry)
    assert "hush" not in str(caught.value)
    assert "t0k" not in str(caught.value)


def test_who_may_have_to_log_in_is_told_about():
    assert found(run("npx", "mcp-remote", URL)).may_log_in
    assert found({"url": URL}).may_log_in
    assert not found(run("npx", "mcp-remote", URL, "--header", "A: b")).may_log_in
    assert not found(run("fly", *FLY)).may_log_in


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a${X}b", "a1b"),
        ("${env:X}", "1"),
        ("{env:X}", "1"),
        ("${NO:-2}", "2"),
        ("$X", "$X"),
        ("", ""),
    ],
)
def test_references_to_variables_are_filled_in(text, wanted):
    assert filled(text, {"X": "1"}, {"X": "0"}) == wanted


@pytest.mark.parametrize(
    ("name", "value", "secret"),
    [
        ("API_KEY", "x", True),
        ("GITHUB_PAT", "x", True),
        ("URL", "https://u:p@h/", True),
        ("X", "ghp_16C7e42F292c6912E7", True),
        ("PATH", "/usr/bin:/bin", False),
        ("MODE", "production", False),
        ("TOKEN", "", False),
    ],
)
def test_secrets_are_told_by_name_or_by_look(name, value, secret):
    assert looks_secret(name, value) is secret


# ---------------------------------------------------------------- the plan

MACHINE = Machine("linux", "/home/ann", {})


def entry_of(client, name, value, path=None):
    known = client_named(client)
    place = known.target(MACHINE)
    if path is not None:
        place = next(one for one in known.places(MACHINE) if one.path.endswith(path))
    launch = read_entry(value)
    return Entry(known, place, place.section, name, launch, attached_to(launch))


def planned(*entries, existing=None):
    chosen = plan.candidates(entries, ENVIRON)
    return plan.adoptions([one for one in chosen if one.found], existing or {})


def test_equal_servers_are_one_and_others_of_the_same_name_are_not():
    one = {"url": URL, "headers": {"A": "1"}}
    other = {"url": URL, "headers": {"A": "2"}}
    made = planned(
        entry_of("cursor", "x", one), entry_of("zed", "y", one), entry_of("kiro", "x", other)
    )
    assert [(one.server, len(one.candidates)) for one in made] == [("x", 2), ("x-2", 1)]


def test_a_server_that_is_there_is_used_when_nothing_secret_had_to_be_compared():
    there = {"x": {"url": URL}, "y": {"url": "https://other/"}}
    (same,) = planned(entry_of("cursor", "x", {"url": URL}), existing=there)
    assert (same.server, same.exists) == ("x", True)
    (new,) = planned(entry_of("cursor", "y", {"url": URL}), existing=there)
    assert (new.server, new.exists) == ("y-2", False)
    secret = {"url": URL, "headers": {"A": "1"}}
    there["x"] = planned(entry_of("cursor", "x", secret))[0].draft.spec
    (apart,) = planned(entry_of("cursor", "x", secret), existing=there)
    assert (apart.server, apart.exists) == ("x-2", False)


@pytest.mark.parametrize(
    ("name", "server"), [("My Server!", "My-Server"), ("…", "server"), ("a" * 99, "a" * 60)]
)
def test_an_entry_of_any_name_gets_a_server(name, server):
    (made,) = planned(entry_of("cursor", name, {"url": URL}))
    assert made.server == server
    (edit,) = plan.edits(made, [], MACHINE)
    assert edit.name == name


def test_what_is_ours_already_is_no_candidate():
    assert plan.candidates([entry_of("cursor", "x", run("mcpctl", "attach", "x"))], ENVIRON) == []


def test_an_entry_in_a_file_that_nobody_reads_moves_to_the_one_that_is_read():
    dead = entry_of("cursor", "x", {"url": URL}, path="Cursor/config.json")
    (made,) = planned(dead)
    put, taken = plan.edits(made, [dead], MACHINE)
    assert (put.place.path, put.fields is None) == ("/home/ann/.cursor/mcp.json", False)
    assert (taken.place, taken.fields) == (dead.place, None)
    live = entry_of("cursor", "x", {"url": URL})
    (only,) = plan.edits(made, [dead, live], MACHINE)
    assert only.fields is None


def test_nothing_of_a_candidate_shows_its_secrets():
    (candidate,) = plan.candidates(
        [entry_of("cursor", "x", {"url": URL, "headers": {"A": "hush"}})], ENVIRON
    )
    assert "hush" not in repr(candidate)
    assert isinstance(candidate.entry.place, Place)


@pytest.mark.parametrize(
    ("entry", "url", "secret"),
    [
        (run("fly", "mcp", "proxy", "-a", "app", "--url", "http://app.flycast/", "--bearer-token", "t0k"), "http://app.flycast/", "t0k"),
        ({"url": "http://app.internal:8080/mcp", "headers": {"X-Key": "t0k"}}, "http://app.internal:8080/mcp", "t0k"),
    ],
)  # fmt: skip
def test_with_a_way_into_private_networks_what_is_there_is_moved(entry, url, secret):
    draft = recognise(read_entry(entry), ENVIRON, private=True).draft
    assert draft.spec["url"] == url
    assert list(draft.secrets.values()) == [secret]
