"""`subscriptions/listen`, served from what a legacy server sends to its whole session.

MCP 2026-07-28, Subscriptions; MCP 2025-11-25, Resources, "Subscriptions".
"""

import enum
from collections.abc import Hashable
from dataclasses import dataclass, field
from functools import partial

import msgspec

from mcpctld.errors import Conflict
from mcpctld.protocols.jsonrpc import Kind, Message, id_key
from mcpctld.protocols.mcp.methods import PREFIX
from mcpctld.protocols.mcp.modern_to_legacy.requests import INVALID_PARAMS, Refusal, Request
from mcpctld.protocols.mcp.modern_to_legacy.results import finish
from mcpctld.protocols.mcp.modern_to_legacy.session import LegacyServer, Session
from mcpctld.protocols.mcp.modern_to_legacy.sides import Answer, ClientSide, ServerSide
from mcpctld.protocols.mcp.modern_to_legacy.timers import Timers
from mcpctld.protocols.mcp.objects import (
    close_array,
    close_object,
    close_text,
    open_object,
    open_text,
    read_part,
)

MAX_LISTENS = 64
MAX_URIS = 1000
"""Subscribed to at a time, by all listens together."""
ACK_BOUND_S = 10.0
"""A listen is acknowledged then, without the resources that the server has not confirmed."""
SUBSCRIPTION_ID = f"{PREFIX}subscriptionId"
UPDATED = "notifications/resources/updated"
LISTED = {
    "notifications/tools/list_changed": ("toolsListChanged", "tools"),
    "notifications/prompts/list_changed": ("promptsListChanged", "prompts"),
    "notifications/resources/list_changed": ("resourcesListChanged", "resources"),
}
"""The member of a filter, and the server's capability, by notification."""


class _Filter(msgspec.Struct, rename="camel", frozen=True):
    tools_list_changed: bool | None = None
    prompts_list_changed: bool | None = None
    resources_list_changed: bool | None = None
    resource_subscriptions: list[str] | None = None


_read_filter = msgspec.json.Decoder(_Filter).decode


class _State(enum.Enum):
    OFF = enum.auto()
    CHANGING = enum.auto()
    ON = enum.auto()


@dataclass(slots=True, eq=False)
class _Listen:
    id: bytes
    lists: frozenset[str]
    """Notifications that it gets."""
    uris: list[str] = field(default_factory=list)
    """Resources that it is told the updates of; before it is acknowledged, those that the server confirmed."""
    pending: set[str] = field(default_factory=set)
    acknowledged: bool = False


@dataclass(slots=True, eq=False)
class _Subscription:
    """To one resource, for all listens that want it. Requests of ours for it never overtake each other."""

    uri: str
    wanted: dict[_Listen, None] = field(default_factory=dict)
    state: _State = _State.OFF


class Listens:
    """The open ones, and what they are subscribed to."""

    def __init__(
        self, client: ClientSide, server: ServerSide, session: Session, timers: Timers
    ) -> None:
        self._client = client
        self._server = server
        self._session = session
        self._timers = timers
        self._open: dict[Hashable, _Listen] = {}
        self._subscriptions: dict[str, _Subscription] = {}
        self._untold: set[str] = set()  # changes of lists that nobody listened to

    # ------------------------------------------------------------ the client's requests

    def begin(self, request: Request, offered: LegacyServer, now: float) -> None:
        """Subscribe to what the server offers of it, then acknowledge that."""
        try:
            wanted = _read_filter(request.params.get("notifications", b""))
        except (msgspec.DecodeError, RecursionError):
            text = "params.notifications is not a filter of notifications"
            self._client.refuse(request.id, Refusal(INVALID_PARAMS, text))
            return
        if len(self._open) >= MAX_LISTENS:
            text = f"{MAX_LISTENS} subscriptions are open; cancel one first"
            self._client.fail(request.id, Conflict(text))
            return
        listen = _Listen(request.id, _offered_lists(wanted, offered))
        self._open[id_key(request.id)] = listen
        if offered.offers("resources", "subscribe"):
            self._subscribe(listen, wanted.resource_subscriptions or [])
        self._timers.set(listen, now, ACK_BOUND_S, partial(self._acknowledge, listen))
        if not listen.pending:
            self._acknowledge(listen, now)

    def leave(self, id: bytes) -> None:
        """The client does not listen any more."""
        listen = self._open.pop(id_key(id), None)
        if listen is None:
            return
        self._timers.drop(listen)
        for uri in (*listen.uris, *listen.pending):
            self._release(listen, uri)

    def close(self) -> None:
        """The server side ends for good: end each as on stdio (MCP 2026-07-28, Subscriptions; Cancellation)."""
        for listen in tuple(self._open.values()):
            self.leave(listen.id)
            result = {"_meta": close_object({SUBSCRIPTION_ID: listen.id})}
            info = self._session.server_info
            self._client.answer(listen.id, finish("subscriptions/listen", result, info))
            self._client.tell("notifications/cancelled", close_object({"requestId": listen.id}))

    def _acknowledge(self, listen: _Listen, now: float) -> None:
        """Nothing is sent to it before this."""
        self._timers.drop(listen)
        listen.acknowledged = True
        for uri in listen.pending:
            self._release(listen, uri)
        listen.pending.clear()
        honoured = {LISTED[method][0]: b"true" for method in LISTED if method in listen.lists}
        if listen.uris:
            uris = close_array(close_text(uri) for uri in listen.uris)
            honoured["resourceSubscriptions"] = uris
        params = {"notifications": close_object(honoured)}
        self._tell(listen, "notifications/subscriptions/acknowledged", params)
        for method in sorted(self._untold & listen.lists):
            self._untold.remove(method)
            self._tell(listen, method, {})

    # ------------------------------------------------------------ subscriptions to resources

    def _subscribe(self, listen: _Listen, uris: list[str]) -> None:
        for uri in dict.fromkeys(uris):
            known = self._subscriptions.get(uri)
            if known is None and len(self._subscriptions) >= MAX_URIS:
                continue
            subscription = known or _Subscription(uri)
            self._subscriptions[uri] = subscription
            subscription.wanted[listen] = None
            if subscription.state is _State.ON:
                listen.uris.append(uri)
            else:
                listen.pending.add(uri)
                self._drive(subscription)

    def _release(self, listen: _Listen, uri: str) -> None:
        subscription = self._subscriptions[uri]
        subscription.wanted.pop(listen, None)
        self._drive(subscription)

    def _drive(self, subscription: _Subscription) -> None:
        """Make it what is wanted, one request after the other."""
        wanted = bool(subscription.wanted)
        if subscription.state is _State.OFF and not wanted:
            del self._subscriptions[subscription.uri]
        elif subscription.state is _State.OFF:
            self._change(subscription, "resources/subscribe")
        elif subscription.state is _State.ON and not wanted:
            self._change(subscription, "resources/unsubscribe")

    def _change(self, subscription: _Subscription, method: str) -> None:
        subscription.state = _State.CHANGING
        params = close_object({"uri": close_text(subscription.uri)})
        then = partial(self._changed, subscription, method)
        self._server.ask(self._server.new_id(), method, params, then)

    def _changed(
        self, subscription: _Subscription, method: str, answer: Answer, now: float
    ) -> None:
        succeeded = isinstance(answer, Message) and answer.kind is Kind.RESULT
        subscription.state = _State.OFF
        if method == "resources/subscribe":
            subscription.state = _State.ON if succeeded else _State.OFF
            self._settle(subscription, now)
        self._drive(subscription)

    def _settle(self, subscription: _Subscription, now: float) -> None:
        """Tell those who waited for it whether it is there."""
        waiting = [listen for listen in subscription.wanted if subscription.uri in listen.pending]
        if subscription.state is _State.OFF:
            subscription.wanted.clear()
        for listen in waiting:
            listen.pending.discard(subscription.uri)
            if subscription.state is _State.ON:
                listen.uris.append(subscription.uri)
            if not listen.pending:
                self._acknowledge(listen, now)

    # ------------------------------------------------------------ notifications of the server

    def list_changed(self, message: Message) -> None:
        """Tell all that listen to it; or the next one: a legacy server may tell right after the handshake."""
        told = False
        for listen in tuple(self._open.values()):
            if listen.acknowledged and message.method in listen.lists:
                self._tell(listen, message.method, open_object(read_part(message, "params")))
                told = True
        if not told:
            self._untold.add(message.method)

    def updated(self, message: Message) -> None:
        """Tell all that are subscribed to the resource, or else to one that it is a part of."""
        params = open_object(read_part(message, "params"))
        uri = open_text(params.get("uri", b""))
        if uri is None:
            return
        exact = self._subscriptions.get(uri)
        # MCP 2025-11-25: it may be a sub-resource of the one that was subscribed to.
        whole = [s for known, s in self._subscriptions.items() if uri.startswith(known)]
        found = [exact] if exact else whole
        for listen in {listen: None for subscription in found for listen in subscription.wanted}:
            if listen.acknowledged:
                self._tell(listen, UPDATED, dict(params))

    def _tell(self, listen: _Listen, method: str, params: dict[str, bytes]) -> None:
        meta = open_object(params.pop("_meta", b""))
        meta[SUBSCRIPTION_ID] = listen.id
        self._client.tell(method, close_object({"_meta": close_object(meta), **params}))


def _offered_lists(wanted: _Filter, server: LegacyServer) -> frozenset[str]:
    asked = {
        "tools": wanted.tools_list_changed,
        "prompts": wanted.prompts_list_changed,
        "resources": wanted.resources_list_changed,
    }
    return frozenset(
        method
        for method, (_, feature) in LISTED.items()
        if asked[feature] and server.offers(feature, "listChanged")
    )
