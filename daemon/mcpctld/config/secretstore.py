"""The secret store: names and values, cached so that opening a session asks nobody.

Values are in memory only here and in the sessions that use them; never in a log, a `repr`, a file
of the configuration or an answer of the API.
"""

import logging
import os
from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

import trio

from mcpctld.config.places import check_name
from mcpctld.config.vaults import FileVault, KeyringVault, Names, find_keyring
from mcpctld.errors import McpctlError, TimedOut, Unreachable, UserError

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")

PROBE_S = 5.0
"""How long the keyring may take to show itself: a D-Bus without an answer would take 25 s."""
KEYRING_S = 60.0
"""How long one keyring operation may take: its owner may be asked for a password meanwhile."""
MAX_VALUE_BYTES = 64 * 1024

_log = logging.getLogger(__name__)


class SecretStore:
    """Secrets by server and key, in the keyring of the operating system or in a private file.

    `mode` is `auto`, `file` or `keyring`; by default what MCPCTL_SECRETS says. Every method that
    waits raises `McpctlError` with advice when the place of the secrets fails.
    """

    def __init__(self, state_dir: str, mode: str | None = None) -> None:
        self._mode = mode or os.environ.get("MCPCTL_SECRETS") or "auto"
        if self._mode not in ("auto", "file", "keyring"):
            raise UserError(f"cannot use MCPCTL_SECRETS={self._mode}: write file or keyring")
        self._file = FileVault(os.path.join(state_dir, "secrets.json"))
        # The keyring cannot be listed: its names, with empty values, lie beside it.
        self._index = FileVault(os.path.join(state_dir, "secrets-index.json"))
        self._keyring: KeyringVault | None = None
        self._probed = self._mode == "file"
        self._lock = trio.Lock()
        self._cache: dict[tuple[str, str], str] = {}
        self._in_file: Names = {}
        self._in_keyring: Names = {}

    def __repr__(self) -> str:
        return f"<SecretStore mode={self._mode}>"

    async def open(self) -> None:
        """Read which names there are, so that `known` can answer. Asks no keyring.

        A failure is logged: whoever needs a secret will meet it again.
        """
        async with self._lock:
            try:
                await self._read_names()
            except McpctlError as exc:
                _log.warning("secrets.unreadable", extra={"error": str(exc)})

    def known(self, server: str) -> list[str]:
        """The names stored for `server`, sorted, as far as they are in memory; never waits."""
        return sorted({*self._in_file.get(server, ()), *self._in_keyring.get(server, ())})

    async def names(self, server: str) -> list[str]:
        """The names of the secrets stored for `server`, sorted."""
        async with self._lock:
            await self._read_names()
        return self.known(server)

    async def get(self, server: str, key: str) -> str | None:
        """The value; None when there is none. Asks nobody when the value is in memory."""
        value = self._cache.get((server, key))
        if value is not None:
            await trio.lowlevel.checkpoint()
            return value
        async with self._lock:
            value = await self._look(server, key)
            if value is not None:
                self._cache[server, key] = value
        return value

    def forget(self) -> None:
        """Ask anew for every value: another process may have changed some."""
        self._cache.clear()

    async def set(self, server: str, key: str, value: str) -> None:
        """Store a value in place of the one that is there."""
        check_name(server, "server")
        check_name(key, "secret")
        _check_value(server, key, value)
        async with self._lock:
            try:
                await self._store(server, key, value)
            finally:
                self._cache.pop((server, key), None)
            await self._read_names()

    async def delete(self, server: str, key: str | None = None) -> None:
        """Forget one secret of `server`, or all of them; nothing happens when there is none."""
        async with self._lock:
            await self._read_names()
            for name in self.known(server) if key is None else [key]:
                self._cache.pop((server, name), None)
                await self._drop(server, name)
            await self._read_names()

    # What follows runs with the lock held.

    async def _look(self, server: str, key: str) -> str | None:
        await self._read_names()
        indexed = key in self._in_keyring.get(server, ())
        if not indexed and self._mode != "keyring":
            value = await _in_thread(self._file.get, server, key)
            if value is not None:
                return value
        await self._probe()
        keyring = self._usable_keyring()
        if keyring is not None:
            return await _bounded(keyring.get, server, key)
        if indexed:
            raise _gone(server, key)
        return None

    async def _store(self, server: str, key: str, value: str) -> None:
        await self._probe()
        keyring = self._usable_keyring()
        if keyring is None:
            await _in_thread(self._file.set, server, key, value)
            await _in_thread(self._index.delete, server, key)
            return
        await _bounded(keyring.set, server, key, value)
        await _in_thread(self._index.set, server, key, "")
        await _in_thread(self._file.delete, server, key)

    async def _drop(self, server: str, key: str) -> None:
        await _in_thread(self._file.delete, server, key)
        await self._probe()
        keyring = self._usable_keyring()
        if keyring is not None:
            await _bounded(keyring.delete, server, key)
        elif key in self._in_keyring.get(server, ()):
            raise _gone(server, key)
        await _in_thread(self._index.delete, server, key)

    async def _read_names(self) -> None:
        self._in_file = await _in_thread(self._file.names)
        self._in_keyring = await _in_thread(self._index.names)

    async def _probe(self) -> None:
        """Look for the keyring, once; an unresponsive one counts as none."""
        if self._probed:
            await trio.lowlevel.checkpoint()
            return
        with trio.move_on_after(PROBE_S) as scope:
            self._keyring = await trio.to_thread.run_sync(find_keyring, abandon_on_cancel=True)
        self._probed = True
        if scope.cancelled_caught:
            _log.warning("secrets.no_keyring", extra={"error": f"no answer within {PROBE_S:g} s"})

    def _usable_keyring(self) -> KeyringVault | None:
        if self._keyring is None and self._mode == "keyring":
            raise Unreachable(
                "cannot use the keyring: there is none that stores safely, and "
                "MCPCTL_SECRETS=keyring asks for one; unset it to keep secrets in a private file"
            )
        return self._keyring


def _check_value(server: str, key: str, value: str) -> None:
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise UserError(f"cannot store the secret {server}/{key}: it is not Unicode text") from None
    if not 0 < size <= MAX_VALUE_BYTES or "\0" in value:
        raise UserError(
            f"cannot store the secret {server}/{key}: it must have 1 to {MAX_VALUE_BYTES} bytes "
            "and no NUL among them"
        )


def _gone(server: str, key: str) -> Unreachable:
    return Unreachable(
        f"cannot reach the secret {server}/{key}: it is in the keyring, which is not available to "
        f"the daemon; restart the daemon in your login session, or set it anew: "
        f"mcpctl secret set {server} {key}"
    )


async def _in_thread(function: Callable[[*_Ts], _T], *args: *_Ts) -> _T:
    return await trio.to_thread.run_sync(function, *args)


async def _bounded(function: Callable[[*_Ts], _T], *args: *_Ts) -> _T:
    """Ask the keyring. One that hangs is left to its thread; what it was asked may still happen."""
    try:
        with trio.fail_after(KEYRING_S):
            return await trio.to_thread.run_sync(function, *args, abandon_on_cancel=True)
    except trio.TooSlowError as exc:
        raise TimedOut(
            f"cannot use the keyring: no answer within {KEYRING_S:g} s; "
            "unlock it, or start the daemon with MCPCTL_SECRETS=file"
        ) from exc
