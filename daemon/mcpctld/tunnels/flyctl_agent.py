"""Through the agent that flyctl has running: no peer of our own, but flyctl has to be installed and logged in.

There is no description of what it speaks, and it may change with flyctl; this is how flyctl's source had it in 2026.
On its socket a frame is a length (16 bits, little-endian) and words with single spaces between. One command a
connection; after `connect` it carries the bytes of a TCP connection, of which either end closes both directions.
"""

import os
import re
import time

import trio

from mcpctl import shapes
from mcpctld.errors import McpctlError, PeerError, Unreachable, UserError
from mcpctld.model import TunnelSpec

OPEN_BOUND_S = 12.0
CONNECT_MS = 10_000
_ADDRESS = re.compile(r"\[[0-9A-Fa-f:.]+\](?::[0-9]+)?|[0-9A-Fa-f:.]+")
_UNFIT = re.compile(r"[\s\x00-\x1f]")


class FlyctlAgentTunnel:
    """The network of an organisation, by flyctl's agent."""

    def __init__(self, name: str, spec: TunnelSpec) -> None:
        self.name = name
        self.spec = spec
        self._is_established = False
        self._last_error: str | None = None
        self._probe: shapes.TunnelProbe | None = None

    async def open_stream(self, host: str, port: int) -> trio.abc.Stream:
        """A TCP connection to a host in the network. Raises `McpctlError`."""
        try:
            with trio.move_on_after(OPEN_BOUND_S):
                return await self._connect(host, port)
            raise Unreachable(f"flyctl's agent did not connect to {host}:{port} in time")
        except McpctlError as exc:
            self._last_error = str(exc)
            self._is_established = False  # another agent may have come
            raise

    async def _connect(self, host: str, port: int) -> trio.abc.Stream:
        await self._establish()
        address = host
        if not _ADDRESS.fullmatch(host):
            address = await self._ask("resolve", self._org, host, self.spec.network)
        where = address if address.startswith("[") else f"[{address}]"
        words = ("connect", self._org, f"{where}:{port}", str(CONNECT_MS), self.spec.network)
        stream = await self._dial()
        try:
            await self._say(stream, *words)
        except BaseException:
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(stream)
            raise
        return stream

    async def probe(self) -> shapes.TunnelProbe:
        """Have the agent ask for the network. Raises `McpctlError`."""
        await self._establish()
        began = time.perf_counter()
        await self._ask("probe", self._org, self.spec.network)
        took = round((time.perf_counter() - began) * 1000, 3)
        self._probe = {"target": "flyctl's agent", "sent": 1, "received": 1, "rtt_ms": took}
        return self._probe

    async def forget(self) -> None:
        """There is nothing of ours to take away."""
        await trio.lowlevel.checkpoint()
        raise UserError(f"the peer of {self.name} is flyctl's: fly wireguard list shows it")

    def renew(self) -> None:
        """The agent looks after its tunnel itself."""

    def close(self) -> None:
        """Nothing of ours is open."""

    def info(self) -> shapes.TunnelInfo:
        """What is known here; the agent tells no figures."""
        return {
            "name": self.name,
            "kind": self.spec.kind,
            "hosts": list(self.spec.hosts),
            "state": "up" if self._is_established else "closed",
            "address": None,
            "opened_at": None,
            "connections": 0,
            "peers": [],
            "probe": self._probe,
            "last_error": self._last_error,
        }

    # ------------------------------------------------------------ the agent

    @property
    def _org(self) -> str:
        return self.spec.org or ""

    async def _establish(self) -> None:
        if not self._is_established:
            await self._ask("establish", self._org, self.spec.network)
            self._is_established = True
        await trio.lowlevel.checkpoint()

    async def _ask(self, *words: str) -> str:
        """One command on a connection of its own: what its answer holds."""
        stream = await self._dial()
        try:
            return await self._say(stream, *words)
        finally:
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(stream)

    async def _dial(self) -> trio.SocketStream:
        path = socket_path()
        try:
            return await trio.open_unix_socket(path)
        except OSError as exc:
            raise Unreachable(
                f"flyctl's agent does not listen on {path}: {exc.strerror or exc}; start it with: fly agent start"
            ) from exc

    async def _say(self, stream: trio.SocketStream, *words: str) -> str:
        """Send a command, and read the answer and nothing behind it. Raises `PeerError`, `Unreachable`."""
        await _send(stream, *words)
        answer = await _receive(stream)
        verdict, _, rest = answer.partition(" ")
        if verdict == "ok":
            return rest
        if verdict == "err":
            raise Unreachable(f"flyctl's agent cannot {words[0]}: {rest[:300]}")
        raise PeerError(
            f"flyctl's agent answered {words[0]} with something unknown; is it of this flyctl?"
        )


def socket_path() -> str:
    """Where the agent listens."""
    folder = os.environ.get("FLY_CONFIG_DIR") or os.path.expanduser("~/.fly")
    return os.path.join(folder, "fly-agent.sock")


async def _send(stream: trio.SocketStream, *words: str) -> None:
    if any(map(_UNFIT.search, words)):
        raise UserError(f"flyctl's agent cannot be asked for {words[2]!r}: there is a space in it")
    frame = " ".join(words).encode()
    try:
        await stream.send_all(len(frame).to_bytes(2, "little") + frame)
    except trio.BrokenResourceError as exc:
        raise Unreachable("flyctl's agent hung up") from exc


async def _receive(stream: trio.SocketStream) -> str:
    length = int.from_bytes(await _exactly(stream, 2), "little")
    return (await _exactly(stream, length)).decode("utf-8", "replace")


async def _exactly(stream: trio.SocketStream, size: int) -> bytes:
    data = b""
    while len(data) < size:
        try:
            more = await stream.receive_some(size - len(data))
        except trio.BrokenResourceError as exc:
            raise Unreachable("flyctl's agent hung up") from exc
        if not more:
            raise Unreachable("flyctl's agent hung up")
        data += more
    await trio.lowlevel.checkpoint()
    return data
