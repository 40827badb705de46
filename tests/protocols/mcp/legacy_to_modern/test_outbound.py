"""`legacy_to_modern.outbound`: how messages are put to either side."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpctld.errors import PeerError, TimedOut, UserError
from mcpctld.protocols.jsonrpc import Batch, Message, id_key, parse
from mcpctld.protocols.mcp.bridge import Event, Fail, GiveUp, ToClient, ToServer
from mcpctld.protocols.mcp.legacy_to_modern.initialize import Client
from mcpctld.protocols.mcp.legacy_to_modern.outbound import Outbound
from protocols.mcp.legacy_to_modern.talk import P

DEEP = b'{"a":' * 100_000 + b"1" + b"}" * 100_000
META = {P + "protocolVersion": "2026-07-28", P + "clientCapabilities": {}}


class Stage:
    def __init__(self) -> None:
        self.events: list[Event] = []
        self.out = Outbound(self.events.append)

    def said(self) -> Any:
        """The only message that was emitted."""
        event = self.event()
        assert isinstance(event, ToClient | ToServer)
        return json.loads(event.message.raw)

    def event(self) -> Event:
        [event] = self.events
        self.events.clear()
        return event


# ---------------------------------------------------------------- ids


@given(
    st.lists(
        st.integers()
        | st.text(max_size=3)
        | st.integers(0, 20).map(lambda number: f"mcpctl:{number}"),
        unique_by=repr,
    )
)
def test_no_two_requests_at_the_server_have_one_id(ids: list[object]):
    out = Stage().out
    texts = [json.dumps(id).encode() for id in ids]
    keys = []
    for text in {id_key(text): text for text in texts}.values():
        keys += [id_key(out.id_for_server(text)), id_key(out.new_id())]
    assert len({*keys}) == len(keys)


def test_ids_pass_through_where_they_can():
    out = Stage().out
    for id in (b"1", b'"a"', b"1.5", b'"mcpctl"', b"null"):
        assert out.id_for_server(id) == id
    assert out.id_for_server(b'"mcpctl:5"') == b'"mcpctl:1"'
    assert out.id_for_server(b'"\\u006dcpctl:5"') == b'"mcpctl:2"'


# ---------------------------------------------------------------- to the server


def test_requests_and_notifications_to_the_server_carry_the_envelope():
    stage = Stage()
    stage.out.ask_server(b"1", "x/\ud800", {"a": b"1"})
    request = {"jsonrpc": "2.0", "id": 1, "method": "x/\ud800", "params": {"a": 1, "_meta": META}}
    assert stage.said() == request
    stage.out.tell_server("x", {})
    assert stage.said() == {"jsonrpc": "2.0", "method": "x", "params": {"_meta": META}}


def test_they_speak_for_the_client():
    stage = Stage()
    stage.out.speak_for(Client("2025-11-25", b'{"roots":{}}', b'{"name":"x","version":"1"}'))
    stage.out.set_level("debug")
    stage.out.ask_server(b"1", "x", {})
    assert stage.said()["params"]["_meta"] == {
        **META,
        P + "clientCapabilities": {"roots": {}},
        P + "clientInfo": {"name": "x", "version": "1"},
        P + "logLevel": "debug",
    }


def test_what_cannot_be_read_back_is_not_sent():
    stage = Stage()
    with pytest.raises(UserError, match="cannot write tools/call on: nested too deeply"):
        stage.out.ask_server(b"1", "tools/call", {"a": DEEP})
    with pytest.raises(UserError):
        stage.out.ask_client(b"1", "roots/list", DEEP)
    stage.out.tell_server("x", {"a": DEEP})
    stage.out.tell_client("x", DEEP)
    assert stage.events == []
    stage.out.answer(b"1", DEEP)
    event = stage.event()
    assert isinstance(event, Fail)
    assert isinstance(event.error, PeerError)


def test_requests_are_given_up():
    stage = Stage()
    stage.out.give_up(b"1")
    assert stage.event() == GiveUp(b"1")


# ---------------------------------------------------------------- to the client


def test_answers_come_one_by_one():
    stage = Stage()
    stage.out.answer(b'"a"', b'{"x" : 1.0}')
    event = stage.event()
    assert isinstance(event, ToClient)
    assert event.message.raw == b'{"jsonrpc":"2.0","id":"a","result":{"x" : 1.0}}'
    stage.out.relay_error(b"1", b'{"code":1}')
    assert stage.said() == {"jsonrpc": "2.0", "id": 1, "error": {"code": 1}}
    stage.out.refuse(b"1", -32602, "no")
    assert stage.said()["error"] == {"code": -32602, "message": "no"}
    error = TimedOut("late")
    stage.out.fail(b"1", error)
    assert stage.event() == Fail(b"1", error)


def test_answers_to_a_batch_come_together():
    stage = Stage()
    stage.out.batches.begin([b"1", b"2", b"3"])
    stage.out.answer(b"1", b"{}")
    stage.out.fail(b"3", TimedOut("late"))
    assert stage.events == []
    stage.out.refuse(b"2", -32602, "no")
    event = stage.event()
    assert isinstance(event, ToClient)
    assert isinstance(event.message, Batch)
    first, second, third = json.loads(event.message.raw)
    assert (first["id"], second["id"], third["id"]) == (1, 3, 2)
    assert second["error"] == {
        "code": -32603,
        "message": "mcpctl: late",
        "data": {"source": "mcpctl", "kind": "timeout"},
    }


def test_a_request_that_is_dropped_may_complete_its_batch():
    stage = Stage()
    stage.out.batches.begin([b"1", b"2"])
    stage.out.answer(b"1", b"{}")
    stage.out.drop(b"2")
    assert [answer["id"] for answer in stage.said()] == [1]
    stage.out.drop(b"2")
    assert stage.events == []


def test_questions_and_notifications_to_the_client():
    stage = Stage()
    stage.out.ask_client(b'"q"', "roots/list", b"{}")
    assert stage.said() == {"jsonrpc": "2.0", "id": "q", "method": "roots/list", "params": {}}
    stage.out.tell_client("x")
    assert stage.said() == {"jsonrpc": "2.0", "method": "x", "params": {}}
    message = parse(b'{"method":"x"}')
    assert isinstance(message, Message)
    stage.out.relay(message)
    assert stage.event() == ToClient(message)
