"""What clients listen for, and how what one stream brings is told to each (MCP 2026-07-28, Subscriptions).

Several `subscriptions/listen` of clients are served by one to the server that asks for all that they ask for.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from mcpctld.protocols.jsonrpc import Message, parse, read_params, with_id
from mcpctld.protocols.mcp.methods import PREFIX
from mcpctld.protocols.mcp.objects import close_object, close_text, open_object

K = TypeVar("K")

LISTEN = "subscriptions/listen"
ACKNOWLEDGED = "notifications/subscriptions/acknowledged"
UPDATED = "notifications/resources/updated"
_LISTS = ("tools", "prompts", "resources")
_LIST_CHANGED = {f"notifications/{name}/list_changed": name for name in _LISTS}
_FLAGS = {f"{name}ListChanged": name for name in _LISTS}
_URIS = "resourceSubscriptions"
_ID = f"{PREFIX}subscriptionId"

_decode_uris = msgspec.json.Decoder(list[str] | None).decode


@dataclass(frozen=True, slots=True)
class Filter:
    """What is listened for: lists (`tools`, `prompts`, `resources`) that change, and resources by URI."""

    lists: frozenset[str] = frozenset()
    uris: frozenset[str] = frozenset()

    def __and__(self, other: "Filter") -> "Filter":
        return Filter(self.lists & other.lists, self.uris & other.uris)

    def covers(self, other: "Filter") -> bool:
        """Whether all of `other` is in it."""
        return self.lists >= other.lists and self.uris >= other.uris


def union(filters: Iterable[Filter]) -> Filter:
    """All that is in any of them."""
    all_ = tuple(filters)
    lists = frozenset[str]().union(*(one.lists for one in all_))
    return Filter(lists, frozenset[str]().union(*(one.uris for one in all_)))


# ---------------------------------------------------------------- what a client asks for


def read_filter(params: bytes) -> Filter | None:
    """The filter in the params of `subscriptions/listen`.

    None when there is none, or more than is known here (extensions add to it): the server should see that itself.
    """
    members = open_object(params)
    wanted = members.pop("notifications", b"")
    members.pop("_meta", None)
    return _filter(wanted) if wanted.startswith(b"{") and not members else None


def read_honoured(acknowledgement: Message) -> Filter:
    """What the server agrees to tell; what else it may say there is of no use to those who did not ask for it."""
    honoured = open_object(open_object(acknowledgement.params).get("notifications", b""))
    known = {name: honoured[name] for name in (*_FLAGS, _URIS) if name in honoured}
    return _filter(close_object(known)) or Filter()


def _filter(text: bytes) -> Filter | None:
    members = open_object(text)
    try:
        uris = frozenset(_decode_uris(members.pop(_URIS, b"null")) or ())
    except msgspec.DecodeError:
        return None
    if any(
        name not in _FLAGS or value not in (b"true", b"false", b"null")
        for name, value in members.items()
    ):
        return None
    return Filter(frozenset(_FLAGS[name] for name, on in members.items() if on == b"true"), uris)


def write_filter(wanted: Filter) -> bytes:
    """The member `notifications`, as JSON text."""
    members = {flag: b"true" for flag, name in _FLAGS.items() if name in wanted.lists}
    if wanted.uris:
        members[_URIS] = msgspec.json.encode(sorted(wanted.uris))
    return close_object(members)


# ---------------------------------------------------------------- who is to be told


def topic_of(notification: Message) -> str | None:
    """What a notification is about: a list by its name, a resource by its URI; None when listeners do not get it.

    Two about the same say no more than the later one alone.
    """
    if notification.method == UPDATED:
        return read_params(notification).uri or ""
    return _LIST_CHANGED.get(notification.method)


def concerned(notification: Message, listens: Mapping[K, Filter]) -> list[K]:
    """Those of the listens that are to hear a notification."""
    if notification.method != UPDATED:
        name = _LIST_CHANGED.get(notification.method)
        return [key for key, wanted in listens.items() if name in wanted.lists]
    uri = read_params(notification).uri or ""
    found = [key for key, wanted in listens.items() if _includes(wanted.uris, uri)]
    # "This might be a sub-resource of the one that the client actually subscribed to", of whatever name.
    return found or [key for key, wanted in listens.items() if wanted.uris]


def _includes(uris: frozenset[str], uri: str) -> bool:
    return uri in uris or uri.startswith(tuple(uris))


# ---------------------------------------------------------------- what they are told


def acknowledge(id: bytes, honoured: Filter) -> Message:
    """The first message of the client's listen `id` (JSON text)."""
    return _notify(id, ACKNOWLEDGED, {"notifications": write_filter(honoured)})


def say_changed(id: bytes, honoured: Filter) -> list[Message]:
    """All that the listen `id` would have heard, had all of it changed."""
    lists = [method for method, name in _LIST_CHANGED.items() if name in honoured.lists]
    told = [_notify(id, method, {}) for method in lists]
    uris = sorted(honoured.uris)
    return told + [_notify(id, UPDATED, {"uri": close_text(uri)}) for uri in uris]


def address(notification: Message, id: bytes) -> Message:
    """The same as a message of the listen `id`."""
    members = open_object(notification.raw)
    members["params"] = _with_id(members.get("params", b""), id)
    return _parse(close_object(members))


def address_result(result: Message, id: bytes) -> Message:
    """The same as the end of the listen `id`."""
    members = open_object(with_id(result, id))
    members["result"] = _with_id(members["result"], id)
    return _parse(close_object(members))


def _with_id(text: bytes, id: bytes) -> bytes:
    members = open_object(text)
    meta = open_object(members.get("_meta", b""))
    return close_object({**members, "_meta": close_object({**meta, _ID: id})})


def _notify(id: bytes, method: str, members: Mapping[str, bytes]) -> Message:
    params = close_object({"_meta": close_object({_ID: id}), **members})
    text = b'{"jsonrpc":"2.0","method":%b,"params":%b}' % (close_text(method), params)
    return _parse(text)


def _parse(text: bytes) -> Message:
    message = parse(text)
    assert isinstance(message, Message)
    return message
