"""`mcpctld.protocols.inet.tcp.state`: the tables against the figure of RFC 9293 §3.3.2."""

import pytest

from mcpctld.protocols.inet.tcp import state
from mcpctld.protocols.inet.tcp.state import ON_FIN, ON_FIN_ACKED, ON_SEND_EOF, State


def walk(*steps: dict[State, State]) -> State:
    at = State.ESTABLISHED
    for step in steps:
        at = step[at]
    return at


WAYS = {
    "we close first": ([ON_SEND_EOF, ON_FIN_ACKED, ON_FIN], State.TIME_WAIT),
    "both close at once": ([ON_SEND_EOF, ON_FIN, ON_FIN_ACKED], State.TIME_WAIT),
    "the peer closes first": ([ON_FIN, ON_SEND_EOF, ON_FIN_ACKED], State.CLOSED),
}


@pytest.mark.parametrize(("steps", "end"), WAYS.values(), ids=WAYS)
def test_every_way_to_close_ends(steps, end):
    assert walk(*steps) is end


def test_what_is_over_leads_nowhere():
    for table in (ON_SEND_EOF, ON_FIN_ACKED, ON_FIN):
        assert not state.OVER & set(table)


def test_who_receives_has_not_seen_a_fin_and_who_sends_has_not_seen_its_acknowledgement():
    assert set(ON_FIN) == state.RECEIVING
    assert {State.ESTABLISHED, State.CLOSE_WAIT} | set(ON_FIN_ACKED) == state.SENDING
    assert {State.ESTABLISHED, State.CLOSE_WAIT} | state.SYNCHRONIZING == state.WRITING
