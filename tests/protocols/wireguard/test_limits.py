"""`mcpctld.protocols.wireguard.limits`: the table of the whitepaper's §6.1, and what follows from it."""

from mcpctld.protocols.wireguard import limits

WHITEPAPER = {
    "REKEY_AFTER_MESSAGES": 2**60,
    "REJECT_AFTER_MESSAGES": 2**64 - 2**13 - 1,
    "REKEY_AFTER_TIME": 120,
    "REJECT_AFTER_TIME": 180,
    "REKEY_ATTEMPT_TIME": 90,
    "REKEY_TIMEOUT": 5,
    "KEEPALIVE_TIMEOUT": 10,
}


def test_the_constants_are_those_of_the_whitepaper():
    assert {name: getattr(limits, name) for name in WHITEPAPER} == WHITEPAPER


def test_what_follows_from_them():
    assert limits.REKEY_WHEN_RECEIVING == 165
    assert limits.ERASE_AFTER == 540
    assert limits.MAX_ATTEMPTS == 18
