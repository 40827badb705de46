"""What sessions have in common, by server and credentials; what was learned of a server outlives the daemon."""

import functools
import logging
import time
from collections.abc import Callable

import msgspec
import trio

from mcpctld.model import Server, ServerSpec
from mcpctld.sessions.shelf import Shelf
from mcpctld.upstreams import Facts, Shared

SAVE_AFTER_S = 1.0
"""What is learned together is written together."""
TRUST_REFUSALS_S = 24 * 3600.0
"""A server may be upgraded: after so long an era that it refused is asked for again. (To believe that it speaks an era
fails loudly when it is wrong, to believe that it does not works quietly for ever.)"""

_log = logging.getLogger("mcpctld")


class Commons:
    """Hands out the `Shared` of a server; equal servers with equal credentials get the same one.

    `clock` tells the Unix time.
    """

    def __init__(
        self, nursery: trio.Nursery, shelf: Shelf, clock: Callable[[], float] = time.time
    ) -> None:
        self.shelf = shelf
        self._nursery = nursery
        self._clock = clock
        self._by_key: dict[str, Shared] = {}
        self._by_name: dict[str, Shared] = {}
        self._unsaved: dict[str, Shared] = {}

    async def of(self, server: Server, spec: ServerSpec) -> Shared:
        """For a session with this server; `spec` has its secrets filled in."""
        await self.shelf.open()
        # Keyed with what nobody else knows: a digest alone would let credentials be guessed.
        key = self.shelf.name(msgspec.json.encode(spec, order="deterministic"))
        if key not in self._by_key:
            facts = await self._load(key)
            self._by_key.setdefault(
                key, self._make(key, facts)
            )  # another session may have been first
        shared = self._by_name[server.name] = self._by_key[key]
        _drop_old_refusals(shared.facts, self._clock())
        return shared

    def _make(self, key: str, facts: Facts) -> Shared:
        shared = Shared(key, self._nursery, facts)
        shared.changed = functools.partial(self._note, shared)
        return shared

    def named(self, name: str) -> Shared | None:
        """What the newest session with the server of this name got; None if there was none."""
        return self._by_name.get(name)

    def forget(self, name: str) -> None:
        """The server of this name is gone, or has changed."""
        self._by_name.pop(name, None)

    # ------------------------------------------------------------ the disk

    async def _load(self, key: str) -> Facts:
        data = await self.shelf.read(_label(key))
        try:
            return _decode(data) if data is not None else Facts()
        except msgspec.DecodeError as exc:  # of another release
            _log.warning("facts.ignored", extra={"error": str(exc)})
            return Facts()

    def _note(self, shared: Shared) -> None:
        if not self._unsaved:
            self._nursery.start_soon(self._save_soon)
        self._unsaved[shared.key] = shared

    async def _save_soon(self) -> None:
        await trio.sleep(SAVE_AFTER_S)
        self._write()

    def _write(self) -> None:
        unsaved, self._unsaved = self._unsaved, {}
        for shared in unsaved.values():
            self.shelf.write(_label(shared.key), msgspec.json.encode(shared.facts))

    async def save(self) -> None:
        """Write at once what is not written yet: the daemon stops, or another one takes over."""
        self._write()
        await self.shelf.flush()


_decode = msgspec.json.Decoder(Facts).decode


def _label(key: str) -> bytes:
    return b"facts " + key.encode()


def _drop_old_refusals(facts: Facts, now: float) -> None:
    facts.refused = {
        era: at for era, at in facts.refused.items() if 0 <= now - at < TRUST_REFUSALS_S
    }
