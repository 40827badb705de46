"""What users and programs get wrong, and what they are told."""

import json
import os
import ssl
import stat
import subprocess
from pathlib import Path

import pytest
import trio
import trustme

from e2e.rawclient import EndOfOutputError
from e2e.stage import Stage, error_of
from fixtures import scripted
from harness import Home, program, unavailable

MiB = 1024 * 1024
NOBODY = 65534


async def refused(stage: Stage, name: str | None, *more: str, url: str | None = None) -> tuple:
    """Attach, and be refused: the exit code and what standard error said."""
    async with stage.attached(name, *more, url=url) as client:
        code = await client.exit()
        with pytest.raises(EndOfOutputError):
            await client.line()
        return code, client.errors.decode()


# ---------------------------------------------------------------- names and addresses


async def test_an_unknown_name_is_refused_with_suggestions(stage: Stage) -> None:
    stage.parrot(name="github")
    stage.parrot(name="gitlab")
    code, said = await refused(stage, "githbu")
    assert code == 4
    assert "githbu" in said
    assert "github" in said
    assert "mcpctl add" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ftp://127.0.0.1/x", "http"),
        ("http://", "host"),
        ("example.org/mcp", "http"),
        ("https://user:word@example.org/mcp", "--user"),
        ("http://127.0.0.1:99999/mcp", "port"),
    ],
)
async def test_a_url_that_cannot_be_one_is_refused(stage: Stage, url: str, words: str) -> None:
    code, said = await refused(stage, None, url=url)
    assert code == 2
    assert words in said
    assert "word@" not in said


@pytest.mark.parametrize(
    "words",
    [[], ["--nonsense"], ["--url"], ["one", "two"], ["--transport", "pigeon", "--url", "http://h"]],
)
async def test_a_command_line_that_cannot_be_one_is_refused(stage: Stage, words: list[str]) -> None:
    code, said = await refused(stage, None, *words)
    assert code == 2
    assert said.startswith("mcpctl: ")


async def test_a_broken_file_is_reported_and_its_last_good_version_stays(stage: Stage) -> None:
    folder = stage.parrot()
    stage.home.start_daemon()
    file = stage.home.config_dir / "servers" / "parrot.toml"
    file.write_text("command = [unfinished")
    status, answer = stage.home.api("POST", "/v1/reload")
    assert status == 200
    (error,) = answer["config_errors"]
    assert error["file"] == str(file)
    async with stage.session("parrot") as client:
        assert "result" in await client.ask(1, "x")
    assert (folder / "heard").exists()


# ---------------------------------------------------------------- TLS


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


def server_context(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    """For a server that has a certificate with these names."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(*names).configure_cert(context)
    return context


async def tls_error(stage: Stage, upstream: scripted.Upstream) -> str:
    """The error that a client gets from an HTTPS server."""
    stage.remote(upstream, connect_timeout_s=2)
    async with stage.attached("remote") as client:
        return str(error_of(await client.initialize())["message"])


async def test_a_certificate_of_an_unknown_authority_is_refused(
    stage: Stage, authority: trustme.CA
) -> None:
    async with stage.upstream(tls=server_context(authority, "localhost")) as upstream:
        message = await tls_error(stage, upstream)
        assert "certificate" in message
        assert "localhost" in message
        assert upstream.seen == []


async def test_a_certificate_for_another_name_is_refused(
    stage: Stage, authority: trustme.CA
) -> None:
    stage.home.env["SSL_CERT_FILE"] = certificate_file(stage.home, authority)
    async with stage.upstream(tls=server_context(authority, "elsewhere.example")) as upstream:
        assert "certificate" in await tls_error(stage, upstream)
        assert upstream.seen == []


async def test_an_authority_of_ones_own_is_believed_when_named(
    stage: Stage, authority: trustme.CA
) -> None:
    stage.home.env["SSL_CERT_FILE"] = certificate_file(stage.home, authority)
    async with stage.upstream(tls=server_context(authority, "localhost")) as upstream:
        stage.remote(upstream)
        async with stage.session("remote") as client:
            assert "result" in await client.call(1, "echo")


async def test_plain_http_spoken_to_a_tls_client_is_named(
    stage: Stage, upstream: scripted.Upstream
) -> None:
    stage.remote(f"https://127.0.0.1:{upstream.port}/mcp", connect_timeout_s=2)
    async with stage.attached("remote") as client:
        assert "TLS" in error_of(await client.initialize())["message"]


def certificate_file(home: Home, authority: trustme.CA) -> str:
    """The authority's certificate, in a file."""
    file = home.path / "authority.pem"
    authority.cert_pem.write_to_path(str(file))
    return str(file)


# ---------------------------------------------------------------- what the client writes


async def test_a_line_of_65_mib_is_refused_by_its_id_and_the_session_goes_on(stage: Stage) -> None:
    stage.parrot()
    async with stage.session("parrot") as client:
        async with trio.open_nursery() as nursery:
            start = b'{"jsonrpc":"2.0","id":"big","method":"x","params":{"text":"'

            async def write() -> None:
                await client.write(start)
                for _ in range(65):
                    await client.write(b"x" * MiB)
                await client.write(b'"}}\n')

            nursery.start_soon(write)
            answer = await client.answer("big")
        assert str(len(start) + 65 * MiB + 3) in error_of(answer)["message"]
        assert "max_message_bytes" in error_of(answer)["message"]
        assert (await client.ask(2, "x"))["result"] == {}


@pytest.mark.parametrize(
    ("line", "code"),
    [
        pytest.param(
            b'{"jsonrpc":"2.0","id":1,"method":"x","params":{"a":"\xff"}}', -32700, id="utf-8"
        ),
        pytest.param(b"hello?", -32700, id="text"),
        pytest.param(b'{"jsonrpc":"2.0","id":1,', -32700, id="half"),
        pytest.param(b"[]", -32600, id="empty batch"),
        pytest.param(b"42", -32600, id="number"),
        pytest.param(b'{"jsonrpc":"2.0","id":{},"method":"x"}', -32600, id="id"),
        pytest.param(b'{"jsonrpc":"2.0","id":1,"params":NaN,"method":"x"}', -32700, id="NaN"),
        pytest.param(b"[" * 100_000, -32700, id="depth"),
    ],
)
async def test_a_line_that_is_no_message_gets_an_error_and_the_session_goes_on(
    stage: Stage, line: bytes, code: int
) -> None:
    stage.parrot()
    async with stage.session("parrot") as client:
        await client.write(line + b"\n")
        answer = await client.message()
        assert answer["error"]["code"] == code
        assert answer["error"]["message"].startswith("mcpctl: ")
        assert (await client.ask(2, "x"))["result"] == {}
    assert len(stage.logged("client.garbage")) == 1


async def test_blank_lines_and_carriage_returns_are_nothing(stage: Stage) -> None:
    stage.parrot()
    async with stage.session("parrot") as client:
        await client.write(b'\n\r\n  \n{"jsonrpc":"2.0","id":1,"method":"x"}\r\n')
        assert (await client.answer(1))["result"] == {}


async def test_half_a_line_at_the_end_of_input_is_reported(stage: Stage) -> None:
    folder = stage.parrot()
    async with stage.session("parrot") as client:
        await client.ask(1, "x")
        await client.write(b'{"jsonrpc":"2.0","id":2,"meth')
        await client.close_stdin()
        answer = await client.message()
        assert "ended within a line" in answer["error"]["message"]
        assert await client.exit() == 0
    assert b'"meth' not in (folder / "heard").read_bytes().splitlines()[-1][-6:]


async def test_a_whole_message_without_its_newline_at_the_end_of_input_counts(
    stage: Stage,
) -> None:
    stage.parrot()
    async with stage.session("parrot") as client:
        await client.write(b'{"jsonrpc":"2.0","id":2,"method":"x"}')
        await client.close_stdin()
        assert (await client.answer(2))["result"] == {}
        assert await client.exit() == 0


# ---------------------------------------------------------------- what a local server writes


async def test_garbage_on_stdout_is_logged_and_never_reaches_the_client(stage: Stage) -> None:
    folder = stage.parrot()
    (folder / "answer").write_bytes(
        b"Starting up...\n\xff\xfe\n\n{]\n" + b'{"jsonrpc":"2.0","id":1,"result":{"clean":true}}\n'
    )
    async with stage.session("parrot") as client:
        await client.request(1, "x")
        assert json.loads(await client.line())["result"] == {"clean": True}
    lines = [entry["line"] for entry in stage.logged("server.garbage")]
    assert lines[0] == "Starting up..."
    assert len(lines) == 3


async def test_an_endless_flood_of_garbage_does_not_fill_the_log(stage: Stage) -> None:
    folder = stage.parrot()
    (folder / "answer").write_bytes(b"noise\n" * 20_000 + b'{"jsonrpc":"2.0","id":1,"result":{}}\n')
    async with stage.session("parrot") as client:
        assert (await client.ask(1, "x"))["result"] == {}
    assert 1 <= len(stage.logged("server.garbage")) <= 100


async def test_an_answer_of_65_mib_is_refused_by_the_id_of_its_request(stage: Stage) -> None:
    stage.parrot()
    async with stage.session("parrot") as client:
        error = error_of(await client.ask(1, "test/big", {"bytes": 65 * MiB}))
        assert "max_message_bytes" in error["message"]
        assert (await client.ask(2, "x"))["result"] == {}


async def test_a_command_that_is_not_there_any_more_is_named(stage: Stage) -> None:
    stage.home.add("gone", command=["/nonexistent/server"])
    async with stage.attached("gone") as client:
        error = error_of(await client.initialize())
        assert "/nonexistent/server" in error["message"]
        assert await client.exit() == 2
        assert b"/nonexistent/server" in client.errors


# ---------------------------------------------------------------- where the sockets are


def test_a_socket_folder_that_others_can_enter_is_refused(home: Home) -> None:
    home.runtime_dir.chmod(0o755)
    for form in ("script", "entry"):
        code, said = attach_now(home, form)
        assert code == 3
        assert f"chmod 700 {home.runtime_dir}" in said
    assert home.processes() == []


def test_a_socket_folder_that_cannot_be_made_is_named(home: Home) -> None:
    home.runtime_dir.rmdir()
    home.runtime_dir.write_text("in the way")
    code, said = attach_now(home)
    assert code in (3, 69)
    assert str(home.runtime_dir) in said
    home.runtime_dir.unlink()


def test_a_socket_folder_of_another_user_is_refused(home: Home) -> None:
    if os.geteuid() != 0:
        unavailable("root", "only root can give a folder to another user")
    os.chown(home.runtime_dir, NOBODY, NOBODY)
    code, said = attach_now(home)
    assert code == 3
    assert f"user {NOBODY}" in said
    os.chown(home.runtime_dir, 0, 0)


def test_a_socket_of_another_user_is_not_spoken_to(home: Home) -> None:
    """A stub hands over its standard input and output: to nobody but its own user's daemon."""
    if os.geteuid() != 0:
        unavailable("root", "only root can start a process of another user")
    home.path.chmod(0o755)
    os.chown(home.runtime_dir, NOBODY, NOBODY)
    stranger = subprocess.Popen(
        ["python3", "-c", STRANGER, str(home.runtime_dir / "attach.sock")],
        user=NOBODY, group=NOBODY, extra_groups=[], stdout=subprocess.PIPE, cwd="/",
    )  # fmt: skip
    assert stranger.stdout is not None
    try:
        assert stranger.stdout.readline() == b"listening\n"
        os.chown(home.runtime_dir, 0, 0)
        code, said = attach_now(home)
        assert code == 3
        assert f"user {NOBODY}" in said
    finally:
        stranger.kill()
        stranger.wait()
        heard = stranger.stdout.read()
        stranger.stdout.close()
        (home.runtime_dir / "attach.sock").unlink(missing_ok=True)
    assert heard in (b"", b"b''\n")  # connected to, at the most, and told nothing


STRANGER = """
import socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
print("listening", flush=True)
connection, _ = listener.accept()
print(connection.recv(10000), flush=True)
"""


def attach_now(home: Home, form="script") -> tuple[int, str]:
    """Attach with pipes that say nothing; the exit code and standard error."""
    words = home.attach("x", form=form)
    done = subprocess.run(
        words, env=home.env, input="", capture_output=True, text=True, timeout=30, check=False
    )
    return done.returncode, done.stderr


def test_what_a_daemon_makes_is_for_its_user_alone(stage: Stage) -> None:
    stage.home.start_daemon()
    for name in ("attach.sock", "control.sock"):
        assert mode(stage.home.runtime_dir / name) == 0o600
    assert mode(stage.home.runtime_dir) == 0o700
    assert mode(stage.home.log_file) == 0o600


def mode(path: Path) -> int:
    """The permission bits."""
    return stat.S_IMODE(path.stat().st_mode)


def test_a_second_daemon_says_who_is_first(home: Home) -> None:
    first = home.start_daemon()
    second = subprocess.run(
        [program("mcpctld")], env=home.env, capture_output=True, text=True, timeout=30, check=False
    )
    assert second.returncode == 5
    assert str(first) in second.stderr
    assert home.api("GET", "/v1/health")[0] == 200


def test_a_socket_left_by_a_killed_daemon_is_replaced(home: Home) -> None:
    home.start_daemon()
    assert home.daemon is not None
    home.daemon.kill()
    home.daemon.wait()
    assert (home.runtime_dir / "attach.sock").exists()
    home.start_daemon()
    assert home.api("GET", "/v1/health")[0] == 200
