"""Fly's tokens: where they are found, and how they are sent."""

import os
import re
from collections.abc import Mapping

from mcpctld.errors import Denied, UserError

MACAROONS = ("fm1r_", "fm1a_", "fm2_")
"""How the tokens of `fly tokens create` begin. What begins otherwise is a user's token (OAuth)."""
VARIABLES = ("FLY_ACCESS_TOKEN", "FLY_API_TOKEN")
"""In the order in which flyctl takes them."""
_SCHEME = re.compile(r"^(?:bearer|flyv1)(?:\s+|$)", re.IGNORECASE)
_FIT = re.compile(r"[!-~]+")


class Token:
    """One token, which may consist of several parts that belong together. It shows nothing of itself."""

    __slots__ = ("_macaroons", "_others")

    def __init__(self, text: str) -> None:
        parts = [_strip(part) for part in _strip(text).split(",")]
        parts = [part for part in parts if part]
        if not parts:
            raise UserError("cannot use the Fly token: it is empty; set FLY_API_TOKEN anew")
        if not all(_FIT.fullmatch(part) for part in parts):
            raise UserError(
                "cannot use the Fly token: it holds spaces or other characters that no header can carry; "
                "set FLY_API_TOKEN anew"
            )
        self._macaroons = [part for part in parts if part.startswith(MACAROONS)]
        self._others = [part for part in parts if not part.startswith(MACAROONS)]

    def __repr__(self) -> str:
        return "<Token>"

    def header(self) -> str:
        """`Authorization` for the Machines API and the logs, which refuse a mixture of kinds."""
        if self._macaroons:
            return "FlyV1 " + ",".join(self._macaroons)
        return "Bearer " + ",".join(self._others)

    def graphql_header(self) -> str:
        """`Authorization` for GraphQL, which takes all kinds in one list."""
        if self._macaroons:
            return "FlyV1 " + ",".join(self._macaroons + self._others)
        return "Bearer " + ",".join(self._others)


def _strip(text: str) -> str:
    text = text.strip()
    while stripped := _SCHEME.match(text):
        text = text[stripped.end() :].strip()
    return text


def find_token(environ: Mapping[str, str], home: str) -> Token:
    """The token as flyctl finds it: the environment, then `~/.fly/config.yml`; blocking.

    Raises `Denied`, which says how to get one, when there is none.
    """
    for name in VARIABLES:
        if environ.get(name, "").strip():
            return Token(environ[name])
    text = _from_file(os.path.join(home, ".fly", "config.yml"))
    if text is None:
        raise Denied(
            "there is no Fly token: make one with `fly tokens create org`, or in the dashboard under Tokens, and set "
            "FLY_API_TOKEN to it; or use the local Fly with --local"
        )
    return Token(text)


def _from_file(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as exc:
        raise UserError(f"cannot read the Fly token from {path}: {exc}") from exc
    found = _load(path, text)
    token = found.get("access_token") if isinstance(found, dict) else None
    return token if isinstance(token, str) and token.strip() else None


def _load(path: str, text: str) -> object:
    from ruamel.yaml import YAML  # late: few need it, and it is large
    from ruamel.yaml.error import YAMLError

    try:
        return YAML(typ="safe", pure=True).load(text)
    except YAMLError as exc:
        # The parser's own words may quote the token.
        raise UserError(f"cannot read the Fly token from {path}: it is no YAML") from exc
