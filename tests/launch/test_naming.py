import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpctld.errors import UserError
from mcpctld.launch import naming


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("uvx mcp-server-time", "mcp-server-time"),
        ("npx -y @modelcontextprotocol/server-slack", "server-slack"),
        ("npx -f @modelcontextprotocol/server-filesystem /data/", "server-filesystem"),
        ("npx @wonderwhy-er/desktop-commander@latest", "desktop-commander"),
        ("npx -y @playwright/mcp@latest --headless", "playwright-mcp"),
        ("npx -y mcp-server@1.2.3", "mcp-server"),
        ("npx --package @acme/tools -- run-it", "tools"),
        ("uvx --from git+https://github.com/acme/weather-mcp.git weather", "weather"),
        ("uvx git+https://github.com/acme/weather-mcp.git@v2", "weather-mcp"),
        ("uvx mcp-server-git==2026.10", "mcp-server-git"),
        ("uvx mcp-server-fetch[extra]>=1", "mcp-server-fetch"),
        ("uv tool run mcp-server-time", "mcp-server-time"),
        ("uv run --with fastmcp server.py", "server"),
        ("pipx run some-server", "some-server"),
        ("bun x @acme/notes", "notes"),
        ("pnpm dlx @acme/notes", "notes"),
        ("deno run ./tools/index.ts", "tools"),
        ("python3 -m acme_server --port 1", "acme_server"),
        ("node dist/index.js", "index"),
        ("node /srv/weather/dist/index.js", "weather"),
        ("node ./server.js", "server"),
        ("DEBUG=1 uvx mcp-server-time", "mcp-server-time"),
        ("go run github.com/mark3labs/mcp-filesystem-server@latest /data/", "mcp-filesystem-server"),
        ("go run github.com/acme/widget/v2/cmd/server", "widget-server"),
        ("/usr/local/bin/tool", "tool"),
        ("run", "run"),
        ("uvx x", "x"),
    ],
)  # fmt: skip
def test_a_command_names_its_server(command, name):
    assert naming.server_name(command.split()) == name


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("ghcr.io/github/github-mcp-server", "github-mcp-server"),
        ("ghcr.io/github/github-mcp-server:v1@sha256:00", "github-mcp-server"),
        ("localhost:5000/mcp/time:2", "time"),
        ("grafana/mcp", "grafana-mcp"),
        ("mcp", "mcp"),
    ],
)
def test_an_image_names_its_server(image, name):
    assert naming.server_name(["--stdio"], image) == name


@pytest.mark.parametrize("words", [[], ["npx", "-y"], ["sh"], ["uvx", "--from"], ["..."]])
def test_what_tells_nothing_has_to_be_said(words):
    with pytest.raises(UserError, match="--server NAME"):
        naming.server_name(words)


def test_the_name_of_an_app_is_one_label():
    assert naming.app_name("My_Server.2") == "my-server-2"
    assert naming.app_name("a" * 62 + "--b") == "a" * 62
    with pytest.raises(UserError, match="--name NAME"):
        naming.app_name("___")


@pytest.mark.parametrize("name", ["a", "time-2", "a" * 63])
def test_a_good_app_name_is_taken_as_it_is(name):
    assert naming.check_app_name(name) == name


@pytest.mark.parametrize("name", ["", "-a", "a-", "A", "a_b", "a.b", "a" * 64, "a\n"])
def test_a_bad_app_name_is_refused(name):
    with pytest.raises(UserError, match="name of an app"):
        naming.check_app_name(name)


def test_another_name_is_like_the_first_one_and_depends_on_the_entropy():
    one, two = (naming.alternative("time", entropy) for entropy in (b"1", b"2"))
    assert one != two
    assert one == naming.alternative("time", b"1")
    assert re.fullmatch("time-[0-9a-f]{6}", one)


@settings(derandomize=True, deadline=None)
@given(st.lists(st.text(max_size=20), max_size=5), st.text(max_size=20))
def test_whatever_is_found_can_be_used(words, image):
    try:
        name = naming.server_name(words, image)
    except UserError:
        return
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name)


@settings(derandomize=True, deadline=None)
@given(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True), st.binary())
def test_the_app_of_any_server_has_a_good_name_and_so_has_the_next_one(server, entropy):
    app = naming.app_name(server)
    naming.check_app_name(app)
    naming.check_app_name(naming.alternative(app, entropy))
