"""One WireGuard tunnel, shared by all sessions: opened when somebody needs it, closed when nobody has for long."""

import importlib
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from ipaddress import IPv6Address

import trio

from mcpctl import shapes
from mcpctld.drivers.carriers.carrier import boot_time
from mcpctld.drivers.inet.stream import TunnelStream
from mcpctld.errors import InternalError, McpctlError, NotFound, Unreachable, UserError
from mcpctld.model import TunnelSpec
from mcpctld.protocols.inet.dns.message import Answer, Kind
from mcpctld.protocols.inet.tcp.state import Settings
from mcpctld.protocols.wireguard.keys import encode_key
from mcpctld.protocols.wireguard.wg_quick import TunnelSettings
from mcpctld.tunnels import assembly
from mcpctld.tunnels.eyeballs import connect_first
from mcpctld.tunnels.names import Names

OPEN_BOUND_S = 12.0
"""A connection that is not there by then is given up: less than what whoever asks has patience for."""
IDLE_CHECK_S = 15.0
PINGS = 5
PING_PAUSE_S = 0.2
PING_BOUND_S = 2.0

# As `drivers.keepalive.STEADY`: a vanished peer is found within a minute.
SETTINGS = Settings(keep_alive=30.0, keep_alive_interval=10.0, keep_alive_probes=3)

_log = logging.getLogger("mcpctld.tunnels")


class WireGuardTunnel:
    """The tunnel `name`. Its parts exist while it is open."""

    def __init__(
        self,
        name: str,
        spec: TunnelSpec,
        nursery: trio.Nursery,
        state_dir: str,
        clock: Callable[[], float] = boot_time,
    ) -> None:
        self.name = name
        self.spec = spec
        self._nursery = nursery
        self._state_dir = state_dir
        self._clock = clock
        self._parts: assembly.Assembly | None = None
        self._names = Names(self._ask)
        self._scope = trio.CancelScope()
        self._opening = trio.Lock()
        self._used_at = 0.0
        self._opened_at: float | None = None
        self._users = 0
        self._new_session = trio.Event()
        self._last_error: str | None = None
        self._probe: shapes.TunnelProbe | None = None

    # ------------------------------------------------------------ what it is for

    async def open_stream(self, host: str, port: int) -> trio.abc.HalfCloseableStream:
        """A TCP connection to a host behind it, by name or address. Raises `McpctlError`."""
        self._users += 1  # it must not be closed for being idle meanwhile
        try:
            with trio.move_on_after(OPEN_BOUND_S):
                return await self._open_stream(host, port)
            raise Unreachable(
                f"cannot connect to {host}:{port} through the tunnel {self.name}: {self._silence()}"
            )
        except McpctlError as exc:
            self._last_error = str(exc)
            raise
        finally:
            self._users -= 1
            self._used_at = trio.current_time()

    async def _open_stream(self, host: str, port: int) -> TunnelStream:
        parts = await self._open()
        literal = _address(host)
        addresses = [literal] if literal else await self._look_up(host)

        async def connect(address: IPv6Address) -> TunnelStream:
            return await parts.host.open_tcp_stream(address, port, SETTINGS)

        return await connect_first(addresses, connect)

    async def probe(self) -> shapes.TunnelProbe:
        """Open it, and ask its resolver for a few echoes. Raises `McpctlError`."""
        parts = await self._open()
        if not parts.resolvers:
            raise UserError(
                f"cannot probe the tunnel {self.name}: its file names no IPv6 DNS server"
            )
        times: list[float] = []
        async with trio.open_nursery() as nursery:
            for _ in range(PINGS):
                nursery.start_soon(self._ping, parts, times)
                await trio.sleep(PING_PAUSE_S)
        times.sort()
        self._probe = {
            "target": str(parts.resolvers[0]),
            "sent": PINGS,
            "received": len(times),
            "rtt_ms": round(times[len(times) // 2] * 1000, 3) if times else None,
        }
        return self._probe

    async def _ping(  # noqa: ASYNC910  (a task of its own)
        self, parts: assembly.Assembly, times: list[float]
    ) -> None:
        with trio.move_on_after(PING_BOUND_S), suppress(Unreachable):
            times.append(await parts.host.ping(parts.resolvers[0]))

    # ------------------------------------------------------------ names

    async def _look_up(self, host: str) -> list[IPv6Address]:
        return await self._names.addresses(host)

    async def _ask(self, name: str, kind: Kind) -> Answer:
        parts = await self._open()
        if not parts.resolvers:
            raise NotFound(
                f"cannot look up {name}: {self.spec.conf} names no IPv6 DNS server; add DNS = ADDRESS to [Interface]"
            )
        return await parts.host.resolve(name, kind, parts.resolvers)

    # ------------------------------------------------------------ its life

    def renew(self) -> None:
        """The network is another one, or we have slept."""
        self._names.forget()
        if self._parts is not None:
            self._parts.link.renew()

    def close(self) -> None:
        """Close it; it opens again when it is needed."""
        self._scope.cancel()

    async def _open(self) -> assembly.Assembly:
        async with self._opening:
            if self._parts is None:
                settings = await self._load()
                stamps = await trio.to_thread.run_sync(
                    assembly.read_stamps, self._state_dir, self.name
                )
                parts = assembly.assemble(
                    self.spec, settings, stamps, self._note_session, clock=self._clock
                )
                await self._nursery.start(self._live, parts)
            assert self._parts is not None
            return self._parts

    async def _load(self) -> TunnelSettings:
        if self.spec.kind == "wireguard":
            return await trio.to_thread.run_sync(assembly.load, self.spec)
        name = "mcpctld.tunnels.fly"  # loaded late, for it brings an HTTP client of its own
        fly = await trio.to_thread.run_sync(importlib.import_module, name)
        settings: TunnelSettings = await fly.load(self.name, self.spec, self._state_dir)
        return settings

    async def forget(self) -> None:
        """Close it, and take away what was made for it elsewhere. Raises `McpctlError`."""
        if self.spec.kind == "wireguard":
            raise UserError(
                f"the peer of {self.name} is not mcpctl's: take it away where you made it"
            )
        self.close()
        fly = await trio.to_thread.run_sync(importlib.import_module, "mcpctld.tunnels.fly")
        await fly.remove(self.name, self._state_dir)

    async def _live(  # noqa: ASYNC910  (a task of its own)
        self,
        parts: assembly.Assembly,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        for line in parts.ignored:
            _log.info("tunnel.ignored", extra={"tunnel": self.name, "what": line})
        _log.info("tunnel.opened", extra={"tunnel": self.name})
        self._parts, self._opened_at, self._used_at = parts, time.time(), trio.current_time()
        try:
            with trio.CancelScope() as self._scope:
                async with trio.open_nursery() as nursery:
                    for task in (
                        parts.link.run,
                        parts.host.run,
                        self._watch_use,
                        self._save_stamps,
                    ):
                        nursery.start_soon(task)
                    task_status.started()
        except Exception:  # a bug in one tunnel must not cost everybody everything
            _log.exception("tunnel.failed", extra={"tunnel": self.name})
            self._last_error = str(InternalError("a bug in mcpctl; the daemon's log says more"))
        finally:
            self._parts = self._opened_at = None
            _log.info("tunnel.closed", extra={"tunnel": self.name})

    async def _watch_use(self) -> None:
        """Close it once there has been no connection for long."""
        while True:
            await trio.sleep(IDLE_CHECK_S)
            assert self._parts is not None
            if self._users or self._parts.host.stack.statistics().connections:
                self._used_at = trio.current_time()
            elif trio.current_time() - self._used_at >= self.spec.close_after_s:
                self._scope.cancel()

    def _note_session(self, peer: bytes) -> None:
        self._new_session.set()

    async def _save_stamps(self) -> None:
        while True:
            await self._new_session.wait()
            self._new_session = trio.Event()
            assert self._parts is not None
            link = self._parts.link
            stamps = {
                encode_key(peer): link.device.last_timestamp(peer).hex() for peer in link.paths
            }
            try:
                await trio.to_thread.run_sync(
                    assembly.write_stamps, self._state_dir, self.name, stamps
                )
            except McpctlError as exc:
                _log.warning("tunnel.not_kept", extra={"tunnel": self.name, "error": str(exc)})

    # ------------------------------------------------------------ what there is to tell

    def _silence(self) -> str:
        parts = self._parts
        if parts is not None and parts.link.was_up.is_set():
            return f"no answer within {OPEN_BOUND_S:g} s"
        trouble = (
            [path.trouble for path in parts.link.paths.values() if path.trouble] if parts else []
        )
        why = trouble[0] if trouble else "it did not answer the handshake; does it know our key?"
        return f"its other side cannot be reached: {why}"

    def info(self) -> shapes.TunnelInfo:
        """Everything, now; no key."""
        info: shapes.TunnelInfo = {
            "name": self.name,
            "kind": self.spec.kind,
            "hosts": list(self.spec.hosts),
            "state": "closed",
            "address": None,
            "opened_at": self._opened_at,
            "connections": 0,
            "peers": [],
            "probe": self._probe,
            "last_error": self._last_error,
        }
        if self._parts is not None:
            self._describe(info, self._parts)
        return info

    def _describe(self, info: shapes.TunnelInfo, parts: assembly.Assembly) -> None:
        statistics = parts.link.device.statistics()
        to_unix = time.time() - self._clock()
        for key, path in parts.link.paths.items():
            peer = statistics.peers[key]
            last = peer.last_handshake
            info["peers"].append(
                {
                    "endpoint": "{}:{}".format(*path.address),
                    "carrier": path.chosen,
                    "handshakes": peer.handshakes,
                    "last_handshake_at": None if last is None else last + to_unix,
                    "rtt_ms": None if peer.rtt is None else round(peer.rtt * 1000, 3),
                    "unanswered": peer.unanswered,
                    "bytes_sent": peer.bytes_sent,
                    "bytes_received": peer.bytes_received,
                    "trouble": path.trouble or None,
                }
            )
        is_up = any(peer["handshakes"] and not peer["unanswered"] for peer in info["peers"])
        info["state"] = "up" if is_up else "opening"
        info["address"] = str(parts.address)
        info["connections"] = parts.host.stack.statistics().connections


def _address(host: str) -> IPv6Address | None:
    try:
        return IPv6Address(host)
    except ValueError:
        return None
