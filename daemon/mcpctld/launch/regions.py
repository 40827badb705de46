"""Codes of Fly's regions, as far as they are known without asking. Fly is asked before anything is made."""

import re

from mcpctld.errors import UserError

_RETIRED = {
    "atl": "dfw", "den": "dfw", "mia": "dfw", "gdl": "dfw", "qro": "dfw", "bos": "ewr", "phx": "lax", "sea": "sjc",
    "yul": "yyz", "waw": "ams", "mad": "cdg", "otp": "fra", "bog": "gru", "gig": "gru", "scl": "gru", "eze": "gru",
    "hkg": "sin",
}  # fmt: skip
"""Regions that are gone, and where flyctl goes in their place."""


def region(code: str) -> tuple[str, str | None]:
    """The region for a code, and what to say when it is another one. Raises `UserError`."""
    wanted = code.lower()
    if not re.fullmatch(r"[a-z]{3}", wanted):
        raise UserError(
            f"cannot use {code!r} as a region: a code of three letters such as iad, fra or syd"
        )
    found = _RETIRED.get(wanted, wanted)
    return found, None if found == wanted else f"region {wanted} is closed; {found} takes its place"
