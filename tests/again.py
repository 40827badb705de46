"""What failed in the last run of pytest, once more and by itself: a busy machine is told from a bug.

    python tests/again.py [options of pytest]

Only a few tests may want this, and each is named: it is to be mended, not lived with. Exits with 1 when there are
more, or when the run ended before it could say what failed.
"""

import json
import sys
from pathlib import Path

import pytest

MOST = 3
FAILED = Path(".pytest_cache/v/cache/lastfailed")


def failed() -> list[str]:
    """The ids that the last run left; those of modules that could not be read are among them."""
    try:
        return list(json.loads(FAILED.read_text()))
    except FileNotFoundError:
        return []


def main(options: list[str]) -> int:
    ids = failed()
    if not 0 < len(ids) <= MOST:
        return 1
    print("\nFAILED ONCE, run again by themselves:", *ids, sep="\n  ", flush=True)
    return int(pytest.main([*options, *ids]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
