"""What docs/wrap.md shows is run as it stands there; where the sources are not, there is nothing to show."""

import os
import re
import shutil
from pathlib import Path

import pytest

from e2e import wrapped
from e2e.rawclient import CLIENT, LATEST
from e2e.wrapped import Wrap, request
from harness import Home, program, steady_port, unavailable, wait_until

DOCS = Path(__file__).parents[2] / "docs" / "wrap.md"
TIME = "mcp-server-time"
INITIALIZE = {"protocolVersion": LATEST, "capabilities": {}, "clientInfo": CLIENT}


@pytest.fixture
def text() -> str:
    if not DOCS.exists():
        unavailable("docs", "not a git checkout")
    return DOCS.read_text()


def block(text: str, language: str) -> str:
    """The one fenced block of a language."""
    (found,) = re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return str(found)


def test_every_flag_and_variable_is_documented_and_none_is_invented(home: Home, text: str) -> None:
    help_text = home.mcpctl("wrap", "--help").out
    flags = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", help_text)) - {"-h", "--help"}
    table = "\n".join(line for line in text.splitlines() if line.startswith("| `-"))
    assert set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", table)) == flags
    assert set(re.findall(r"FLY_MCP_[A-Z_]*[A-Z]", help_text)) <= set(re.findall(r"FLY_\w+", table))


def test_the_command_line_has_a_pointer(text: str) -> None:
    assert "wrap.md" in (DOCS.parent / "cli.md").read_text()
    assert "wrap.md" in (DOCS.parents[1] / "README.md").read_text()


def use(wrap: Wrap, path: str, **headers: str) -> None:
    """Shake hands and call a tool."""
    fields = {"Accept": wrapped.BOTH, "Content-Type": wrapped.JSON_TYPE, **headers}
    made = wrap.ask("POST", path, request(0, "initialize", **INITIALIZE), fields)
    assert made.status == 200, made
    fields["Mcp-Session-Id"] = made.headers["Mcp-Session-Id"]
    told = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    assert wrap.ask("POST", path, told, fields).status == 202
    called = request(1, "tools/call", name="get_current_time", arguments={"timezone": "UTC"})
    answer = wrap.ask("POST", path, called, fields)
    assert '"timezone"' in str(answer.json()), answer
    assert wrap.ask("DELETE", path, None, fields).status == 204


# ---------------------------------------------------------------- in a web application


def test_the_application_of_the_documentation_serves_both(home: Home, text: str) -> None:
    (home.path / "example.py").write_text(block(text, "python"))
    words = ("--worker-class", "trio", "--workers", "0", "--bind", "127.0.0.1:0", "example:app")
    served = home.serve(
        program("hypercorn"), *words, polite=True, env={"PYTHONPATH": str(home.path)}
    )
    application = Wrap(served, home)
    assert application.ask("GET", "/").body == b"My application"
    use(application, "/mcp")
    assert application.ask("GET", "/").status == 200


# ---------------------------------------------------------------- nginx

MAIN = """
daemon off; pid {folder}/nginx.pid; error_log stderr warn; worker_processes 1; {user}
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    {server}
}}
"""


def nginx() -> str:
    """The program."""
    found = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if found is None:
        unavailable("nginx", "nginx is not installed")
    return found


def test_nginx_as_documented_passes_everything_on(home: Home, text: str) -> None:
    program_file, port = nginx(), steady_port()
    flags = (
        "--path-prefix",
        "/tools",
        "--trust-forwarded",
        "--public-url",
        "https://mcp.example.com/tools",
    )
    behind = wrapped.start(home, (program(TIME),), *flags)
    server = block(text, "nginx").replace("listen 443", f"listen 127.0.0.1:{port}")
    server = server.replace("127.0.0.1:8080", f"127.0.0.1:{behind.port}")
    file = home.path / "nginx.conf"
    user = "user root;" if os.getuid() == 0 else ""
    file.write_text(MAIN.format(folder=home.path, server=server, user=user))
    served = home.serve(program_file, "-c", str(file), "-p", str(home.path), polite=True)
    front = Wrap(served, home)
    host = {"Host": "mcp.example.com"}
    use(front, "/tools", **host)
    wait_until(lambda: front.ask("GET", "/tools/health", headers=host).status == 200, "health")
    assert front.ask("GET", "/elsewhere", headers=host).status == 404
    listen = (
        b"GET /tools/sse HTTP/1.1\r\nHost: mcp.example.com\r\nAccept: text/event-stream\r\n\r\n"
    )
    with wrapped.connected(
        front, listen
    ) as sock:  # the first event comes at once, not when a buffer is full
        assert b"data: message?sessionId=" in wrapped.read_until(sock, b"sessionId=")
