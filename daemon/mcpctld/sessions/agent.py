"""The agent: takes in attached clients, knows every session, and answers for all of it to the control API."""

import itertools
import logging
import os
import platform
import time
from collections import defaultdict
from collections.abc import Callable

import trio

from mcpctl import shapes, wire
from mcpctld.config.secrets import SecretStore, fill, missing_secrets, secret_names
from mcpctld.config.store import ServerStore
from mcpctld.drivers.http.client import HttpClient, split_url
from mcpctld.errors import Conflict, InternalError, McpctlError, NotFound, PeerError, UserError
from mcpctld.logs import set_level
from mcpctld.model import Server
from mcpctld.sessions.attached import Attached, receive
from mcpctld.sessions.commons import Commons
from mcpctld.sessions.events import EventBus
from mcpctld.sessions.figures import Recorder
from mcpctld.sessions.recovery import last_words
from mcpctld.sessions.session import Ending, Services, Session
from mcpctld.sessions.wakeful import Wakeful
from mcpctld.tunnels.choice import Tunnels
from mcpctld.upstreams import Context, Upstream, make_upstream
from mcpctld.wake.engine import Engine

GREETING_BOUND_S = 5.0
LAST_CALL_S = 3.0
"""After the drain, how long sessions may take to end before they are cancelled."""

_log = logging.getLogger("mcpctld")


class Agent:
    """All sessions, and the state that they share. Implements `mcpctld.api.engine.Engine`."""

    def __init__(
        self,
        store: ServerStore,
        secrets: SecretStore,
        http: HttpClient,
        commons: Commons,
        info: shapes.DaemonInfo,
        *,
        tunnels: Tunnels | None = None,
        wake: Engine | None = None,
    ) -> None:
        self.events = EventBus()
        self.draining = False
        self.hands_over = False
        """Whether sessions go on in the next daemon when this one stops."""
        self.client_files: Callable[[], list[shapes.ClientFile]] = list
        """What is seen of the files of clients; whoever watches them sets it."""
        self._store = store
        self._secrets = secrets
        self._info = info
        self._commons = commons
        self._http = http
        self._tunnels = tunnels
        self._wake = wake
        """None where no machine is to be woken: in tests of sessions."""
        self._sessions: dict[str, Session] = {}
        self._recorders: dict[str, Recorder] = defaultdict(Recorder)
        self._left = trio.lowlevel.ParkingLot()
        self._numbers = itertools.count(1)
        self._stopping = trio.Event()

    # ------------------------------------------------------------ clients

    async def serve(self, listener: trio.SocketListener, accepting: trio.CancelScope) -> None:
        """Take in clients until `accepting` is cancelled, and stay until the last one has gone."""
        async with trio.open_nursery() as nursery:
            with accepting:
                async with listener:
                    await self._accept(listener, nursery)

    async def _accept(self, listener: trio.SocketListener, nursery: trio.Nursery) -> None:
        while True:
            try:
                stream = await listener.accept()
            except OSError as exc:  # no descriptors left, as a rule: let some sessions end first
                _log.error("attach.accept_failed", extra={"error": exc.strerror or str(exc)})
                await trio.sleep(0.1)
                continue
            nursery.start_soon(self._attach, stream.socket)

    async def _attach(self, control: trio.socket.SocketType) -> None:
        try:
            with trio.fail_after(GREETING_BOUND_S):
                attached = await receive(control)
        except (McpctlError, OSError, trio.TooSlowError) as exc:
            _log.warning("attach.bad_greeting", extra={"error": str(exc) or "it came too slowly"})
            return  # noqa: ASYNC910  (`receive` has waited)
        session = await self._admit(attached)
        if session is not None:
            await self._run(session)

    async def _admit(self, attached: Attached) -> Session | None:
        """A session for an attached client, or None when it was sent away."""
        try:
            session = await self._open(attached)
        except McpctlError as exc:
            if self.hands_over:
                attached.close()  # without a word: the stub comes again
                return None  # noqa: ASYNC910  (`_open` has waited)
            _log.warning("attach.refused", extra={"kind": exc.kind, "error": str(exc)})
            self._fail_found(attached, exc)
            await attached.send_away(exc)
        except Exception:  # as below
            _log.exception("attach.failed")
            await attached.send_away(InternalError("the daemon failed; see mcpctl logs --daemon"))
        except BaseException:
            attached.close()
            raise
        else:
            self._sessions[session.id] = session
            return session
        return None

    def _fail_found(self, attached: Attached, error: McpctlError) -> None:
        """A session that was to go on here cannot: what it has asked fails."""
        try:
            logbook = attached.open_logbook(self._store.settings.max_message_bytes)
        except UserError:
            return
        if logbook.found is not None:
            attached.say(last_words(logbook.found, error))

    async def _run(self, session: Session) -> None:  # noqa: ASYNC910  (sessions wait)
        try:
            await session.run()
        except* Exception:  # a bug in one session must not cost the others theirs
            _log.exception("session.failed", extra={"session": session.id})
        finally:
            del self._sessions[session.id]
            self._forget_adhoc(session.profile.server.name)
            self._left.unpark_all()

    def _forget_adhoc(self, name: str) -> None:
        """Figures of servers that nobody has configured go with their last session."""
        if name not in self._store.servers and not any(
            session.profile.server.name == name for session in self._sessions.values()
        ):
            self._recorders.pop(name, None)

    async def _open(self, attached: Attached) -> Session:
        """A session for an attached client. Raises why there cannot be one."""
        self._check_room()
        server = await self._find(attached.fields)
        spec = await fill(server, self._secrets)
        shared = await self._commons.of(server, spec)
        self._check_room()  # again: that may have taken a while, and from here on nothing waits
        services = Services(
            self._http,
            self.events,
            shared,
            self._commons.shelf,
            self._store.settings.max_message_bytes,
            self._transport(server, attached),
        )
        recorder = self._recorders[server.name]
        return Session(f"s{next(self._numbers)}", server, spec, attached, services, recorder)

    def _transport(self, server: Server, attached: Attached) -> Callable[[Context], Upstream]:
        """How a session makes its transport: over a machine that may sleep, it waits for that to be started."""
        watch = self._wake.watch(server.name) if self._wake is not None else None
        if watch is None or server.file is None:
            return make_upstream
        who = attached.parent_name or "a client"
        watch.attached(who)
        return lambda context: Wakeful(context, make_upstream, watch, who)

    def rest(self, name: str) -> None:
        """Nobody calls the server of this name: hold nothing open that keeps its machine awake."""
        server = self._store.servers.get(name)
        for session in self._sessions.values():
            if session.profile.server.name == name:
                session.rest()
        if server is not None and server.spec.url is not None:
            self._http.close_idle(split_url(server.spec.url)[0])

    def _check_room(self) -> None:
        if self.draining:
            raise Conflict("the daemon is stopping; try again")
        most = self._store.settings.max_sessions
        if len(self._sessions) >= most:
            raise Conflict(f"there are {most} sessions already; raise max_sessions in config.toml")

    async def _find(self, fields: list[tuple[str, str]]) -> Server:
        for key, value in fields:
            if key == "server":
                if value not in self._store.servers:
                    await self.reload()  # its file may be so new that nobody has told us yet
                return self._store.get(value)  # noqa: ASYNC910  (what comes next waits)
        if any(key == "url" for key, _ in fields):
            return self._store.adhoc(fields)  # noqa: ASYNC910
        raise PeerError(
            "the greeting names neither a server nor a URL; do mcpctl and mcpctld have the same version?"
        )

    # ------------------------------------------------------------ stopping

    def shutdown(self, *, hand_over: bool = False) -> None:
        """Begin to stop; a second call changes nothing. Sessions end, or go on in the next daemon."""
        if not self.draining:
            self.draining = True
            self.hands_over = hand_over
            extra = {"sessions": len(self._sessions), "hand_over": hand_over}
            _log.info("daemon.draining", extra=extra)
            self.events.publish("daemon.draining")
            self._stopping.set()

    async def wait_stopping(self) -> None:
        """Wait until somebody wants the daemon to stop."""
        await self._stopping.wait()

    async def drain(self) -> None:
        """Let every session finish its calls within the bound, and end it or let it go to the next daemon."""
        bound = self._store.settings.drain_timeout_s
        with trio.move_on_after(bound + LAST_CALL_S):
            async with trio.open_nursery() as nursery:
                for session in tuple(self._sessions.values()):
                    end = session.hand_over if self.hands_over else session.drain
                    nursery.start_soon(end, bound)
            while self._sessions:
                await self._left.park()
        self.events.close()

    # ------------------------------------------------------------ Engine

    async def reload(self) -> shapes.Reloaded:
        """Read our files again; what is broken keeps its last good version in force.

        Another process of the user's may have set secrets, too.
        """
        self._secrets.forget()
        changed = await self._store.reload()
        await self._renew_credentials()
        set_level(self._store.settings.log_level)
        for error in self._store.errors if changed.errors_changed else ():
            _log.warning("config.error", extra={"file": error["file"], "error": error["message"]})
            self.events.publish("config.error", {**error})
        if changed:
            names = {"added": changed.added, "changed": changed.changed, "removed": changed.removed}
            _log.info("servers.changed", extra=names)
            self.events.publish(
                "servers.changed", {key: list(value) for key, value in names.items()}
            )
            for name in (*changed.changed, *changed.removed):
                self._commons.forget(name)
            if self._wake is not None:
                self._wake.apply(self._store.servers)
        return {"servers": list(self._store.servers), "config_errors": self._store.errors}

    async def refresh(self) -> None:
        """The same, for whoever watches the folder."""
        await self.reload()

    async def end_session(self, session_id: str) -> None:
        """End one session and wait until it is gone. Raises `NotFound`."""
        session = self._sessions.get(session_id)
        if session is None:
            raise NotFound(f"no session {session_id!r}; mcpctl sessions lists them")
        session.end(Ending(0, "mcpctl: the session was ended by request", "request"))
        await trio.lowlevel.checkpoint()
        while session_id in self._sessions:
            await self._left.park()

    async def set_secret(self, server: str, key: str, value: str) -> None:
        """Keep a secret."""
        await self._secrets.set(server, key, value)
        await self._renew_credentials(server)

    async def _renew_credentials(self, name: str | None = None) -> None:
        """Open sessions go on with the secrets as they are now; where that fails, with those they have."""
        await trio.lowlevel.checkpoint()
        for session in tuple(self._sessions.values()):
            server = session.profile.server
            if (name is None or server.name == name) and secret_names(server.spec):
                try:
                    session.renew_credentials(await fill(server, self._secrets))
                except McpctlError as exc:
                    _log.warning(
                        "session.old_secrets", extra={"session": session.id, "error": str(exc)}
                    )

    async def delete_secrets(self, server: str) -> None:
        """Forget a server's secrets."""
        await self._secrets.delete(server)

    async def delete_secret(self, server: str, key: str) -> None:
        """Forget one secret of a server."""
        await self._secrets.delete(server, key)

    def tunnels(self) -> shapes.TunnelList:
        """All tunnels, now."""
        return {"tunnels": self._tunnels.infos() if self._tunnels is not None else []}

    async def probe_tunnel(self, name: str) -> shapes.TunnelProbe:
        """Ask for echoes through a tunnel."""
        if self._tunnels is None:
            raise NotFound(f"there is no tunnel {name!r}")  # noqa: ASYNC910
        return await self._tunnels.probe(name)

    async def wake(self, name: str) -> shapes.Woken:
        """Have a server's machine awake, and wait for that. Raises why it is not."""
        if self._wake is None:
            raise UserError("this daemon wakes no machines")
        if name not in self._store.servers:
            await self.reload()
        return await self._wake.wake(self._store.get(name).name)

    def cost(self) -> shapes.Cost:
        """How many machine-seconds each server has used, and for whom."""
        return self._wake.cost() if self._wake is not None else {"servers": []}

    async def forget_tunnel(self, name: str) -> None:
        """Take away what was made for a tunnel."""
        if self._tunnels is None:
            raise NotFound(f"there is no tunnel {name!r}")  # noqa: ASYNC910
        await self._tunnels.forget(name)

    def status(self) -> shapes.Status:
        """Everything, now."""
        sessions = [session.info() for session in self._sessions.values()]
        return {
            "daemon": self._info,
            "servers": [
                self._describe(server, sessions) for server in self._store.servers.values()
            ],
            "sessions": sessions,
            "config_errors": self._store.errors,
            "clients": self.client_files(),
        }

    def folders(self) -> list[str]:
        """The folders in which clients were started, the newest last."""
        cwds = [session.profile.cwd for session in self._sessions.values()]
        return [cwd for cwd in cwds if cwd]

    def _describe(self, server: Server, sessions: list[shapes.SessionInfo]) -> shapes.ServerInfo:
        spec = server.spec
        recorder = self._recorders[server.name]
        shared = self._commons.named(server.name)
        info: shapes.ServerInfo = {
            "name": server.name,
            "kind": server.kind,
            "url": spec.url,
            "command": spec.command,
            "transport": "stdio" if spec.command else spec.transport,
            "detected": shared.facts.transport if shared is not None else None,
            "instance": spec.instance,
            "file": server.file or "",
            "secrets": secret_names(spec),
            "missing_secrets": missing_secrets(server, self._secrets),
            "sessions": sum(session["server"] == server.name for session in sessions),
            "sharing": shared.sharing if shared is not None and shared.sharing > 1 else 0,
            "figures": recorder.figures(),
            "last_error": recorder.last_error,
        }
        machine = self._wake.describe(server.name) if self._wake is not None else None
        if machine is not None:
            info["machine"] = machine
        return info


def describe_daemon(activation: shapes.Activation, log_file: str) -> shapes.DaemonInfo:
    """What there is to say of this process."""
    return {
        "version": wire.VERSION,
        "pid": os.getpid(),
        "python": platform.python_version(),
        "started_at": time.time(),
        "activation": activation,
        "attach_socket": wire.attach_socket(),
        "control_socket": wire.control_socket(),
        "config_dir": wire.config_dir(),
        "state_dir": wire.state_dir(),
        "log_file": log_file,
    }
