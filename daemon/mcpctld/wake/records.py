"""What the wake engine keeps on the disk: `wake.json` in the state folder. It holds no secret, and may be deleted."""

import logging
import os

import msgspec
import trio

from mcpctld.config.files import read_regular, write_private
from mcpctld.errors import McpctlError
from mcpctld.wake.learning import WakeTimes
from mcpctld.wake.ledger import Account, Ledger

SAVE_AFTER_S = 5.0
"""What changes together is written together."""
MAX_BYTES = 16 * 1024 * 1024

_log = logging.getLogger("mcpctld.wake")


class _Kept(msgspec.Struct):
    """The file."""

    accounts: dict[str, Account] = {}
    wakes_s: dict[str, list[float]] = {}
    """The newest wake times, by server."""


class Records:
    """The ledger and the wake times of all servers. `load` before use."""

    def __init__(self, state_dir: str, nursery: trio.Nursery) -> None:
        self.ledger = Ledger()
        self._times: dict[str, WakeTimes] = {}
        self._path = os.path.join(state_dir, "wake.json")
        self._nursery = nursery
        self._unsaved = False
        self._writing = trio.Lock()

    async def load(self) -> None:
        """Read what is there; what cannot be used is set aside, and counting begins anew."""
        try:
            kept = await trio.to_thread.run_sync(self._read)
        except (McpctlError, msgspec.DecodeError) as exc:
            _log.warning("wake.records_ignored", extra={"file": self._path, "error": str(exc)})
            return  # noqa: ASYNC910  (reading has waited)
        self.ledger = Ledger(kept.accounts)
        self._times = {name: WakeTimes(seconds) for name, seconds in kept.wakes_s.items()}

    def _read(self) -> _Kept:
        found = read_regular(self._path, follow=False, max_bytes=MAX_BYTES)
        return msgspec.json.decode(found.data, type=_Kept) if found is not None else _Kept()

    def times(self, server: str) -> WakeTimes:
        """How long this one takes to wake."""
        return self._times.setdefault(server, WakeTimes())

    def changed(self) -> None:
        """Have it written, soon."""
        if not self._unsaved:
            self._unsaved = True
            self._nursery.start_soon(self._save_soon)

    def changed_now(self) -> None:
        """The same, for who saves at once."""
        self._unsaved = True

    async def _save_soon(self) -> None:
        await trio.sleep(SAVE_AFTER_S)
        await self.save()

    async def save(self) -> None:
        """Write at once what is not written yet. A disk that refuses is told to the log."""
        async with self._writing:
            if not self._unsaved:
                return
            self._unsaved = False
            try:
                await trio.to_thread.run_sync(write_private, self._path, self._encode())
            except McpctlError as exc:
                _log.warning("wake.not_saved", extra={"file": self._path, "error": str(exc)})

    def _encode(self) -> bytes:
        wakes = {name: times.kept for name, times in self._times.items() if times.kept}
        return msgspec.json.encode(_Kept(self.ledger.accounts, wakes))
