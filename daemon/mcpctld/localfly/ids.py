"""The names that Fly gives to things. Each is new."""

import secrets

_BASE32 = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's, of which ULIDs are made."""
_LOWER = "0123456789abcdefghijklmnopqrstuvwxyz"


def ulid(now: float) -> str:
    """26 characters that sort by time."""
    number = (int(now * 1000) << 80) | secrets.randbits(80)
    return "".join(_BASE32[number >> shift & 31] for shift in range(125, -1, -5))


def machine_id() -> str:
    """14 hexadecimal digits."""
    return secrets.token_hex(7)


def volume_id() -> str:
    """`vol_` and 16 characters."""
    return "vol_" + "".join(secrets.choice(_LOWER) for _ in range(16))


def snapshot_id() -> str:
    """`vs_` and 16 characters."""
    return "vs_" + "".join(secrets.choice(_LOWER) for _ in range(16))


def app_id() -> str:
    """16 characters."""
    return "".join(secrets.choice(_LOWER) for _ in range(16))


def address(kind: str) -> str:
    """An address that leads nowhere: of the ranges for documentation (RFC 5737, RFC 3849), or `fdaa:`."""
    low = f"{secrets.randbits(16):x}:{secrets.randbits(16):x}"
    if kind == "private_v6":
        return f"fdaa:0:1::{low}"
    if kind == "v6":
        return f"2001:db8:{low}::1"
    return f"{'198.51.100' if kind == 'v4' else '203.0.113'}.{secrets.randbelow(254) + 1}"


_ADJECTIVES = (
    "ancient",
    "bold",
    "calm",
    "dark",
    "green",
    "little",
    "patient",
    "quiet",
    "silent",
    "wild",
)
_NOUNS = ("bird", "brook", "cloud", "field", "flower", "forest", "hill", "moon", "river", "tree")


def machine_name() -> str:
    """`quiet-river-1234`."""
    return (
        f"{secrets.choice(_ADJECTIVES)}-{secrets.choice(_NOUNS)}-{secrets.randbelow(9000) + 1000}"
    )
