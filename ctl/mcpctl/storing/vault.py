"""Where a text is kept that may hold secrets of others: with our own secrets, never in a file of its own.

It goes in through the daemon, whose API never gives a secret out again: that can be reached by programs that may not
have it. So it is read by a process of the user's own, `mcpctld --read-secrets`, as the daemon itself would read it.
"""

import json
import subprocess
from collections.abc import Sequence

from mcpctl.client import Client
from mcpctl.daemon_process import program, running_client
from mcpctl.errors import CtlError

SERVER = "clients-undo"
"""Whose secrets these are, beside those of servers."""

MAX_BYTES = 64 * 1024
"""The daemon takes no longer secrets."""

READ_BOUND_S = 90.0
"""The keyring may ask its owner for a password."""


def keep(key: str, text: str) -> None:
    """Keep `text`. Raises `bad-request` when it is longer than a secret may be."""
    if len(text.encode()) > MAX_BYTES:
        what = f"the entry is longer than {MAX_BYTES // 1024} KiB, too long to be kept for undoing"
        raise CtlError("bad-request", f"cannot change it: {what}; shorten it by hand")
    running_client().set_secret(SERVER, key, text)


def read(keys: Sequence[str]) -> dict[str, str]:
    """The texts that were kept, by key. Raises `not-found` when one is gone."""
    if not keys:
        return {}
    words = [*program(), "--read-secrets", SERVER, *keys]
    try:
        done = subprocess.run(words, capture_output=True, timeout=READ_BOUND_S, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise CtlError("unreachable", f"cannot read what was kept for undoing: {exc}") from exc
    if done.returncode:
        why = done.stderr.decode(errors="replace").strip().removeprefix("mcpctld: ")
        raise CtlError("not-found", f"cannot read what was kept for undoing: {why}")
    found: dict[str, str] = json.loads(done.stdout)
    return found


def forget(key: str) -> None:
    """Forget a text; nothing happens when there is none."""
    client: Client = running_client()
    client.delete_secret(SERVER, key)
