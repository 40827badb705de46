"""An entry that its client has wiped is put back: by a process of `mcpctl`, which alone writes people's files."""

import logging
import subprocess
import sys

import trio

from mcpctld.clients.watched import Named

BOUND_S = 30.0

_log = logging.getLogger(__name__)


async def put_back(entry: Named) -> bool:
    """Have the entry written as it was. False when that is refused: the user has taken it out, for one."""
    words = [
        sys.executable, "-P", "-m", "mcpctl", "clients", "put-back",
        "--client", entry.client, "--file", entry.file, entry.name,
    ]  # fmt: skip
    try:
        with trio.fail_after(BOUND_S):
            done = await trio.run_process(
                words,
                stdin=(entry.text or "").encode(),
                capture_stdout=True,
                capture_stderr=True,
                check=False,
            )
    except (OSError, trio.TooSlowError) as exc:
        _log.warning("client.not_put_back", extra={"file": entry.file, "error": str(exc)})
        return False  # noqa: ASYNC910  (`run_process` waits)
    return _tell(entry, done)


def _tell(entry: Named, done: "subprocess.CompletedProcess[bytes]") -> bool:
    extra = {"file": entry.file, "entry": entry.name}
    if done.returncode:
        why = done.stderr.decode(errors="replace").strip().removeprefix("mcpctl: ")
        _log.info("client.not_put_back", extra={**extra, "error": why})
    else:
        _log.info("client.put_back", extra=extra)
    return done.returncode == 0
