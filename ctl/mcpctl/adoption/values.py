"""What may stand in an entry's values: references that the client fills in, and secrets."""

import re
from collections.abc import Mapping

from mcpctl.errors import CtlError
from mcpctl.server_draft import SECRET_LOOKING

_REFERENCE = re.compile(
    r"\$\{env:(?P<a>\w+)\}|\{env:(?P<b>\w+)\}|\$\{(?P<c>[A-Za-z_]\w*)(?::-(?P<default>[^}]*))?\}"
)
_ONLY_THE_CLIENT = re.compile(r"\$\{|\{file:|\{env:")
_USER_INFO = re.compile(r"://[^/\s@]+@")
_TOKEN_LIKE = re.compile(r"(?=[^\s]*\d)(?=[^\s]*[A-Za-z])[A-Za-z0-9_\-+=.]{20,}")
_NAMED = re.compile(r"credential|auth|(?:^|_)pat(?:$|_)|dsn", re.IGNORECASE)


class NotAdoptable(CtlError):
    """An entry that is left as it is: why."""

    def __init__(self, why: str) -> None:
        super().__init__("bad-request", why)


def filled(text: str, env: Mapping[str, str], environ: Mapping[str, str]) -> str:
    """`text` with references to variables replaced, from the entry's own and else from ours.

    Raises `NotAdoptable` for what only the client can fill in, and for a variable that is not set.
    """

    def value(match: re.Match[str]) -> str:
        name = match["a"] or match["b"] or match["c"]
        found = env.get(name) or environ.get(name) or match["default"]
        if found is None or found == match[0]:
            raise NotAdoptable(f"it refers to the variable {name}, which is not set here")
        return found

    done = _REFERENCE.sub(value, text)
    if _ONLY_THE_CLIENT.search(_REFERENCE.sub("", text)):
        raise NotAdoptable("it has a placeholder that only its client can fill in")
    return done


def looks_secret(name: str, value: str) -> bool:
    """Whether a variable holds a secret, by its name or its value; in doubt it does."""
    if not value:
        return False
    named = SECRET_LOOKING.search(name) or _NAMED.search(name)
    return bool(named or _USER_INFO.search(value) or _TOKEN_LIKE.fullmatch(value))
