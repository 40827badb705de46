"""Ids that say on which machine something lives, so that no machine needs to know what the others hold.

    MACHINE.RANDOM.SIGNATURE

Signed, so that a client cannot have its requests replayed to a machine of its choice. All machines of an app must have
the same key: it is derived from their common secret. A request for another machine's session is answered with
`fly-replay`, and Fly's proxy sends it there (Fly.io, "Dynamic Request Routing").
"""

import base64
import hashlib
import hmac
from collections.abc import Callable
from typing import NamedTuple

MAX_REPLAYED_BYTES = 1_000_000
"""Fly's proxy keeps no more of a body than 1 MB, and cannot send again what it has not kept."""
REPLAY_TIMEOUT = "10s"
HERE = "here"
"""In place of a machine's id where there is none."""

_PURPOSE = b"mcpctl wrap: session ids"
_SIGNATURE_BYTES = 15
_RANDOM_BYTES = 16


class Replay(NamedTuple):
    """The machine that a request is meant for."""

    machine: str


class Affinity:
    """Makes ids for this machine, and tells whose an id is. `entropy` gives so many random bytes."""

    def __init__(
        self, machine: str, secret: bytes, entropy: Callable[[int], bytes], *, replays: bool
    ) -> None:
        """`secret` is common to all machines; empty when there is none: then each machine knows its own ids only."""
        self._machine = machine or HERE
        common = secret or entropy(32)
        self._key = hmac.digest(hashlib.sha256(common).digest(), _PURPOSE, "sha256")
        self._entropy = entropy
        self._replays = replays and bool(machine)

    def __repr__(self) -> str:
        return f"<Affinity of {self._machine}>"

    def new_id(self) -> str:
        """An id that nobody can guess (128 bits)."""
        named = f"{self._machine}.{_text(self._entropy(_RANDOM_BYTES))}"
        return f"{named}.{self._sign(named)}"

    def owner(self, id: str) -> Replay | None:
        """The other machine that made this id; None when it is ours, or nobody's."""
        named, _, signature = id.rpartition(".")
        machine, _, _ = named.partition(".")
        if not self._replays or machine == self._machine or not id.isascii():
            return None
        genuine = hmac.compare_digest(signature, self._sign(named))
        return Replay(machine) if genuine else None

    def _sign(self, named: str) -> str:
        return _text(hmac.digest(self._key, named.encode(), "sha256")[:_SIGNATURE_BYTES])


def replay_headers(machine: str) -> tuple[tuple[str, str], ...]:
    """The answer that makes Fly's proxy send the request on; back to us when the machine is gone."""
    return (("fly-replay", f"instance={machine};timeout={REPLAY_TIMEOUT};fallback=force_self"),)


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
