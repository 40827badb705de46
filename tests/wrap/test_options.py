"""`mcpctl wrap`: what its flags and variables mean, and what is refused."""

import os
import subprocess
import sys

import msgspec
import pytest

from mcpctl import wire
from mcpctld.errors import UserError
from mcpctld.wrap.options import (
    Credentials,
    OAuth,
    Options,
    child_environment,
    is_loopback,
    parse_options,
)

SECRET = "s3cr3t-of-the-test"


def parse(*argv, **environ) -> Options:
    return parse_options(argv, environ)


# ---------------------------------------------------------------- the program


@pytest.mark.parametrize(
    ("argv", "command"),
    [
        (["npx", "-y", "server"], ("npx", "-y", "server")),
        (["--", "npx", "-y", "server"], ("npx", "-y", "server")),
        (["--port", "1", "npx", "--port", "2"], ("npx", "--port", "2")),
        (["npx", "--", "x"], ("npx", "--", "x")),
        (["--", "--", "x"], ("--", "x")),
        (["--", "-p", "x"], ("-p", "x")),
        (["--mcp", "uvx", "--", "mcp-server-time"], ("uvx", "mcp-server-time")),
        (["-m", "uvx", "mcp-server-time", "-m", "x"], ("uvx", "mcp-server-time", "-m", "x")),
        (["--mcp=uvx"], ("uvx",)),
    ],
)
def test_the_command_begins_where_our_flags_end(argv, command):
    assert parse(*argv).command == command


def test_what_nobody_asked_for_has_its_default():
    assert parse("cat") == Options(command=("cat",))
    assert parse("cat").hosts == ("127.0.0.1", "::1")
    assert parse("cat").max_body_bytes == 64 * 1024 * 1024
    assert (parse("cat").port, parse("cat").max_children) == (8080, 32)
    assert (parse("cat").drain_timeout_s, parse("cat").replay) == (10.0, "auto")


@pytest.mark.parametrize(
    ("flags", "field", "value"),
    [
        (["-p", "9000"], "port", 9000),
        (["--port=0"], "port", 0),
        (["--path-prefix", "/x"], "path_prefix", "/x"),
        (["--path-prefix", "/x/y/"], "path_prefix", "/x/y"),
        (["--path-prefix", "/"], "path_prefix", ""),
        (["--allowed-host", "a.example", "--allowed-host", "[::1]:80"], "allowed_hosts", ("a.example", "[::1]:80")),
        (["--allowed-origin", "*"], "allowed_origins", ("*",)),
        (["--allowed-origin", "HTTPS://A.example/"], "allowed_origins", ("https://a.example",)),
        (["--allowed-origin", "app://x", "--allowed-origin", "null"], "allowed_origins", ("app://x", "null")),
        (["--max-children", "3"], "max_children", 3),
        (["--idle-timeout", "1.5"], "idle_timeout_s", 1.5),
        (["--drain-timeout", "0"], "drain_timeout_s", 0.0),
        (["--max-body", "10"], "max_body_bytes", 10),
        (["--public-url", "https://a.example/mcp"], "public_url", "https://a.example/mcp"),
        (["--trust-forwarded"], "trust_forwarded", True),
        (["--replay", "off"], "replay", "off"),
        (["--private"], "private", True),
    ],
)  # fmt: skip
def test_each_flag_sets_its_own_field(flags, field, value):
    assert parse(*flags, "cat") == msgspec.structs.replace(parse("cat"), **{field: value})


@pytest.mark.parametrize(
    "flags",
    [
        [],
        ["--"],
        [""],
        ["--mcp", ""],
        ["--port", "65536", "cat"],
        ["--port", "-1", "cat"],
        ["--port", "http", "cat"],
        ["--port", "\N{SUPERSCRIPT TWO}", "cat"],
        ["--unknown", "cat"],
        ["--por", "1", "cat"],
        ["--bind", "", "cat"],
        ["--bind", "127.0.0.1:80", "cat"],
        ["--bind", "http://x", "cat"],
        ["--path-prefix", "x", "cat"],
        ["--path-prefix", "/a b", "cat"],
        ["--path-prefix", "/a//b", "cat"],
        ["--path-prefix", "/a?b", "cat"],
        ["--allowed-host", "http://a", "cat"],
        ["--allowed-host", "", "cat"],
        ["--allowed-host", "::1", "cat"],
        ["--allowed-origin", "a.example", "cat"],
        ["--allowed-origin", "https://a.example/path", "cat"],
        ["--max-children", "0", "cat"],
        ["--max-body", "1.5", "cat"],
        ["--max-body", "-3", "cat"],
        ["--idle-timeout", "nan", "cat"],
        ["--idle-timeout", "inf", "cat"],
        ["--idle-timeout", "soon", "cat"],
        ["--drain-timeout", "-1", "cat"],
        ["--replay", "maybe", "cat"],
        ["--public-url", "a.example", "cat"],
        ["--public-url", "https://a.example/?x", "cat"],
        ["--public-url", "https://a.example/#", "cat"],
        ["--public-url", "https://u:p@a.example/", "cat"],
        ["--public-url", "ftp://a.example/", "cat"],
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_in_words(flags):
    with pytest.raises(UserError) as refused:
        parse(*flags)
    assert wire.exit_code(refused.value.kind) == 2
    assert len(str(refused.value)) > 20


def test_help_is_printed_and_names_every_flag(capsys):
    with pytest.raises(SystemExit) as ended:
        parse("--help")
    assert ended.value.code == 0
    told = capsys.readouterr().out
    for flag in ("--port", "--mcp", "--bearer-token", "--oauth-issuer", "--replay", "--max-body"):
        assert flag in told


# ---------------------------------------------------------------- where it listens


@pytest.mark.parametrize(
    ("flags", "environ", "hosts", "on_loopback"),
    [
        ([], {}, ("127.0.0.1", "::1"), True),
        ([], {"FLY_MACHINE_ID": "148e21"}, ("::",), False),
        (["--bind", "localhost"], {"FLY_MACHINE_ID": "148e21"}, ("127.0.0.1", "::1"), True),
        (["--bind", "::"], {}, ("::",), False),
        (["--bind", "[::1]"], {}, ("::1",), True),
        (["--bind", "127.0.0.9"], {}, ("127.0.0.9",), True),
        (["--bind", "0.0.0.0"], {}, ("0.0.0.0",), False),
        (["--bind", "fly-local-6pn"], {}, ("fly-local-6pn",), False),
    ],
)
def test_loopback_is_the_default_except_in_a_fly_machine(flags, environ, hosts, on_loopback):
    options = parse(*flags, "cat", **environ)
    assert (options.hosts, options.on_loopback) == (hosts, on_loopback)
    assert options.machine_id == environ.get("FLY_MACHINE_ID", "")


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        *[("LocalHost", True), ("127.1.2.3", True), ("::1", True)],
        *[("127.a.b.c", False), ("::", False), ("", False), ("localhost.example", False)],
    ],
)
def test_loopback_is_told_by_address_and_not_by_its_beginning(host, expected):
    assert is_loopback(host) is expected


# ---------------------------------------------------------------- credentials


@pytest.mark.parametrize(
    ("flags", "environ", "expected"),
    [
        ([], {}, Credentials()),
        (["--bearer-token", "flag"], {}, Credentials(bearer_token="flag")),
        (["--bearer-token", "flag"], {"FLY_MCP_BEARER_TOKEN": "env"}, Credentials(bearer_token="env")),
        (["--bearer-token", "flag"], {"FLY_MCP_BEARER_TOKEN": ""}, Credentials(bearer_token="flag")),
        ([], {"FLY_MCP_BEARER_TOKEN": "old", "FLY_MCP_BEARER_TOKEN_ALSO": "new"},
         Credentials(bearer_token="old", bearer_token_also="new")),
        ([], {"FLY_MCP_BEARER_TOKEN_ALSO": "alone"}, Credentials()),
        (["--user", "u", "--password", "p"], {}, Credentials(user="u", password="p")),
        (["--user", "u"], {"FLY_MCP_PASSWORD": "p:q"}, Credentials(user="u", password="p:q")),
        (["--user", "u", "--password", "p"], {"FLY_MCP_USER": "v"}, Credentials(user="v", password="p")),
        ([], {"FLY_MCP_BEARER_TOKEN": "a+/b", "FLY_MCP_USER": "u", "FLY_MCP_PASSWORD": "p"},
            Credentials(bearer_token="a+/b", user="u", password="p")),
    ],
)  # fmt: skip
def test_a_variable_beats_its_flag_unless_it_is_empty(flags, environ, expected):
    options = parse(*flags, "cat", **environ)
    assert options.credentials == expected
    assert options.is_guarded is bool(expected)


@pytest.mark.parametrize(
    ("flags", "environ"),
    [
        (["--bearer-token", ""], {}),
        (["--bearer-token", "a b"], {}),
        (["--user", "u"], {}),
        (["--user", "", "--password", "p"], {}),
        (["--user", "u", "--password", ""], {}),
        ([], {"FLY_MCP_PASSWORD": "p"}),
        ([], {"FLY_MCP_USER": "a:b", "FLY_MCP_PASSWORD": "p"}),
        ([], {"FLY_MCP_USER": "a", "FLY_MCP_PASSWORD": "p\n"}),
        ([], {"FLY_MCP_BEARER_TOKEN": "\N{SNOWMAN}"}),
        ([], {"FLY_MCP_BEARER_TOKEN": "fine", "FLY_MCP_BEARER_TOKEN_ALSO": "not fine"}),
        (["--bearer-token", "@/nonexistent/file"], {}),
        (["--bearer-token", "@/dev/zero"], {}),
        (["--bearer-token", "@"], {}),
    ],
)
def test_half_of_a_credential_never_opens_the_door(flags, environ):
    with pytest.raises(UserError):
        parse(*flags, "cat", **environ)


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_a_secret_can_stand_in_a_file(tmp_path, ending):
    file = tmp_path / "token"
    file.write_bytes(SECRET.encode() + ending.encode())
    options = parse("--bearer-token", f"@{file}", "--user", "u", "--password", f"@{file}", "cat")
    assert options.credentials == Credentials(bearer_token=SECRET, user="u", password=SECRET)
    assert options.notes == ()


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff", b"x" * 65537, b"two\nlines"])
def test_a_file_without_a_secret_in_it_is_refused(tmp_path, content):
    file = tmp_path / "token"
    file.write_bytes(content)
    with pytest.raises(UserError) as refused:
        parse("--bearer-token", f"@{file}", "cat")
    assert "two" not in str(refused.value)


@pytest.mark.parametrize("environ", [{}, {"FLY_MCP_BEARER_TOKEN": "x", "FLY_MCP_PASSWORD": "y"}])
def test_a_secret_on_our_command_line_is_taken_with_a_note(environ):
    flags = ["--bearer-token", SECRET, "--user", "u", "--password", SECRET]
    notes = parse(*flags, "cat", **environ).notes
    assert [note.split()[0] for note in notes] == ["--bearer-token", "--password"]
    assert "FLY_MCP_BEARER_TOKEN" in notes[0]
    assert SECRET not in "".join(notes)


def test_private_counts_as_soon_as_the_variable_is_there():
    assert parse("cat", FLY_MCP_PRIVATE="").private
    assert parse("cat", FLY_MCP_PRIVATE="1").private
    assert not parse("cat").private


@pytest.mark.parametrize(
    ("flags", "warned"),
    [
        ([], False),
        (["--bind", "::"], True),
        (["--bind", "::", "--private"], False),
        (["--bind", "::", "--oauth-issuer", "https://i", "--public-url", "https://p"], False),
    ],
)
def test_an_open_door_to_the_world_is_remarked_on(flags, warned):
    notes = parse(*flags, "cat").notes
    assert bool(notes) is warned
    assert all("no credentials" in note for note in notes)


def test_no_secret_is_in_any_representation():
    options = parse("cat", FLY_MCP_BEARER_TOKEN=SECRET, FLY_MCP_USER="u", FLY_MCP_PASSWORD=SECRET)
    shown = f"{options!r} {options} {options.credentials!r} {options.credentials.__rich_repr__()}"
    assert SECRET not in shown
    assert "Bearer and Basic" in shown
    assert repr(Credentials()) == "<Credentials none>"
    assert options.credentials.secrets == {SECRET}


# ---------------------------------------------------------------- OAuth


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--public-url", "https://p/mcp"], OAuth(issuer="https://i/t", audience="https://p/mcp", resource="https://p/mcp")),
        (["--oauth-audience", "https://a"], OAuth(issuer="https://i/t", audience="https://a", resource="https://a")),
        (["--public-url", "https://p", "--oauth-audience", "api://x"],
            OAuth(issuer="https://i/t", audience="api://x", resource="https://p")),
        (["--public-url", "https://p", "--oauth-scope", "a b", "--oauth-scope", "c", "--oauth-scope", "a"],
            OAuth(issuer="https://i/t", audience="https://p", resource="https://p", scopes=("a", "b", "c"))),
    ],
)  # fmt: skip
def test_tokens_are_for_the_public_url_unless_an_audience_is_named(flags, expected):
    assert parse("--oauth-issuer", "https://i/t", *flags, "cat").oauth == expected


@pytest.mark.parametrize(
    "issuer", ["http://127.0.0.1:9000/t", "http://localhost", "http://[::1]:1"]
)
def test_an_issuer_on_this_machine_may_be_plain(issuer):
    options = parse("--oauth-issuer", issuer, "--public-url", "http://p", "cat")
    assert options.oauth is not None
    assert options.oauth.issuer == issuer


@pytest.mark.parametrize(
    "flags",
    [
        ["--oauth-issuer", "https://i"],
        ["--oauth-issuer", "http://i.example", "--public-url", "https://p"],
        ["--oauth-issuer", "http://127.evil.a.b", "--public-url", "https://p"],
        ["--oauth-issuer", "https://i?x=1", "--public-url", "https://p"],
        ["--oauth-issuer", "", "--public-url", "https://p"],
        ["--oauth-issuer", "https://i", "--oauth-audience", "api://x"],
        ["--oauth-issuer", "https://i", "--public-url", "https://p", "--oauth-scope", 'a"b'],
        ["--oauth-audience", "https://a"],
        ["--oauth-scope", "a"],
    ],
)
def test_an_issuer_that_proves_nothing_is_refused(flags):
    with pytest.raises(UserError):
        parse(*flags, "cat")


# ---------------------------------------------------------------- the program's environment


def test_the_program_gets_nothing_that_lets_a_client_in():
    kept = {
        "PATH": "/bin",
        "FLY_APP_NAME": "app",
        "FLY_API_TOKEN": "the program's own business",
        "MCPCTL_RUNTIME_DIR": "/run/x",
        "MCPCTL_SECRETS": "file",
    }
    ours = {
        "FLY_MCP_BEARER_TOKEN": "a",
        "FLY_MCP_USER": "b",
        "FLY_MCP_PASSWORD": "c",
        "FLY_MCP_PRIVATE": "1",
        "FLY_MCP_": "d",
        "MCPCTL_BEARER_TOKEN": "e",
        "MCPCTL_PASSWORD": "f",
        "MY_TOKEN": SECRET,
    }
    assert child_environment({**kept, **ours}, {SECRET}) == kept
    assert child_environment({"MY_TOKEN": SECRET}) == {"MY_TOKEN": SECRET}


def test_the_options_alone_load_no_parser():
    code = "import sys, mcpctld.wrap.options; sys.exit(any(n in sys.modules for n in ('argparse', 'jwt', 'httpx')))"
    assert subprocess.run([sys.executable, "-c", code], env=dict(os.environ)).returncode == 0
