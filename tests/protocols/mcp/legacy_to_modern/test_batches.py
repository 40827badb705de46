"""`legacy_to_modern.batches`: answers of one batch become one array."""

import json

from mcpctld.protocols.jsonrpc import Batch, Message, parse
from mcpctld.protocols.mcp.legacy_to_modern.batches import Batches


def answer(id: object) -> Message:
    message = parse(json.dumps({"id": id, "result": {}}).encode())
    assert isinstance(message, Message)
    return message


def ids(batch: Batch | None) -> list[object]:
    assert batch is not None
    parsed = parse(batch.raw)
    assert isinstance(parsed, Batch)
    assert parsed.messages == batch.messages
    return [json.loads(message.id) for message in batch.messages]


def test_all_answers_come_with_the_last():
    batches = Batches()
    batches.begin([b"1", b'"a"'])
    batches.begin([b"2"])
    assert batches.holds(b"1.0")
    assert not batches.holds(b"3")
    assert batches.receive_answer(answer("a")) is None
    assert not batches.holds(b'"a"')
    assert ids(batches.receive_answer(answer(2))) == [2]
    assert ids(batches.receive_answer(answer(1))) == ["a", 1]
    assert not batches.holds(b"1")


def test_one_that_gets_no_answer_does_not_hold_up_the_others():
    batches = Batches()
    batches.begin([b"1", b"2"])
    assert batches.receive_answer(answer(1)) is None
    assert ids(batches.forget(b"2")) == [1]
    assert batches.forget(b"2") is None


def test_a_batch_without_answers_is_none():
    batches = Batches()
    batches.begin([])
    batches.begin([b"1", b"2"])
    assert batches.forget(b"1") is None
    assert batches.forget(b"2") is None
    assert not batches.holds(b"1")
