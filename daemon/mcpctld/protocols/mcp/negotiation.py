"""Which era to speak with a server, and the bridge where it is not the client's (MCP 2026-07-28, Versioning).

The client's first telling message goes to the server as it is: so a server of the same era, or of both, costs nothing
and loses nothing. An answer that speaks for the other era is kept back, and a bridge is put in between the client and
a fresh connection: one that was spoken to in the wrong era is never used afterwards. Where the bridge proves useless
too, the client gets what was kept back.
"""

import math
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from mcpctld.errors import McpctlError, PeerError, TimedOut
from mcpctld.protocols.jsonrpc import Batch, Kind, Message, id_key, parse
from mcpctld.protocols.mcp import bridge as bridges
from mcpctld.protocols.mcp.bridge import Bridge, Fail, GiveUp, ToClient, ToServer, WrongEra
from mcpctld.protocols.mcp.eras import Era, Verdict, era_of, is_silent, judge
from mcpctld.protocols.mcp.objects import close_object, open_object

SILENCE_S = 5.0
"""A process that does not answer a modern client's first request within this is of the legacy era, as a rule."""
MAX_KEPT = 64
"""Messages kept until the server has shown its era."""
PROBE_ID = b'"mcpctl:discover"'


class Restart(NamedTuple):
    """Give up the connection with the server, and go on with one that nothing was said on."""


class Learned(NamedTuple):
    """The server speaks an era, or refuses it: worth remembering."""

    era: Era
    refuses: bool


Event = bridges.Event | Restart | Learned


class Negotiation:
    """Stands between a client and a server, and finds out how they can talk. Sans-IO, used as a `Bridge` is.

    Once `mirrors`, messages may bypass it.
    """

    def __init__(
        self,
        make_bridge: Callable[[Era], Bridge],
        refuses: Callable[[Era], bool],
        *,
        process: bool = False,
        bridging: bool = True,
        silence_s: float = SILENCE_S,
    ) -> None:
        """`make_bridge` for a client of an era; `refuses`: what is remembered of the server; `process`: it is one."""
        self._make_bridge = make_bridge
        self._refuses = refuses
        self._process = process
        self._bridging = bridging
        self._silence_s = silence_s
        self._events: deque[Event] = deque()
        self._era: Era | None = None
        self._first: Message | None = None  # its answer tells the server's era
        self._probe: Message | None = None
        self._kept: list[Message | Batch] = []  # should it have to be said in another way
        self._held: Message | McpctlError | None = None  # the answer to `first`, kept back
        self._bridge: Bridge | None = None
        self._settled = False
        self._bound = False
        self._silent_at = math.inf

    @property
    def mirrors(self) -> bool:
        """The client's era is the server's, for good: messages need not come here any more."""
        return self._bound and self._bridge is None

    @property
    def bridge(self) -> str | None:
        """The bridge in use, to show: `legacy-to-modern`, say."""
        if self._bridge is None or self._era is None:
            return None
        return f"{self._era.value}-to-{self._era.other.value}"

    @property
    def deadline(self) -> float:
        """When `receive_time` is to be called next."""
        return min(self._silent_at, self._bridge.deadline if self._bridge else math.inf)

    def next_event(self) -> Event | None:
        """What is to be done next; None when that is all."""
        return self._events.popleft() if self._events else None

    # ------------------------------------------------------------ from the client

    def receive_client(self, message: Message | Batch, now: float) -> None:
        """A message of the client."""
        era = None if self._bound else era_of(message)
        if era is not None and self._era not in (None, era):
            self._fall_back()
        if not self._settled and len(self._kept) < MAX_KEPT:
            self._kept.append(message)
        if era is not None and self._first is None and not self._settled and not self._bridge:
            self._meet(era, message, now)
        elif self._bridge is not None:
            self._bridge.receive_client(message, now)
            self._pump(now)
        else:
            self._to_server(message)
        # `server/discover` alone binds a client to nothing: it may go on with `initialize`.
        if self._settled and era is not None and not _is_discover(message):
            self._bound = True

    def _fall_back(self) -> None:
        """The client has tried one era and now goes on with the other."""
        self._bridge = self._first = self._held = self._probe = None
        self._settled = False
        self._silent_at = math.inf
        self._kept.clear()
        self._emit(Restart())

    def _meet(self, era: Era, message: Message | Batch, now: float) -> None:
        """The first message that tells the client's era."""
        self._era = era
        if not self._bridging:
            self._settled = True
            self._to_server(message)
        elif self._refuses(era) and not self._refuses(era.other):
            self._put_bridge(now, untouched=len(self._kept) == 1)
        else:
            if isinstance(message, Message):
                self._first = message
            if self._process and era is Era.MODERN:
                self._silent_at = now + self._silence_s
            self._to_server(message)

    def forget(self, id: bytes, now: float) -> None:
        """The client's request was answered by somebody else, because it took too long."""
        if self._bridge is None:
            self._emit(GiveUp(id))
        else:
            self._bridge.forget(id, now)
            self._pump(now)

    # ------------------------------------------------------------ from the server

    def receive_server(self, message: Message | Batch, now: float) -> None:
        """A message of the server; the first answer tells its era."""
        if self._bridge is not None:
            self._bridge.receive_server(message, now)
            self._pump(now)
        elif (
            isinstance(message, Batch)
            or not self._is_telling(message)
            or self._judge(message, None, now)
        ):
            self._emit(ToClient(message))

    def receive_evidence(self, id: bytes, error: Message | None, status: int, now: float) -> bool:
        """Request `id` was refused with an HTTP status, and maybe a JSON-RPC error. True when that is dealt with."""
        if self._bridge is not None:
            return error is None and self._is_useless(status, now)
        return self._is_asked(id) and not self._judge(error, status, now)

    def _is_useless(self, status: int, now: float) -> bool:
        """Whether the bridge's own first request was refused without a word: the server speaks neither era."""
        if self._settled or is_silent(status):
            return False
        self._take_bridge_out(now)
        return True

    def receive_failure(self, id: bytes, error: McpctlError, now: float) -> None:
        """Request `id` will not be answered; that says nothing of the server's era."""
        if self._bridge is not None:
            self._bridge.receive_failure(id, error, now)
            self._pump(now)
        elif self._probe is not None and id == PROBE_ID:
            self._relent()
        else:
            self._answered(id)
            self._emit(Fail(id, error))

    def receive_end(self, error: McpctlError, now: float) -> bool:
        """The process has ended. True when its era explains that: some do at a request that they do not know."""
        if not (self._process and self._era is Era.MODERN and self._first and not self._bridge):
            return False
        self._held = error
        self._put_bridge(now)
        return True

    def receive_time(self, now: float) -> None:
        """Do what is due."""
        if now >= self._silent_at and self._first is not None and self._bridge is None:
            self._held = TimedOut(f"no answer to {self._first.method} within {self._silence_s:g} s")
            self._put_bridge(now)
        elif self._bridge is not None:
            self._bridge.receive_time(now)
            self._pump(now)

    def _is_asked(self, id: bytes) -> bool:
        """Whether this request is the one whose answer tells the era."""
        asked = self._probe or self._first
        return asked is not None and id_key(id) == id_key(asked.id)

    def _is_telling(self, message: Message) -> bool:
        """Whether it is the answer that tells the era; what else is answered need not be said again."""
        if message.kind not in (Kind.RESULT, Kind.ERROR):
            return False
        if self._is_asked(message.id):
            return True
        self._answered(message.id)
        return False

    def _answered(self, id: bytes) -> None:
        """The client's request is over."""
        if self._first is not None and id_key(self._first.id) == id_key(id):
            self._first = None
            self._silent_at = math.inf
        self._kept = [kept for kept in self._kept if not _asks(kept, id)]

    # ------------------------------------------------------------ the verdict

    def _judge(self, answer: Message | None, status: int | None, now: float) -> bool:
        """What the answer says of the server's era; True when it is for the client."""
        asked = self._probe or self._first
        assert asked is not None
        verdict = judge(asked, answer, status)
        if self._probe is not None:
            return self._judge_probe(verdict, now)
        if verdict is Verdict.SPEAKS:
            self._settle()
        elif verdict is Verdict.SILENT:
            self._answered(asked.id)
        else:
            self._held = answer or PeerError(f"it refused the first message with status {status}")
            self._doubt(asked, verdict, now)
            return False
        return True

    def _doubt(self, asked: Message, verdict: Verdict, now: float) -> None:
        """The answer, kept back, may speak for the other era: ask, or try."""
        if verdict is Verdict.UNSURE and self._era is Era.MODERN:
            self._probe = _discover(asked)
            self._silent_at = math.inf
            self._emit(ToServer(self._probe))
        else:
            self._put_bridge(now)

    def _judge_probe(self, verdict: Verdict, now: float) -> bool:
        """A modern client's request was refused; this tells whether the server is of that era at all."""
        if verdict in (Verdict.SPEAKS, Verdict.SILENT):
            self._relent()
        else:
            self._put_bridge(now)
        return False

    def _relent(self) -> None:
        """The server's own answer counts after all."""
        held, first = self._held, self._first
        assert first is not None
        self._settle()
        self._bound = False
        self._emit(ToClient(held) if isinstance(held, Message) else Fail(first.id, _known(held)))

    def _settle(self) -> None:
        """The server speaks the client's era."""
        assert self._era is not None
        self._settled = True
        self._bound = self._first is not None and not _is_discover(self._first)
        self._kept.clear()
        self._first = self._held = self._probe = None
        self._silent_at = math.inf
        self._emit(Learned(self._era, refuses=False))

    # ------------------------------------------------------------ bridging

    def _put_bridge(self, now: float, *, untouched: bool = False) -> None:
        """Put a bridge in, and say through it what the client has said; `untouched`: the server has heard nothing."""
        assert self._era is not None
        self._bridge = bridge = self._make_bridge(self._era)
        self._probe = None
        self._silent_at = math.inf
        if not untouched:
            self._emit(Restart())
        for message in tuple(self._kept):
            if self._bridge is bridge:
                bridge.receive_client(message, now)
                self._pump(now)

    def _pump(self, now: float) -> None:
        """Hand on what the bridge wants, until it is taken out."""
        bridge = self._bridge
        while bridge is not None and bridge is self._bridge and (event := bridge.next_event()):
            if isinstance(event, WrongEra):
                self._take_bridge_out(now)
            else:
                if isinstance(event, ToClient):
                    self._prove()
                elif isinstance(event, Fail):
                    self._answered(event.id)
                self._emit(event)

    def _prove(self) -> None:
        """The bridge works: the server does not speak the client's era."""
        assert self._era is not None
        if not self._settled:
            self._settled = True
            self._first = self._held = None
            self._kept.clear()
            self._emit(Learned(self._era, refuses=True))
            self._emit(Learned(self._era.other, refuses=False))

    def _take_bridge_out(self, now: float) -> None:
        """The server does not speak the other era, either: its own answer counts, or what was remembered is wrong."""
        assert self._era is not None
        self._bridge = None
        if self._held is not None and self._first is not None:
            rest = [kept for kept in self._kept if kept is not self._first]
            self._relent()
            self._say_instead(rest)
            return
        self._emit(Learned(self._era, refuses=False))
        self._first = None
        kept, self._kept = self._kept, []
        self._refuses = _nothing
        self._emit(Restart())
        for message in kept:
            self.receive_client(message, now)

    def _say_instead(self, messages: list[Message | Batch]) -> None:
        """What the bridge had taken goes to the server as it is."""
        if messages:
            self._emit(Restart())
        for message in messages:
            self._to_server(message)

    # ------------------------------------------------------------ events

    def _to_server(self, message: Message | Batch) -> None:
        self._emit(ToServer(message))

    def _emit(self, event: Event) -> None:
        self._events.append(event)


def _nothing(era: Era) -> bool:
    """Nothing is remembered of the server."""
    return False


def _is_discover(message: Message | Batch) -> bool:
    return not isinstance(message, Batch) and message.method == "server/discover"


def _asks(message: Message | Batch, id: bytes) -> bool:
    """Whether it is the request with this id."""
    if isinstance(message, Batch) or message.kind is not Kind.REQUEST:
        return False
    return id_key(message.id) == id_key(id)


def _known(held: McpctlError | None) -> McpctlError:
    return held or PeerError("the server gave no answer that can be used")


def _discover(first: Message) -> Message:
    """`server/discover` with the envelope of another request."""
    meta = open_object(open_object(first.params).get("_meta", b""))
    meta.pop("progressToken", None)
    params = close_object({"_meta": close_object(meta)})
    line = b'{"jsonrpc":"2.0","id":%b,"method":"server/discover","params":%b}' % (PROBE_ID, params)
    message = parse(line)
    assert isinstance(message, Message)
    return message
