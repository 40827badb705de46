"""One handshake for all clients."""

from mcpctld.protocols.jsonrpc import Message, parse
from mcpctld.protocols.mcp.sharing.calls import Member
from mcpctld.protocols.mcp.sharing.handshake import Handshake


def message(text: bytes) -> Message:
    parsed = parse(text)
    assert isinstance(parsed, Message)
    return parsed


INITIALIZE = message(b'{"id":1,"method":"initialize","params":{}}')
RESULT = message(b'{"id":7,"result":{}}')
ERROR = message(b'{"id":7,"error":{"code":1,"message":"no"}}')


def begun() -> Handshake:
    handshake = Handshake()
    handshake.begin(Member(), INITIALIZE, b"7")
    return handshake


def test_until_it_is_answered_only_its_founder_speaks():
    assert Handshake().speaker is None
    handshake = begun()
    assert handshake.speaker is handshake.founder is not None
    handshake.end(b"7", RESULT)
    assert handshake.speaker is None
    assert handshake.answer is RESULT
    assert handshake.initialize is INITIALIZE


def test_a_refused_one_is_none():
    for answer in (ERROR, None):
        handshake = begun()
        handshake.end(b"7", answer)
        assert handshake.founder is handshake.answer is handshake.initialize is None


def test_answers_to_something_else_do_not_matter():
    handshake = begun()
    handshake.end(b"8", RESULT)
    assert handshake.answer is None
    handshake.end(b"7", RESULT)
    handshake.end(b"7", ERROR)
    assert handshake.answer is RESULT


def test_a_break_loses_what_was_under_way_and_nothing_else():
    handshake = begun()
    handshake.broke()
    assert handshake.founder is None
    handshake = begun()
    handshake.end(b"7", RESULT)
    handshake.broke()
    assert handshake.answer is RESULT


def test_the_end_of_it_is_said_once():
    handshake = begun()
    assert handshake.say_initialized(b"first")
    assert not handshake.say_initialized(b"second")
    assert handshake.initialized == b"first"
    handshake.begin(Member(), INITIALIZE, b"9")
    assert handshake.say_initialized()
    assert b"notifications/initialized" in handshake.initialized


def test_without_a_beginning_its_end_is_always_said():
    handshake = Handshake()
    assert handshake.say_initialized(b"first")
    assert handshake.say_initialized(b"second")
