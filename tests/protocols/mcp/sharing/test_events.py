"""What a shared session hands out."""

from mcpctld.protocols.jsonrpc import parse
from mcpctld.protocols.mcp.sharing.calls import Member
from mcpctld.protocols.mcp.sharing.events import Deliver, Outgoing, Said


def test_none_of_it_shows_what_a_message_says():
    message = parse(b'{"method":"x","params":"secret"}')
    said = Said(Member(), message)
    shown = (repr(said), repr(Deliver(Member(), message)), repr(Outgoing(message.raw, (), said)))
    assert not any("secret" in text for text in shown)
