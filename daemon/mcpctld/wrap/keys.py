"""The public keys of an issuer (RFC 7517), and which signatures each may check (RFC 7518 §3.1)."""

from typing import Any

import jwt
import msgspec

from mcpctld.errors import PeerError

MAX_KEYS = 64
RSA_BITS = range(2048, 8192 + 1)
"""Shorter keys are forbidden (RFC 7518 §3.3), longer ones only cost time."""

_KINDS: dict[str, tuple[str, tuple[str, ...]]] = {
    **{f"{family}{bits}": ("RSA", ()) for family in ("RS", "PS") for bits in (256, 384, 512)},
    "ES256": ("EC", ("P-256",)),
    "ES384": ("EC", ("P-384",)),
    "ES512": ("EC", ("P-521",)),
    "EdDSA": ("OKP", ("Ed25519", "Ed448")),
}
ALGORITHMS = frozenset(_KINDS)
"""Asymmetric ones only. With a secret shared between issuer and servers each server could forge tokens for the
others; and a public key must never pass for such a secret (RFC 8725 §2.1)."""


class Key(msgspec.Struct, frozen=True):
    """One key that checks signatures."""

    kid: str | None
    kind: str
    curve: str
    alg: str | None
    """The only algorithm it is for, where the issuer says so."""
    public: Any
    """What PyJWT takes."""

    def fits(self, alg: str, kid: str | None) -> bool:
        """Whether a token with this head may have been signed with it."""
        kind, curves = _KINDS[alg]
        return (
            self.kind == kind
            and (not curves or self.curve in curves)
            and self.alg in (None, alg)
            and kid in (None, self.kid)
        )


def parse_keys(document: dict[str, Any]) -> tuple[Key, ...]:
    """The usable keys of a JWK set; others are passed over (RFC 7517 §5). Raises `PeerError` for what is no set."""
    listed = document.get("keys")
    if not isinstance(listed, list):
        raise PeerError("what should be its keys is no JWK set")
    keys = (_parse_key(item) for item in listed[:MAX_KEYS])
    return tuple(key for key in keys if key is not None)


def _parse_key(item: Any) -> Key | None:
    if not isinstance(item, dict) or not _is_for_checking(item):
        return None
    kind, curve, kid, alg = (item.get(name) for name in ("kty", "crv", "kid", "alg"))
    sample = next((name for name, usable in _KINDS.items() if _suits(usable, kind, curve)), None)
    if sample is None or not (alg is None or (isinstance(alg, str) and alg in ALGORITHMS)):
        return None
    try:
        public = jwt.PyJWK(item, sample).key
    except (jwt.PyJWTError, ValueError, TypeError, AttributeError, OverflowError):
        return None
    if kind == "RSA" and public.key_size not in RSA_BITS:
        return None
    return Key(kid if isinstance(kid, str) else None, str(kind), str(curve), alg, public)


def _suits(usable: tuple[str, tuple[str, ...]], kind: object, curve: object) -> bool:
    return kind == usable[0] and (not usable[1] or curve in usable[1])


def _is_for_checking(item: dict[str, Any]) -> bool:
    """Not one for encryption, nor a private one that was published by mistake (RFC 7517 §4.2, §4.3)."""
    uses = item.get("key_ops")
    return (
        item.get("use") in (None, "sig")
        and (uses is None or (isinstance(uses, list) and "verify" in uses))
        and "d" not in item
    )
