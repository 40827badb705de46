"""`mcpctld.tunnels.flyctl_agent` against an agent that speaks as flyctl's source has it: no flyctl is here to ask."""

import socket

import pytest
import trio

from mcpctld.errors import McpctlError, PeerError, Unreachable, UserError
from mcpctld.model import Settings, TunnelSpec
from mcpctld.tunnels.choice import Tunnels
from mcpctld.tunnels.flyctl_agent import FlyctlAgentTunnel
from peers import Server
from tunnels.test_wireguard import Client

SPEC = TunnelSpec(kind="flyctl-agent", org="personal")
ADDRESS = "[fdaa:0:18::5]"


class Agent:
    """Leads each connection to one port of this machine."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.heard: list[list[str]] = []
        self.established: set[tuple[str, str]] = set()
        self.answers: dict[str, bytes] = {}

    async def run(self, path: str, *, task_status) -> None:
        sock = trio.socket.socket(socket.AF_UNIX)
        await sock.bind(path)
        sock.listen()
        await trio.serve_listeners(
            self._serve, [trio.SocketListener(sock)], task_status=task_status
        )

    async def _serve(self, stream: trio.SocketStream) -> None:
        async with stream:
            size = await stream.receive_some(2)
            frame = await stream.receive_some(int.from_bytes(size, "little"))
            verb, *arguments = frame.decode().split(" ")
            self.heard.append([verb, *arguments])
            raw = self.answers.get(verb)
            if raw is not None:
                await stream.send_all(raw)
                return
            answer = getattr(self, verb)(*arguments)
            await stream.send_all(len(answer).to_bytes(2, "little") + answer.encode())
            if verb == "connect" and answer == "ok":
                await self._carry(stream)

    def establish(self, slug: str, network: str) -> str:
        self.established.add((slug, network))
        return 'ok {"WireGuardState": {}}'

    def probe(self, slug: str, network: str) -> str:
        return "ok"

    def resolve(self, slug: str, host: str, network: str) -> str:
        return f"ok {ADDRESS}" if host == "my-app.internal" else "err no such host"

    def connect(self, slug: str, address: str, timeout_ms: str, network: str) -> str:
        known = (slug, network) in self.established and int(timeout_ms) > 0
        return "ok" if known and address == f"{ADDRESS}:8080" else "err tunnel unavailable"

    async def _carry(self, stream: trio.SocketStream) -> None:
        local = await trio.open_tcp_stream("127.0.0.1", self.port)
        async with local, trio.open_nursery() as nursery:
            nursery.start_soon(self._copy, stream, local, nursery.cancel_scope)
            nursery.start_soon(self._copy, local, stream, nursery.cancel_scope)

    async def _copy(self, source, sink, scope) -> None:
        async for data in source:
            await sink.send_all(data)
        scope.cancel()  # either end is both


@pytest.fixture
async def agent(nursery, monkeypatch, tmp_path):
    monkeypatch.setenv("FLY_CONFIG_DIR", str(tmp_path))
    server = Server()
    await nursery.start(server.run)
    made = Agent(server.origin.port)
    await nursery.start(made.run, str(tmp_path / "fly-agent.sock"))
    yield made
    nursery.cancel_scope.cancel()


async def test_http_through_the_agent(agent, nursery, tmp_path):
    client = Client.__new__(Client)
    client.settings = Settings(tunnels={"fly": SPEC})
    client.tunnels = Tunnels(nursery, lambda: client.settings, str(tmp_path))
    client.connect_to(nursery)
    body = b"x" * 200_000
    for host in ("my-app.internal", "fdaa:0:18::5"):
        assert await client.ask(host, body) == body
    verbs = [words[0] for words in agent.heard]
    assert verbs == ["establish", "resolve", "connect", "connect"]
    assert agent.heard[0] == ["establish", "personal", ""]
    assert client.info["state"] == "up"
    assert (await client.tunnels.probe("fly"))["received"] == 1
    with pytest.raises(UserError, match="is flyctl's"):
        await client.tunnels.forget("fly")


@pytest.mark.parametrize(
    ("verb", "raw", "error", "words"),
    [
        ("establish", b"\x0a\0err denied", Unreachable, "cannot establish: denied"),
        ("resolve", b"\x05\0hello", PeerError, "answered resolve with something unknown"),
        ("resolve", b"\x05\0ok", Unreachable, "hung up"),
        ("connect", b"", Unreachable, "hung up"),
        ("connect", b"\x0c\0err too slow", Unreachable, "cannot connect: too slow"),
    ],
)
async def test_what_the_agent_refuses(agent, verb, raw, error, words):
    agent.answers[verb] = raw
    tunnel = FlyctlAgentTunnel("fly", SPEC)
    with pytest.raises(error, match=words):
        await tunnel.open_stream("my-app.internal", 8080)
    info = tunnel.info()
    assert info["state"] == "closed"
    assert words in (info["last_error"] or "")


async def test_names_that_would_be_two_words(agent):
    with pytest.raises(UserError, match="a space in it"):
        await FlyctlAgentTunnel("fly", SPEC).open_stream("a b.internal", 8080)
    assert [words[0] for words in agent.heard] == ["establish"]


async def test_no_agent(monkeypatch, tmp_path):
    monkeypatch.setenv("FLY_CONFIG_DIR", str(tmp_path))
    with pytest.raises(McpctlError, match="start it with: fly agent start"):
        await FlyctlAgentTunnel("fly", SPEC).open_stream("my-app.internal", 8080)
