"""`mcpctl wrap`: become the HTTP front of a stdio server, which is part of the daemon's package (`mcpctld.wrap`)."""

import os
import sys
from typing import NoReturn


def main(argv: list[str]) -> NoReturn:
    """Become that program; `argv` begins with the word `wrap`."""
    words = [sys.executable, "-P", "-m", "mcpctld.wrap", *argv[1:]]
    os.execv(sys.executable, words)  # noqa: S606  (our own program)
