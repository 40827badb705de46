"""Both sides of a bridge at random, by the rules that a session keeps; and an account of who was answered."""

import json
from collections.abc import Mapping
from typing import Any

from mcpctld.errors import Unreachable
from mcpctld.protocols.jsonrpc import Batch, Kind, Malformed, Message, id_key
from mcpctld.protocols.mcp.bridge import Event, Fail, GiveUp, ToClient, ToServer, WrongEra
from protocols.mcp.legacy_to_modern.talk import DISCOVERY, P, Talk, message


class Ledger:
    """`take` is one step of either side; `open` counts the answers to each of the client's requests."""

    def __init__(self) -> None:
        self.talk = Talk()
        self.count = 0
        self.open: dict[Any, int] = {}
        self.asked: dict[Any, bytes] = {}
        """The server's to answer."""
        self.questions: dict[Any, bytes] = {}
        """The client's to answer."""
        self.used: set[Any] = set()
        self.useless = False

    def take(self, step: str, value: Any) -> None:
        """One step; `value` is what it is about."""
        getattr(self, step)(value)
        self.account()

    # ------------------------------------------------------------ to the point

    def call(self, request: dict[str, Any]) -> None:
        """The client asks for something."""
        self.count += 1
        self.client({**request, "id": f"r{self.count}"})

    def call_like_us(self, request: dict[str, Any]) -> None:
        """The same, with an id that the bridge could have made."""
        self.client({**request, "id": f"mcpctl:{self.count % 5}"})

    def batch(self, requests: list[dict[str, Any]]) -> None:
        """The client asks for several things at once."""
        ids = range(self.count, self.count + len(requests))
        self.count += len(requests)
        parts = [{**request, "id": id} for id, request in zip(ids, requests, strict=True)]
        self.client([*parts, {"method": "notifications/roots/list_changed"}])

    def answer(self, value: tuple[int, dict[str, Any]]) -> None:
        """The server answers one of what it was asked."""
        if self.asked:
            id = self.asked.pop(_nth(self.asked, value[0]))
            self.talk.server(b'{"id":%b,%b' % (id, json.dumps(value[1]).encode()[1:]))

    def reply(self, value: tuple[int, dict[str, Any]]) -> None:
        """The client answers a question."""
        if self.questions:
            id = self.questions.pop(_nth(self.questions, value[0]))
            self.talk.client(b'{"id":%b,%b' % (id, json.dumps(value[1]).encode()[1:]))

    def acknowledge(self, value: tuple[int, Any]) -> None:
        """The server acknowledges what it was asked, whatever that was."""
        if self.asked:
            id = json.loads(self.asked[_nth(self.asked, value[0])])
            honoured = {"resourceSubscriptions": value[1]}
            params = {"notifications": honoured, "_meta": {P + "subscriptionId": id}}
            self.talk.server(method="notifications/subscriptions/acknowledged", params=params)

    def cancel(self, nth: int) -> None:
        """The client gives up one of its requests."""
        if self.open:
            id = json.loads(_nth(self.open, nth))
            self.client({"method": "notifications/cancelled", "params": {"requestId": id}})

    def fail(self, nth: int) -> None:
        """One of what the server was asked gets lost."""
        if self.asked:
            id = self.asked.pop(_nth(self.asked, nth))
            self.talk.failure(json.loads(id), Unreachable("x"))

    def forget(self, nth: int) -> None:
        """Somebody else answers one of the client's requests."""
        if waiting := {key: count for key, count in self.open.items() if not count}:
            key = _nth(waiting, nth)
            del self.open[key]
            self.talk.forget(json.loads(key))

    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.talk.wait(seconds)

    # ------------------------------------------------------------ anything

    def client(self, value: Any) -> None:
        """The session refuses ids in use, and notes what the client cancels."""
        parts = _parts(value)
        asked = [_key(part["id"]) for part in parts if "method" in part and "id" in part]
        if len({*asked}) < len(asked) or any(self.open.get(key) == 0 for key in asked):
            return
        self.open.update(dict.fromkeys(asked, 0))
        for part in parts:
            params = part.get("params")
            if part.get("method") == "notifications/cancelled" and isinstance(params, dict):
                self.open.pop(_key(params.get("requestId")), None)
        if parts:
            self.talk.client(value)

    def server(self, value: Any) -> None:
        """It may answer what it was never asked."""
        parts = _parts(value)
        for part in parts:
            if "method" not in part and "id" in part:
                self.asked.pop(_key(part["id"]), None)
        if parts:
            self.talk.server(value)

    # ------------------------------------------------------------ the account

    def account(self) -> None:
        heard, self.talk.heard = self.talk.heard, []
        for event in heard:
            self.note(event)

    def note(self, event: Event) -> None:
        match event:
            case ToClient(message=heard):
                assert not self.useless
                for part in heard.messages if isinstance(heard, Batch) else [heard]:
                    self.note_for_client(part)
            case ToServer(message=Message() as heard):
                if heard.kind is Kind.REQUEST:
                    key = id_key(heard.id)
                    assert key not in self.asked, "two requests with one id"
                    self.asked[key] = heard.id
            case Fail(id=id):
                self.answered(id)
            case GiveUp(id=id):
                self.asked.pop(id_key(id), None)
            case WrongEra():
                self.useless = True

    def note_for_client(self, heard: Message) -> None:
        if heard.kind is Kind.REQUEST:
            assert id_key(heard.id) not in self.used, "two questions with one id"
            self.used.add(id_key(heard.id))
            self.questions[id_key(heard.id)] = heard.id
        elif heard.kind is not Kind.NOTIFICATION:
            self.answered(heard.id)

    def answered(self, id: bytes) -> None:
        key = id_key(id)
        if key in self.open:  # else cancelled, and passed on all the same
            self.open[key] += 1
            assert self.open[key] == 1, "answered twice"

    def finish(self) -> None:
        """The server answers everything, and everything takes its time."""
        for _ in range(200):
            while self.asked:
                self.take("answer", (0, {"result": DISCOVERY}))
            if all(self.open.values()):
                break
            self.take("wait", 100)
        if all(self.open.values()) and not self.asked:
            calls = vars(self.talk.bridge._forwarding._calls)
            assert not any(calls.values()), "something is kept of requests that are over"


def _key(id: object) -> Any:
    return id_key(json.dumps(id).encode())


def _nth(mapping: Mapping[Any, Any], nth: int) -> Any:
    return list(mapping)[nth % len(mapping)]


def _parts(value: Any) -> list[Any]:
    """The messages in a line; none if the line is not fit to be one."""
    try:
        message(value)
    except Malformed:
        return []
    return value if isinstance(value, list) else [value]
