"""What there is to show of a session: who, how many, how fast, what failed. Nothing here is a secret."""

import logging
import time

from mcpctl import shapes
from mcpctld.errors import McpctlError
from mcpctld.logs import FieldLogger
from mcpctld.model import Server
from mcpctld.protocols.checkpoint_format import Notes
from mcpctld.protocols.jsonrpc import Kind, Message, read_initialize_result, read_params
from mcpctld.protocols.mcp.headers import modern_params
from mcpctld.sessions.attached import Attached
from mcpctld.sessions.calls import Call
from mcpctld.sessions.events import EventBus
from mcpctld.sessions.figures import Recorder


class Profile:
    """Kept up to date by the parts that carry the session's messages."""

    def __init__(
        self,
        id: str,
        server: Server,
        attached: Attached,
        server_figures: Recorder,
        events: EventBus,
    ) -> None:
        self.id = id
        self.server = server
        self.figures = Recorder()
        self.recorders = (self.figures, server_figures)
        self.log = FieldLogger(
            logging.getLogger("mcpctld.session"), {"session": id, "server": server.name}
        )
        self._events = events
        self._client = attached.parent_name
        self._client_version: str | None = None
        self._protocol_version: str | None = None
        self.cwd = attached.cwd
        self._pid = attached.pid
        self._started_at = time.time()

    def opened(self) -> None:
        """Tell that the session has begun."""
        extra = {"client": self._client, "pid": self._pid}
        self.log.info("session.opened", extra=extra)
        self.publish("session.opened", **extra)

    def closed(self, reason: str) -> None:
        """Tell that it has ended."""
        extra = {"reason": reason, "calls": self.figures.calls}
        self.log.info("session.closed", extra=extra)
        self.publish("session.closed", **extra)

    def note(self, error: McpctlError) -> None:
        """Remember and tell what went wrong."""
        for recorder in self.recorders:
            recorder.note(error)
        self.log.warning("session.error", extra={"kind": error.kind, "error": str(error)})
        self.publish("session.error", kind=error.kind, message=str(error))

    def publish(self, type_: str, **data: object) -> None:
        """An event of this session, for `GET /v1/events`."""
        self._events.publish(type_, {"id": self.id, "server": self.server.name, **data})

    # ------------------------------------------------------------ who speaks what

    def asked(self, request: Message) -> None:
        """Learn from a request of the client: `initialize`, or (2026-07-28 on) the first that tells."""
        if request.method == "initialize":
            params = read_params(request)
        elif self._protocol_version is None and (modern := modern_params(request)) is not None:
            params = modern
            self._protocol_version = params.protocol_version
        else:
            return
        self._client = params.client_name or self._client
        self._client_version = params.client_version

    def resumed(self, notes: Notes, initialize: Message | None) -> None:
        """Learn from what the last daemon left."""
        self._started_at = notes.started_at
        self._protocol_version = notes.revision or None
        if initialize is not None:
            self.asked(initialize)

    def answered(self, call: Call, answer: Message) -> None:
        """Learn from a response of the server."""
        if call.method == "initialize" and answer.kind is Kind.RESULT:
            self._protocol_version = read_initialize_result(answer).protocol_version

    def info(self, transport: str, bridge: str | None, *, closing: bool) -> shapes.SessionInfo:
        """A snapshot for the API."""
        ready = self._protocol_version is not None
        return {
            "id": self.id,
            "server": self.server.name,
            "client": self._client,
            "client_version": self._client_version,
            "cwd": self.cwd,
            "pid": self._pid,
            "transport": transport,
            "bridge": bridge,
            "protocol_version": self._protocol_version,
            "started_at": self._started_at,
            "state": "closing" if closing else "ready" if ready else "starting",
            "figures": self.figures.figures(),
            "last_error": self.figures.last_error,
        }
