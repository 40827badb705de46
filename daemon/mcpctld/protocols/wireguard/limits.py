"""The constants of the protocol (whitepaper §6.1), and limits of our own. Times are in seconds."""

REKEY_AFTER_MESSAGES = 2**60
REJECT_AFTER_MESSAGES = 2**64 - 2**13 - 1
REKEY_AFTER_TIME = 120.0
REJECT_AFTER_TIME = 180.0
REKEY_ATTEMPT_TIME = 90.0
REKEY_TIMEOUT = 5.0
KEEPALIVE_TIMEOUT = 10.0

MAX_ATTEMPTS = int(REKEY_ATTEMPT_TIME / REKEY_TIMEOUT)
"""Initiations without an answer until we give up. Counted, not timed: a machine that slept has not tried."""
REKEY_TIMEOUT_JITTER = 1 / 3
"""At the most so much is added to `REKEY_TIMEOUT`, so that two sides that began at once do not go on so (§6.4)."""
REKEY_WHEN_RECEIVING = REJECT_AFTER_TIME - KEEPALIVE_TIMEOUT - REKEY_TIMEOUT
"""The age of a session at which its initiator makes a new one although it only receives (§6.2)."""
ERASE_AFTER = 3 * REJECT_AFTER_TIME
"""All keys are dropped when no new session came for so long (§6.3)."""

COOKIE_SECRET_LIFETIME = 120.0
"""After so long the secret behind our cookies is drawn anew (§5.4.7)."""
COOKIE_LIFETIME = 120.0
COOKIE_LATENCY = 5.0
"""A cookie may be refused so long before the end of its lifetime: the secret may have changed on the way."""

INITIATION_INTERVAL = 1 / 50
"""A peer that initiates more often than that is ignored meanwhile, as in the Linux kernel."""
HANDSHAKES_PER_SECOND = 50
"""What comes beyond means that we are under load (§5.3). To read and answer one takes a third of a millisecond."""
UNDER_LOAD_FOR = 1.0
SOURCE_PER_SECOND = 20
SOURCE_BURST = 5
MAX_SOURCES = 4096
"""How many sources are counted at once; when there are more, new ones wait."""

MAX_STAGED = 128
"""Packets that wait for a session, as in the Linux kernel. The oldest makes room."""
MAX_EVENTS = 4096
"""Events that wait to be fetched; more packets are dropped. A driver fetches after each batch of datagrams."""
MAX_REPLIES = 4096
"""Datagrams that wait to be fetched; beyond it strangers are not answered."""
