"""An entry that its client has wiped is put back: by a process of `mcpctl`, which alone writes people's files."""

import logging
import subprocess
import sys

import trio

from mcpctl.clients import Entry

BOUND_S = 30.0

_log = logging.getLogger(__name__)


async def put_back(entry: Entry, text: str) -> bool:
    """Have the entry written as it was. False when that is refused: the user has taken it out, for one.

    `text` goes on stdin, and is nobody's secret: it is an entry of ours.
    """
    words = [
        sys.executable, "-P", "-m", "mcpctl", "clients", "put-back",
        "--client", entry.client.name, "--file", entry.place.path, entry.name,
    ]  # fmt: skip
    try:
        with trio.fail_after(BOUND_S):
            done = await trio.run_process(
                words, stdin=text.encode(), capture_stdout=True, capture_stderr=True, check=False
            )
    except (OSError, trio.TooSlowError) as exc:
        _log.warning("client.not_put_back", extra={"file": entry.place.path, "error": str(exc)})
        return False  # noqa: ASYNC910  (`run_process` waits)
    return _tell(entry, done)


def _tell(entry: Entry, done: "subprocess.CompletedProcess[bytes]") -> bool:
    extra = {"file": entry.place.path, "entry": entry.name}
    if done.returncode:
        why = done.stderr.decode(errors="replace").strip().removeprefix("mcpctl: ")
        _log.info("client.not_put_back", extra={**extra, "error": why})
    else:
        _log.info("client.put_back", extra=extra)
    return done.returncode == 0
