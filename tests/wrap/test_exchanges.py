"""The POSTs of a session: how each is answered, and which of them a message belongs to."""

import json
from typing import Any

import pytest

from mcpctld.protocols.jsonrpc import Batch, Message, parse
from mcpctld.wrap.exchanges import Exchange, Exchanges, accepts, make_exchange
from mcpctld.wrap.streams import EventLog, Stream
from wrap.replies import Ear
from wrap.stage import BOTH

JSON, EVENTS = "application/json", "text/event-stream"


def request(ident: Any, method: str = "tools/list", token: Any = None) -> dict[str, Any]:
    params = {} if token is None else {"_meta": {"progressToken": token}}
    return {"jsonrpc": "2.0", "id": ident, "method": method, "params": params}


def message(*requests: dict[str, Any], batch: bool = False) -> Message | Batch:
    whole = list(requests) if batch or len(requests) > 1 else requests[0]
    return parse(json.dumps(whole).encode())


def answer(ident: Any) -> tuple[bytes, bytes]:
    """An id, and a result for it."""
    text = json.dumps(ident).encode()
    return text, b'{"jsonrpc":"2.0","id":%b,"result":{}}' % text


class Session:
    """Exchanges, and what goes on in them."""

    def __init__(self) -> None:
        self.exchanges = Exchanges()
        self.log = EventLog()
        self.numbers = 0

    def post(
        self, *requests: dict[str, Any], accept: str = BOTH, batch: bool = False
    ) -> tuple[Exchange, Ear]:
        self.numbers += 1
        sent, ear = message(*requests, batch=batch), Ear()
        stream = Stream(self.numbers, self.log, primes=False)
        exchange = make_exchange(stream, ear, sent, accept, 0.0)
        self.exchanges.begin(exchange, sent)
        return exchange, ear

    def answer(self, ident: Any) -> None:
        exchange = self.exchanges.of_id(json.dumps(ident).encode())
        assert exchange is not None
        exchange.answer(*answer(ident))
        self.exchanges.answered(exchange, json.dumps(ident).encode())


# ---------------------------------------------------------------- what a client takes


@pytest.mark.parametrize(
    ("header", "takes"),
    [
        ("application/json", True),
        ("application/json, text/event-stream", True),
        ("text/html, APPLICATION/JSON;charset=utf-8", True),
        ("application/*", True),
        ("*/*", True),
        ("*/*;q=0.1", True),
        ("text/event-stream", False),
        ("text/*", False),
        ("application/json;q=0", False),
        ("application/json; q=0, */*", False),
        ("application/jsonl", False),
        ("", False),
        (",,", False),
    ],
)
def test_an_accept_header_allows_a_type_or_not(header: str, takes: bool):
    assert accepts(header, "application/json") is takes


# ---------------------------------------------------------------- answers


@pytest.mark.parametrize("accept", [BOTH, JSON, "", "text/html"])
def test_a_quick_answer_comes_in_one_piece(accept: str):
    session = Session()
    _, ear = session.post(request(1), accept=accept)
    session.answer(1)
    assert ear.json == {"jsonrpc": "2.0", "id": 1, "result": {}}
    assert ear.status == 200


def test_a_client_that_takes_events_only_gets_a_stream():
    session = Session()
    _, ear = session.post(request(1), accept=EVENTS)
    session.answer(1)
    assert [said["id"] for said in ear.messages] == [1]
    assert ear.ended


def test_what_comes_before_the_answer_makes_a_stream():
    session = Session()
    exchange, ear = session.post(request(1))
    exchange.tell(b'{"progress":1}')
    assert not ear.ended
    session.answer(1)
    assert [said.get("id") for said in ear.messages] == [None, 1]
    assert ear.ended


@pytest.mark.parametrize("late", [False, True])
def test_a_stream_is_begun_once_and_not_after_the_end(late: bool):
    session = Session()
    exchange, ear = session.post(request(1))
    if late:
        session.answer(1)
        exchange.stream_now()
        assert not ear.streams
    else:
        exchange.stream_now()
        exchange.stream_now()
        session.answer(1)
        assert ear.streams


def test_a_client_of_json_alone_gets_no_stream_however_long_it_takes():
    session = Session()
    exchange, ear = session.post(request(1), accept=JSON)
    exchange.stream_now()
    assert ear.status == 0
    assert not exchange.hears
    session.answer(1)
    assert ear.json["id"] == 1


def test_a_batch_is_answered_with_an_array_when_the_client_takes_json_alone():
    session = Session()
    _, ear = session.post(request(1), request(2), request(3), accept=JSON)
    for ident in 2, 3, 1:
        assert not ear.ended
        session.answer(ident)
    assert [said["id"] for said in ear.json] == [2, 3, 1]


def test_a_batch_of_one_is_answered_with_an_array_of_one():
    session = Session()
    _, ear = session.post(request(1), accept=JSON, batch=True)
    session.answer(1)
    assert [said["id"] for said in ear.json] == [1]


def test_a_batch_is_answered_with_a_stream_when_the_client_takes_events():
    session = Session()
    _, ear = session.post(request(1), request(2))
    session.answer(2)
    assert ear.streams
    assert not ear.ended
    session.answer(1)
    assert [said["id"] for said in ear.messages] == [2, 1]
    assert ear.ended
    assert len(session.exchanges) == 0


# ---------------------------------------------------------------- requests that are taken back


@pytest.mark.parametrize("accept", [BOTH, EVENTS])
def test_a_request_that_is_taken_back_ends_its_stream(accept: str):
    session = Session()
    exchange, ear = session.post(request(1), accept=accept)
    exchange.withdraw(b"1")
    assert ear.streams
    assert ear.messages == []
    assert ear.ended


def test_a_request_that_is_taken_back_is_accepted_where_there_is_no_stream():
    session = Session()
    exchange, ear = session.post(request(1), accept=JSON)
    exchange.withdraw(b"1")
    assert (ear.status, ear.body, ear.ended) == (202, b"", True)


@pytest.mark.parametrize("accept", [JSON, BOTH])
def test_the_rest_of_a_batch_is_answered(accept: str):
    session = Session()
    exchange, ear = session.post(request(1), request(2), accept=accept)
    session.answer(2)
    exchange.withdraw(b"1")
    assert ear.ended
    said = ear.messages if accept == BOTH else ear.json
    assert [one["id"] for one in said] == [2]


def test_nothing_ends_while_a_part_of_the_batch_is_open():
    session = Session()
    exchange, ear = session.post(request(1), request(2), accept=JSON)
    exchange.withdraw(b"1")
    assert not ear.ended
    session.answer(2)
    assert [one["id"] for one in ear.json] == [2]


# ---------------------------------------------------------------- what belongs where


def test_ids_in_use_are_known_by_value():
    session = Session()
    session.post(request(1), request("a"))
    in_use = session.exchanges.in_use
    for ident in 1, 1.0, "a":
        assert in_use(message(request(ident)))
    assert in_use(message(request(2), request(1)))
    assert in_use(message(request(2), request(2)))
    assert not in_use(message(request("1"), request(2)))
    session.answer(1)
    assert not in_use(message(request(1)))


def test_progress_belongs_to_its_token_until_the_answer():
    session = Session()
    first, _ = session.post(request(1, token="t"))
    second, _ = session.post(request(2, token=7))
    of_token = session.exchanges.of_token
    assert of_token(b'"t"') is first
    assert of_token(b"7.0") is second
    assert of_token(b'"7"') is None
    assert of_token(b"") is None
    session.answer(1)
    assert of_token(b'"t"') is None


def test_the_oldest_in_whose_course_a_server_may_ask_is_the_likely_one():
    session = Session()
    session.post(request(1))
    session.post(request(2, "tools/call"), accept=JSON)
    gone, ear = session.post(request(3, "tools/call"))
    ear.leave()
    assert not gone.hears
    wanted, _ = session.post(request(4, "prompts/get"))
    session.post(request(5, "resources/read"))
    assert session.exchanges.likely() is wanted
    session.answer(4)
    assert not wanted.hears
    session.answer(5)
    assert session.exchanges.likely() is None


def test_a_stream_that_broke_off_still_hears():
    session = Session()
    exchange, ear = session.post(request(1, "tools/call"))
    exchange.stream_now()
    ear.leave()
    assert session.exchanges.likely() is exchange


def test_all_that_are_open_are_known_the_oldest_first():
    session = Session()
    made = [session.post(request(number))[0] for number in range(3)]
    assert list(session.exchanges) == made
    session.answer(1)
    assert list(session.exchanges) == [made[0], made[2]]
    assert session.exchanges.of_id(b"1") is None
