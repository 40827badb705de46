"""Where secrets lie: one private file, or the keyring of the operating system. All of it blocks.

A vault maps (server, key) to a value. Nothing in here keeps a value in memory or shows one.
"""

import logging
import os
import shlex
import sys
from typing import Any

import msgspec

from mcpctld.config.files import read_regular, write_private
from mcpctld.config.places import make_private_folder
from mcpctld.errors import Denied, McpctlError, Unreachable, UserError

Names = dict[str, list[str]]
_Table = dict[str, dict[str, str]]

_SERVICE = "mcpctl"
_NOT_SAFE = ("keyring.backends.fail", "keyring.backends.null", "keyrings.alt")
"""Backends that store nothing, or store in clear: our own file is better than either."""
_LOCKED = ("KeyringLocked", "LockedException", "PromptDismissedException")

_log = logging.getLogger(__name__)


class FileVault:
    """A JSON file, mode 0600: `{server: {key: value}}`."""

    def __init__(self, path: str) -> None:
        self._path = path

    def get(self, server: str, key: str) -> str | None:
        """The value, None when there is none."""
        return self._read().get(server, {}).get(key)

    def set(self, server: str, key: str, value: str) -> None:
        """Store a value in place of the one that is there."""
        table = self._read()
        table.setdefault(server, {})[key] = value
        self._write(table)

    def delete(self, server: str, key: str) -> None:
        """Forget a value; nothing happens when there is none."""
        table = self._read()
        if key in table.get(server, {}):
            del table[server][key]
            self._write(table)

    def names(self) -> Names:
        """The keys of every server that has any."""
        return {server: sorted(keys) for server, keys in self._read().items() if keys}

    def _read(self) -> _Table:
        try:
            found = read_regular(self._path, follow=False)
        except UserError as exc:
            raise UserError(f"cannot read {self._path}: {exc}") from exc
        if found is None:
            return {}
        if found.uid != os.getuid():
            raise Denied(f"cannot use {self._path}: it belongs to user {found.uid}, not to you")
        if found.mode & 0o077:
            raise Denied(
                f"cannot use {self._path}: other users can get at it; run: "
                f"chmod 600 {shlex.quote(self._path)}, and consider the secrets in it known"
            )
        try:
            return msgspec.json.decode(found.data, type=_Table)
        except (msgspec.DecodeError, UnicodeDecodeError):
            # The decoder's text may quote the file: it is neither shown nor kept as a cause.
            raise UserError(
                f"cannot read {self._path}: it is damaged; repair it, or move it away and set the "
                "secrets anew"
            ) from None

    def _write(self, table: _Table) -> None:
        make_private_folder(os.path.dirname(self._path))
        kept = {server: keys for server, keys in table.items() if keys}
        write_private(self._path, msgspec.json.format(msgspec.json.encode(kept), indent=2) + b"\n")


class KeyringVault:
    """The keyring of the operating system: service `mcpctl`, user name `SERVER/KEY`.

    A keyring cannot be listed: whoever uses this keeps the names.
    """

    def __init__(self, backend: Any) -> None:
        self._backend = backend

    def get(self, server: str, key: str) -> str | None:
        """The value, None when there is none."""
        try:
            value: str | None = self._backend.get_password(_SERVICE, f"{server}/{key}")
        except _failures() as exc:
            raise _failed(f"cannot read the secret {server}/{key}", exc) from exc
        return value

    def set(self, server: str, key: str, value: str) -> None:
        """Store a value in place of the one that is there."""
        try:
            self._backend.set_password(_SERVICE, f"{server}/{key}", value)
        except _failures() as exc:
            quoted = value in str(exc)  # then neither its text nor its traceback may be shown
            error = _failed(f"cannot store the secret {server}/{key}", exc, hidden=quoted)
            raise error from (None if quoted else exc)

    def delete(self, server: str, key: str) -> None:
        """Forget a value; nothing happens when there is none."""
        if self.get(server, key) is None:
            return
        try:
            self._backend.delete_password(_SERVICE, f"{server}/{key}")
        except _failures() as exc:
            raise _failed(f"cannot delete the secret {server}/{key}", exc) from exc


def find_keyring() -> KeyringVault | None:
    """The keyring of this login when there is one that stores safely.

    It may ask D-Bus, which may not answer: the caller bounds it.
    """
    import keyring  # 70 ms, and often not needed at all

    try:
        chosen: Any = keyring.get_keyring()
        # The chainer writes through others, safe or not: one of them is taken by itself.
        candidates = getattr(chosen, "backends", None) or [chosen]
    except _failures() as exc:
        _log.warning("secrets.no_keyring", extra={"error": f"{type(exc).__name__}: {exc}"})
        return None
    safe = [backend for backend in candidates if not type(backend).__module__.startswith(_NOT_SAFE)]
    return KeyringVault(safe[0]) if safe else None


def _failures() -> tuple[type[Exception], ...]:
    """What a backend may raise: keyring's own errors, and what leaks through from below."""
    import keyring.errors  # see above

    below = sys.modules.get("secretstorage.exceptions")
    leaks = (below.SecretStorageException,) if below else ()
    return (keyring.errors.KeyringError, OSError, RuntimeError, ValueError, *leaks)


def _failed(what: str, exc: Exception, *, hidden: bool = False) -> McpctlError:
    advice = "unlock it, or start the daemon with MCPCTL_SECRETS=file"
    if type(exc).__name__ in _LOCKED:
        return Denied(f"{what}: the keyring is locked; {advice}")
    reason = type(exc).__name__ if hidden else f"{type(exc).__name__}: {exc}"
    return Unreachable(f"{what}: the keyring failed ({reason}); {advice}")
