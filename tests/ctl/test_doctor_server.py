"""`mcpctl doctor NAME`, with a real daemon and real sockets at the end of the way."""

import contextlib
import datetime as dt
import http.server
import json
import ssl
import sys
import threading
import time
from pathlib import Path

import pytest
import trustme

from e2e import wrapped
from harness import FIXTURES, steady_port
from mcpctl import examining, fly_program, network_steps, reaching, wire
from mcpctl.errors import CtlError

TOKEN = "s3cret-of-the-test"
PARROT = [sys.executable, "-I", "-S", str(FIXTURES / "parrot.py")]


def steps(home, *words, code=1):
    """Which level each step has, and what all of them said."""
    done = home.mcpctl("doctor", *words, "--json")
    assert done.code == code, done
    assert "Traceback" not in done.err
    assert TOKEN not in done.out + done.err
    findings = done.json()["servers"][0]["findings"]
    return [(one["step"], one["level"]) for one in findings], {
        one["step"]: one["message"] for one in findings
    }


@contextlib.contextmanager
def serving(answer, context=None, port=0):
    """An HTTP server in a thread whose answer to everything is `answer`: status, headers, body; its port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def reply(self):
            status, headers, body = answer
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_DELETE = reply  # noqa: N815

        def log_message(self, *_):
            pass

    class Server(http.server.ThreadingHTTPServer):
        def get_request(self):
            connection, address = super().get_request()
            if context is None:
                return connection, address
            connection.settimeout(10)
            return context.wrap_socket(connection, server_side=True), address

    with Server(("127.0.0.1", port), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.fixture
def authority():
    return trustme.CA()


def encrypted(home, authority, *names, days=400, trusted=True):
    """A server's TLS, with a certificate that ends in so many days."""
    ends = dt.datetime.now(dt.UTC) + dt.timedelta(days=days, hours=1)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(*names, not_after=ends).configure_cert(context)
    if trusted:
        file = home.path / "authority.pem"
        authority.cert_pem.write_to_path(str(file))
        home.env["SSL_CERT_FILE"] = str(file)
    return context


REFUSAL = (401, {"WWW-Authenticate": "Bearer", "Content-Type": "text/plain"}, b"who are you?\n")


# ---------------------------------------------------------------- all is well


def test_a_wrap_that_is_well_and_the_daemon(home):
    wrap = wrapped.start(home, env={"FLY_MCP_BEARER_TOKEN": TOKEN}).wait_ready()
    url = f"{wrap.base}/mcp"
    added = home.mcpctl("add", "--server", "good", "--url", url, "--bearer-token", TOKEN)
    assert added.code == 0, added
    levels, said = steps(home, "good", code=0)
    assert levels == [
        (step, "ok")
        for step in ("configuration", "name", "tcp", "http", "health", "auth", "handshake")
    ]
    assert "127.0.0.1" in said["name"]
    assert "401: it wants credentials" in said["http"]
    assert "our credentials are taken" in said["auth"]
    assert said["handshake"].startswith("MCP 2025-11-25 with parrot, in 0.")
    done = home.mcpctl("doctor")
    assert done.code == 0, done
    assert "the daemon\n  ok      daemon        runs: mcpctld " in done.out
    assert "\n  ok      secrets       in a private file " in done.out
    assert "\ngood\n  ok      configuration " in done.out
    assert done.out.endswith("\n0 problems, 0 warnings\n")


def test_a_local_server_has_no_way_but_the_handshake(home):
    (home.path / "p").mkdir()
    home.add("local", command=[*PARROT, str(home.path / "p")])
    assert steps(home, "local", code=0)[0] == [("configuration", "ok"), ("handshake", "ok")]


# ---------------------------------------------------------------- something is wrong


def test_a_wrap_whose_server_fails_says_so(home):
    wrap = wrapped.start(home, (sys.executable, "-c", "raise SystemExit(3)"))
    home.add("ill", url=f"{wrap.base}/mcp")
    levels, said = steps(home, "ill")
    assert ("health", "problem") in levels
    assert "its server is not ready" in said["health"]
    assert ("handshake", "problem") in levels


def test_a_wrong_token_is_told_from_none(home):
    wrap = wrapped.start(home, env={"FLY_MCP_BEARER_TOKEN": "another"}).wait_ready()
    home.add("bare", url=f"{wrap.base}/mcp")
    home.mcpctl("add", "--server", "wrong", "--url", f"{wrap.base}/mcp", "--bearer-token", TOKEN)
    levels, said = steps(home, "bare")
    assert levels[-2:] == [("auth", "problem"), ("handshake", "problem")]
    assert "wants credentials, and there are none (401)" in said["auth"]
    said = steps(home, "wrong")[1]
    assert "does not take our credentials (401)" in said["auth"]
    assert "mcpctl secret set wrong bearer-token" in said["auth"]


@pytest.mark.parametrize(
    ("answer", "step", "level", "words"),
    [
        (REFUSAL, "auth", "problem", "(401)"),
        ((403, {}, b"no"), "auth", "problem", "forbids it (403)"),
        ((200, {"Content-Type": "text/html"}, b"<html>"), "http", "problem", "no MCP server"),
        ((404, {}, b""), "http", "warning", "check the path"),
        ((502, {}, b""), "http", "problem", "502"),
        ((302, {"Location": f"https://u:{TOKEN}@h.example/?k={TOKEN}"}, b""), "http", "problem", "https://h.example;"),
    ],
)  # fmt: skip
def test_what_answers_is_no_mcp_server_for_us(home, answer, step, level, words):
    with serving(answer) as port:
        home.add("web", url=f"http://127.0.0.1:{port}/mcp")
        done = home.mcpctl("doctor", "web", "--json")
    assert done.code == 1, done
    findings = done.json()["servers"][0]["findings"]
    assert level in [one["level"] for one in findings if one["step"] == step], findings
    assert words in " ".join(one["message"] for one in findings if one["step"] == step)
    assert TOKEN not in " ".join(one["message"] for one in findings if one["step"] == "http")


def test_nobody_listens(home):
    home.add("gone", url=f"http://127.0.0.1:{steady_port()}/mcp")
    levels, said = steps(home, "gone")
    assert levels[1:] == [("name", "ok"), ("tcp", "problem"), ("handshake", "skipped")]
    assert "refused; is the server running?" in said["tcp"]


def test_there_is_no_such_name(home):
    home.add("lost", url="https://no-such-host.invalid/mcp")
    levels, said = steps(home, "lost")
    assert levels == [("configuration", "ok"), ("name", "problem")]
    assert "cannot look up no-such-host.invalid" in said["name"]


def test_a_certificate_that_ends_soon_is_a_warning(home, authority):
    with serving(REFUSAL, encrypted(home, authority, "tls.localhost", days=5)) as port:
        home.add("tls", url=f"https://tls.localhost:{port}/mcp")
        levels, said = steps(home, "tls")
    assert ("tls", "warning") in levels
    assert "for 5 days more; renew it" in said["tls"]
    assert ("http", "ok") in levels


@pytest.mark.parametrize(
    ("names", "trusted", "reason"),
    [
        (["tls.localhost"], False, "unable to get local issuer"),
        (["elsewhere.example"], True, "not valid for"),
    ],
)
def test_a_certificate_that_nobody_believes_ends_the_way(home, authority, names, trusted, reason):
    with serving(REFUSAL, encrypted(home, authority, *names, trusted=trusted)) as port:
        home.add("tls", url=f"https://tls.localhost:{port}/mcp")
        levels, said = steps(home, "tls")
    assert levels[2:] == [("tcp", "ok"), ("tls", "problem"), ("handshake", "skipped")]
    assert reason in said["tls"] or "Hostname mismatch" in said["tls"]


def test_no_tls_where_some_is_expected(home):
    with serving(REFUSAL) as port:
        home.add("plain", url=f"https://127.0.0.1:{port}/mcp")
        assert ("tls", "problem") in steps(home, "plain")[0]


def test_a_missing_secret_and_a_broken_file_are_problems(home):
    home.add("poor", url="http://127.0.0.1:1/mcp", headers={"A": "${secret:key}"})
    (home.config_dir / "servers" / "torn.toml").write_text("url = ")
    levels, said = steps(home, "poor")
    assert levels[0] == ("configuration", "problem")
    assert "mcpctl secret set poor key" in said["configuration"]
    levels, said = steps(home, "torn")
    assert levels == [("configuration", "problem")]
    assert "torn.toml" in said["configuration"]


def test_a_name_that_is_none_gets_the_nearest(home):
    home.add("github", url="http://127.0.0.1:1/mcp")
    done = home.mcpctl("doctor", "gihub")
    assert done.code == 4
    assert "did you mean 'github'?" in done.err


# ---------------------------------------------------------------- a machine that sleeps


@pytest.mark.parametrize("state", ["suspended", "stopped", "unknown"])
def test_a_machine_that_may_sleep_is_left_alone(state):
    machines = [{"id": "m", "state": state, "checks": [], "findings": []}]
    fly = examining.Fly(None, machines, None)
    assert fly.asleep({}) is True
    assert examining.Fly("other", machines, None).asleep({}) is False
    unasked = examining.Fly(None, [], "no token")
    assert unasked.asleep({}) is None
    known = unasked.asleep({"machine": {"state": state}})
    assert known is (None if state == "unknown" else True)
    assert unasked.asleep({"machine": {"state": "started"}}) is False


# ---------------------------------------------------------------- the pure half


@pytest.mark.parametrize(("days", "level"), [(14.0, "ok"), (13.9, "warning"), (0.5, "warning")])
def test_days_that_are_left(days, level):
    assert network_steps.certificate(days)["level"] == level


@pytest.mark.parametrize(
    ("patterns", "host", "leads"),
    [
        (["*.internal"], "a.INTERNAL.", True),
        (["*.internal"], "internal", False),
        (["fdaa::/16"], "fdaa::3", True),
        (["fdaa::/16"], "fdab::3", False),
        (["fdaa::/16", "x"], "x", True),
        (["*"], "10.0.0.1", False),
    ],
)
def test_what_a_tunnel_leads_to(patterns, host, leads):
    assert network_steps.leads_to(patterns, host) is leads


@pytest.mark.parametrize(
    ("url", "authority", "loopback"),
    [
        ("http://[::1]:80/x?y", "[::1]", True),
        ("https://u:p@h.example/", "h.example", False),
        ("https://a.localhost:1", "a.localhost:1", True),
    ],
)
def test_where_a_url_leads(url, authority, loopback):
    at = reaching.target(url)
    assert (at.authority, at.is_loopback) == (authority, loopback)


@pytest.mark.parametrize("url", ["ftp://h/", "http://", "http://h:x/", "x"])
def test_a_url_that_leads_nowhere(url):
    with pytest.raises(ValueError):
        reaching.target(url)


def test_no_step_waits_for_ever():
    gate = threading.Event()
    begun = time.monotonic()
    with pytest.raises(TimeoutError, match=r"within 0\.05 s"):
        reaching.within(gate.wait, 0.05)
    gate.set()
    assert time.monotonic() - begun < reaching.BOUND_S


def test_health_of_somebody_else_is_not_ours():
    for body in (b"", b"{", b"[]", b'{"status": "ok"}'):
        assert network_steps.health(reaching.Reply(200, "application/json", "", body)) is None
    reply = reaching.Reply(503, "application/json", "", json.dumps({"status": "unready"}).encode())
    assert network_steps.health(reply)["level"] == "problem"


# ---------------------------------------------------------------- the daemon, tunnels, machines


def lines(findings):
    """Step and level of each, and what all of them say."""
    seen = list(findings)
    said = " ".join(one["message"] for one in seen)
    return [(one["step"], one["level"]) for one in seen], said


def test_the_daemon_is_looked_at(daemon):
    status = daemon.status()
    levels, text = lines(examining.daemon(status, started=True))
    assert levels == [("daemon", "ok"), ("secrets", "ok"), ("configuration", "ok")]
    assert "has been started" in text
    assert "none are kept yet" in text
    status["daemon"]["version"] = "0.0.1"
    status["config_errors"] = [{"file": "/x.toml", "message": "is torn"}]
    secrets = Path(wire.state_dir(), "secrets.json")
    secrets.touch(mode=0o644)
    levels, text = lines(examining.daemon(status, started=False))
    assert levels == [
        ("daemon", "ok"), ("version", "warning"), ("secrets", "problem"), ("configuration", "problem"),
    ]  # fmt: skip
    assert f"chmod 600 {secrets}" in text
    assert "cannot use /x.toml: is torn" in text
    secrets.chmod(0o600)
    assert lines(examining.daemon(status, started=False))[0][2] == ("secrets", "ok")


@pytest.mark.parametrize(
    ("state", "error", "level"),
    [("up", "old", "ok"), ("closed", None, "ok"), ("opening", "no answer", "warning")],
)
def test_what_a_tunnel_serves_is_left_to_the_handshake(state, error, level):
    tunnel = {"name": "fly", "hosts": ["*.flycast"], "state": state, "last_error": error}
    at = reaching.target("http://app.flycast/mcp")
    found = network_steps.name(at, [tunnel])
    assert (found.finding["level"], found.addresses) == (level, [])
    assert f"through tunnel fly, which is {state}" in found.finding["message"]


def test_what_a_proxy_leads_to_is_left_to_the_handshake(monkeypatch):
    monkeypatch.setenv("https_proxy", f"http://u:{TOKEN}@proxy.invalid:1")
    monkeypatch.setenv("no_proxy", "near.invalid")
    found = network_steps.name(reaching.target("https://far.invalid/"), [])
    assert (found.finding["level"], found.addresses) == ("ok", [])
    assert TOKEN not in found.finding["message"]
    for host in ("near.invalid", "localhost", "127.0.0.1"):
        assert not reaching.is_proxied(reaching.target(f"https://{host}/"))


def test_what_fly_says_of_machines():
    def machine(ident, **fields):
        return {"id": ident, "state": "started", "checks": [], "findings": [], **fields}

    def levels(fly):
        return [one["level"] for one in examining.machines(fly)]

    assert levels(examining.Fly(None, [machine("a")], None)) == ["ok"]
    assert levels(examining.Fly(None, [], "no token")) == ["warning"]
    assert levels(examining.Fly(None, [], None)) == ["problem"]
    assert levels(examining.Fly("b", [machine("a")], None)) == ["problem", "ok"]
    checks = [{"name": "health", "status": "critical"}]
    assert levels(examining.Fly(None, [machine("a", checks=checks)], None)) == ["problem"]
    asleep = machine("a", checks=checks, state="stopped")
    assert levels(examining.Fly(None, [asleep], None)) == ["ok"]
    config = {"services": [{"autostop": "suspend", "autostart": False}]}
    review = fly_program.offline("review", {"config": config, "machines": 2})["findings"]
    found = lines(examining.machines(examining.Fly(None, [machine("a", findings=review)], None)))
    assert ("fly", "problem") in found[0]
    assert "autostart: false" in found[1]
    assert "the app has 2" in found[1]


def test_fly_is_not_waited_for_without_a_bound(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "mute.py").write_text("import time\ntime.sleep(60)\n")
    with pytest.raises(CtlError, match=r"no answer to status within 0\.2 s") as caught:
        fly_program.run("status", {}, program="mute", within_s=0.2)
    assert caught.value.kind == "timeout"


@pytest.mark.slow
def test_what_the_daemon_remembers_is_no_answer_of_the_server(home):
    port = steady_port()
    wrap = wrapped.start(home, port=port).wait_ready()
    home.add("was", url=f"http://127.0.0.1:{port}/mcp")
    assert steps(home, "was", code=0)[0][-1] == ("handshake", "ok")
    wrap.terminate()
    with serving((503, {}, b""), port=port):
        levels, _ = steps(home, "was")  # `initialize` is answered from memory
    assert levels[-2:] == [("http", "problem"), ("handshake", "problem")]
