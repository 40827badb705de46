"""Which request goes where. One URL serves all ways of speaking; its path does not matter, but for those named here.

/health  /metrics  /.well-known/oauth-protected-resource   ours
/sse, /message                                             HTTP+SSE (2024-11-05)
POST that takes neither JSON nor events, GET for no events what `fly mcp proxy` speaks
POST of a message of 2026-07-28                            each by itself
POST, GET, DELETE otherwise                                sessions of 2025-03-26 to 2025-11-25
"""

import json
from typing import TYPE_CHECKING

import trio

from mcpctld.drivers.http.server import Answer, Reply, Request
from mcpctld.protocols.jsonrpc import Batch, Kind, Malformed, Message
from mcpctld.protocols.mcp.inbound import Refused, check, is_modern
from mcpctld.protocols.mcp.listening import LISTEN
from mcpctld.protocols.mcp.methods import LEGACY, MODERN
from mcpctld.wrap import answers
from mcpctld.wrap.affinity import MAX_REPLAYED_BYTES, replay_headers
from mcpctld.wrap.answers import SESSION, retry_later
from mcpctld.wrap.children import Busy
from mcpctld.wrap.cors import CorsReply
from mcpctld.wrap.exchanges import accepts
from mcpctld.wrap.figures import METRICS_TYPE, exposition
from mcpctld.wrap.fly_dialect import FlySession, read_lines
from mcpctld.wrap.guard import HEALTH, RESOURCE_METADATA, Guard
from mcpctld.wrap.health import Health
from mcpctld.wrap.http_sse import SseSession
from mcpctld.wrap.modern import HttpAsker, Pool
from mcpctld.wrap.reading import (
    EVENTS_TYPE,
    read_message,
    request_state,
    session_id,
    speaks_fly,
    version,
)
from mcpctld.wrap.session import Session, parts_of, requests_of
from mcpctld.wrap.sessions import Sessions
from mcpctld.wrap.spares import Spares
from mcpctld.wrap.streamable import StreamableSession
from mcpctld.wrap.verdicts import Pass, Pending, Refusal
from mcpctld.wrap.world import World

if TYPE_CHECKING:  # httpx and jwt are for those who use OAuth
    from mcpctld.wrap.oauth import ResourceServer

SSE, MESSAGE, METRICS = "/sse", "/message", "/metrics"
REPLAY_FAILED = "fly-replay-failed"
"""Fly's proxy could not reach the machine, and brings the request back to us."""
PAGE = b"MCP server. Point an MCP client at this URL.\n"


class Front:
    """Answers HTTP requests. Implements `mcpctld.drivers.http.server.Service`."""

    def __init__(
        self, world: World, guard: Guard, tokens: "ResourceServer | None", prefix: str = ""
    ) -> None:
        self.sessions = Sessions(world)
        self.pool = Pool(world)
        self.health = Health(world, self.pool)
        self._world = world
        self._guard = guard
        self._tokens = tokens
        self._prefix = prefix
        self._fly: dict[str, FlySession] = {}
        """By principal."""

    # ------------------------------------------------------------ who may

    def admit(self, request: Request) -> Answer | None:
        """Turn away at the head who may not speak, and who comes at the wrong moment."""
        verdict = self._check(request)
        if isinstance(verdict, Refusal):
            self._world.figures.refused += 1
            return Answer(verdict.status, verdict.headers, verdict.body)
        if not self._is_ours(request.path):
            return Answer(404, answers.TEXT, b"there is nothing here\n")
        return None

    def _is_ours(self, path: str) -> bool:
        prefix = self._prefix
        within = path == prefix or path.startswith(f"{prefix}/")
        return within or path == HEALTH or path.startswith(RESOURCE_METADATA)

    def _check(self, request: Request) -> Pass | Refusal | Pending:
        return self._guard.check(
            request.method, request.path, request.headers, request.peer, trio.current_time()
        )

    def handle(self, request: Request, reply: Reply) -> None:
        """Answer a request that was admitted."""
        origin = request.headers.get("origin")
        if origin is not None:
            reply = CorsReply(reply, self._guard.cors_headers(origin))
        verdict = self._check(request)
        if isinstance(verdict, Pending):
            self._world.nursery.start_soon(self._settle, verdict, request, reply)
        else:
            self._go_on(verdict, request, reply)

    async def _settle(self, pending: Pending, request: Request, reply: Reply) -> None:
        assert self._tokens is not None
        outcome = await self._tokens.principal(pending.token)
        self._go_on(self._guard.settle(pending, outcome, trio.current_time()), request, reply)

    def _go_on(self, verdict: Pass | Refusal, request: Request, reply: Reply) -> None:
        if isinstance(verdict, Refusal):
            self._world.figures.refused += 1
            reply.send(verdict.status, verdict.headers, verdict.body)
        else:
            self._route(request, reply, verdict.principal)

    # ------------------------------------------------------------ where to

    def _route(self, request: Request, reply: Reply, principal: str) -> None:
        path = request.path.removeprefix(self._prefix) or "/"
        if path == HEALTH:
            self._say_health(reply)
        elif path == METRICS:
            body = exposition(self._world.figures, self._world.children, ready=self.health.ready)
            reply.send(200, (("Content-Type", METRICS_TYPE),), body)
        elif request.path.startswith(RESOURCE_METADATA):
            self._say_metadata(request.path, reply)
        elif self._belongs_elsewhere(session_id(request), request, reply):
            pass
        elif request.method == "POST":
            self._post(request, reply, principal, path)
        elif request.method == "GET":
            self._get(request, reply, principal, path)
        elif request.method == "DELETE":
            self._delete(request, reply, principal)
        else:
            not_allowed(reply)

    def _say_health(self, reply: Reply) -> None:
        health = self.health
        ready = health.ready and not self._world.draining
        body: dict[str, object] = {"status": "ready" if ready else "unready"}
        if not ready:
            body["reason"] = "it is stopping" if self._world.draining else health.reason
        reply.send(200 if ready else 503, answers.JSON, json.dumps(body).encode())

    def _say_metadata(self, path: str, reply: Reply) -> None:
        """Where clients get their tokens (RFC 9728)."""
        document = self._tokens.metadata(path) if self._tokens is not None else None
        if document is None:
            reply.send(404, answers.TEXT, b"there is nothing here\n")
        else:
            reply.send(200, answers.JSON, document)

    def _belongs_elsewhere(self, id: str | None, request: Request, reply: Reply) -> bool:
        """Have a request for what another machine holds under `id` sent there; True when it is answered with that."""
        owner = self._world.affinity.owner(id) if id else None
        if owner is None:
            return False
        if request.headers.get(REPLAY_FAILED) is not None:
            session_gone(reply, "the machine of this session is gone")
        elif len(request.body) > MAX_REPLAYED_BYTES:
            answers.refuse(
                reply, 413, answers.SERVER_ERROR,
                f"mcpctl: this session lives on another machine, and Fly's proxy passes on no more than "
                f"{MAX_REPLAYED_BYTES} bytes; send less at once, or run one machine",
            )  # fmt: skip
        else:
            self._world.figures.replayed += 1
            reply.send(200, replay_headers(owner.machine))
        return True

    # ------------------------------------------------------------ POST

    def _post(self, request: Request, reply: Reply, principal: str, path: str) -> None:
        accept = request.headers.get("accept") or ""
        if path == MESSAGE:
            self._post_message(request, reply, principal)
        elif speaks_fly(request, accept):
            self._post_fly(request, reply, principal)
        elif (message := read_message(request, reply)) is None:
            pass
        elif isinstance(message, Message) and is_modern(message, version(request)):
            self._post_modern(message, request, reply, principal)
        else:
            self._post_legacy(message, request, reply, principal)

    def _post_modern(
        self, message: Message, request: Request, reply: Reply, principal: str
    ) -> None:
        id = message.id if message.kind is Kind.REQUEST else b"null"
        if self._world.draining:
            retry_later(reply, "the server is stopping")
            return
        refused = check(message, request.headers.get, self._world.shared.facts.tools)
        if refused is not None:
            _refuse(reply, refused, id)
        elif self._belongs_elsewhere(request_state(message), request, reply):
            pass  # a question that a bridge there has asked
        elif message.kind is not Kind.REQUEST:
            reply.send(202, ())  # this revision has no notification that would mean anything
        elif self.health.known:
            self._ask(message, request, reply, principal)
        else:
            self._world.nursery.start_soon(self._ask_later, message, request, reply, principal)

    def _ask(self, message: Message, request: Request, reply: Reply, principal: str) -> None:
        takes_events = accepts(request.headers.get("accept") or "", EVENTS_TYPE)
        if message.method == LISTEN and not takes_events:
            reason = f"{LISTEN} is answered with events, and the client takes none"
            answers.refuse(reply, 406, answers.INVALID_REQUEST, reason, id=message.id)
            return
        asker = HttpAsker(message, reply, takes_events=takes_events)
        try:
            line, question = self.pool.ask(message, asker, principal)
        except Busy as exc:
            asker.fail(exc)
            return
        reply.on_gone = lambda: line.leave(question)

    async def _ask_later(
        self, message: Message, request: Request, reply: Reply, principal: str
    ) -> None:
        """At the very beginning: it is not known yet which revision the server speaks."""
        await self.health.wait_known()
        if not reply.gone:
            self._ask(message, request, reply, principal)

    def _post_legacy(
        self, message: Message | Batch, request: Request, reply: Reply, principal: str
    ) -> None:
        id = request.headers.get(SESSION)
        asks = bool(requests_of(message))
        message_id = message.id if isinstance(message, Message) and asks else b"null"
        if id is None:
            self._begin(message, request, reply, principal)
            return
        session = self.sessions.find(id, principal)
        if not isinstance(session, StreamableSession):
            session_gone(reply, "session not found; begin again with initialize", message_id)
        elif reason := self._why_not(session, asks=asks):
            retry_later(reply, reason)
        elif not session.post(message, reply, request.headers.get("accept") or ""):
            answers.refuse(reply, 400, answers.INVALID_REQUEST, "this id is in use", id=message_id)

    def _why_not(self, session: Session, *, asks: bool) -> str | None:
        """Why the session takes nothing now; None when it does."""
        if self._world.draining and asks:
            return "the server is stopping"
        if session.conversation.lags:
            return "the server does not read what it is sent"
        return None

    def _begin(
        self, message: Message | Batch, request: Request, reply: Reply, principal: str
    ) -> None:
        initialize = next((part for part in parts_of(message) if part.method == "initialize"), None)
        if initialize is None or initialize.kind is not Kind.REQUEST:
            first = next((part for part in parts_of(message) if part.kind is Kind.REQUEST), None)
            answers.refuse(
                reply, 400, answers.SERVER_ERROR,
                f"the header {SESSION} is missing, and this is not initialize",
                id=first.id if first is not None else b"null",
            )  # fmt: skip
        elif self._world.draining:
            retry_later(reply, "the server is stopping")
        else:
            session = StreamableSession(self._world, self.sessions.new_id(), principal, initialize)
            self.sessions.add(session)
            session.post(message, reply, request.headers.get("accept") or "")
            session.begin()

    def _post_message(self, request: Request, reply: Reply, principal: str) -> None:
        session = self.sessions.find(session_id(request) or "", principal)
        if not isinstance(session, SseSession):
            session_gone(reply, "session not found; open the stream again")
        elif (message := read_message(request, reply)) is None:
            pass
        elif reason := self._why_not(session, asks=bool(requests_of(message))):
            retry_later(reply, reason)
        else:
            session.post(message, reply)

    def _post_fly(self, request: Request, reply: Reply, principal: str) -> None:
        lines = read_lines(request.body, self._world.max_message_bytes)
        wrong = next((line for line in lines if isinstance(line, Malformed)), None)
        if wrong is not None:
            answers.refuse(reply, 400, wrong.code, wrong.reason, id=wrong.id)
            return
        session = self._fly_session(principal)  # for an empty POST, too: it wakes the machine
        messages = [line for line in lines if not isinstance(line, Malformed)]
        if reason := self._why_not(session, asks=any(map(requests_of, messages))):
            retry_later(reply, reason)
            return
        for message in messages:
            self._fly_session(principal, message).post(message)
        reply.send(202, ())

    def _fly_session(self, principal: str, line: Message | Batch | None = None) -> FlySession:
        """The caller's, or a new one: a second `initialize` comes from another client."""
        old = self._fly.get(principal)
        again = isinstance(line, Message) and line.method == "initialize"
        if old is not None and not old.closed and not (again and old.begun):
            return old
        self._fly[principal] = session = FlySession(self._world, self.sessions.new_id(), principal)
        if old is not None:
            session.adopt(old)
            old.close()
        self.sessions.add(session)
        session.begin()
        return session

    # ------------------------------------------------------------ GET and DELETE

    def _get(self, request: Request, reply: Reply, principal: str, path: str) -> None:
        accept = request.headers.get("accept") or ""
        events = EVENTS_TYPE in accept.lower()
        id = request.headers.get(SESSION)
        if self._world.draining:
            retry_later(reply, "the server is stopping")
        elif path == SSE:
            self._open_sse(reply, principal)
        elif version(request) not in (None, *LEGACY) or (events and id is None):
            not_allowed(reply)
        elif events and id is not None:
            session = self.sessions.find(id, principal)
            if isinstance(session, StreamableSession):
                session.listen(reply, request.headers.get("last-event-id"))
            else:
                session_gone(reply, "session not found; begin again with initialize")
        elif "text/html" in accept.lower():
            reply.send(200, answers.TEXT, PAGE)
        else:
            self._listen_fly(reply, principal)

    def _open_sse(self, reply: Reply, principal: str) -> None:
        id = self.sessions.new_id()
        endpoint = (
            f"{MESSAGE.removeprefix('/')}?sessionId={id}"  # beside us, whatever path leads here
        )
        session = SseSession(self._world, id, principal, reply, endpoint)
        self.sessions.add(session)
        session.begin()

    def _listen_fly(self, reply: Reply, principal: str) -> None:
        session = self._fly_session(principal)
        if session.held:
            reply.send(409, answers.TEXT, b"Another client is already connected\n")
        else:
            session.listen(reply)

    def _delete(self, request: Request, reply: Reply, principal: str) -> None:
        id = request.headers.get(SESSION)
        if id is None or version(request) == MODERN:
            not_allowed(reply)
            return
        session = self.sessions.find(id, principal)
        if session is None:
            session_gone(reply, "session not found")
        else:
            session.close()
            reply.send(204, ())

    # ------------------------------------------------------------ life

    def on_beat(self, now: float) -> None:
        """Every few seconds."""
        self.sessions.on_beat(now)
        self._fly = {who: session for who, session in self._fly.items() if not session.closed}
        self.pool.on_beat(now)

    def wake(self) -> None:
        """The machine has slept: connections from before are dead, and writing to them finds that out."""
        self._world.log.info("wrap.woke")

    @property
    def spares(self) -> Spares:
        """Processes that nobody has asked for yet."""
        return self._world.spares

    @property
    def running(self) -> int:
        """How many processes there are."""
        return self._world.children.running

    def evict(self) -> bool:
        """Give up a process that nobody needs, when another one is wanted."""
        return self.sessions.evict() or self.pool.evict()

    def drain(self) -> None:
        """Take nothing new; what is under way goes on."""
        self._world.draining = True
        for session in self.sessions:
            session.drain()
        self.pool.drain()

    @property
    def busy(self) -> bool:
        """Whether something is under way."""
        return self.sessions.busy or not self.pool.idle

    def close(self) -> None:
        """End everything."""
        self.sessions.close()
        self.pool.close()


def _refuse(reply: Reply, refused: Refused, id: bytes) -> None:
    answers.refuse(
        reply, refused.status, refused.code, refused.reason, id=id, data=refused.data or None
    )


def session_gone(reply: Reply, reason: str, id: bytes = b"null") -> None:
    """404: the client MUST begin again (MCP 2025-11-25, Transports, "Session Management")."""
    answers.refuse(reply, 404, answers.SESSION_NOT_FOUND, reason, id=id)


def not_allowed(reply: Reply) -> None:
    """405: there is no such thing at this URL."""
    answers.refuse(
        reply, 405, answers.SERVER_ERROR, "method not allowed", headers=(("Allow", "POST"),)
    )
