"""Which program an entry runs, whatever fetches and starts it."""

import os
from collections.abc import Sequence

_FETCHERS = {
    ("npx",): ("-p", "--package", "-c", "--call"),
    ("bunx",): ("-p", "--package"),
    ("npm", "exec"): ("-p", "--package"),
    ("pnpm", "dlx"): ("--package",),
    ("yarn", "dlx"): ("-p", "--package"),
    ("uvx",): ("--from", "--with", "--python", "-p"),
    ("uv", "tool", "run"): ("--from", "--with", "--python", "-p"),
    ("pipx", "run"): ("--spec", "--python"),
}
"""How packages are run without being installed, and the flags of each that take a value."""


def program(words: Sequence[str]) -> tuple[str, list[str]]:
    """The program's name, without path and version, and its arguments."""
    named = [os.path.basename(words[0]), *words[1:]]
    for fetcher, valued in _FETCHERS.items():
        if tuple(named[: len(fetcher)]) == fetcher:
            return _fetched(named[len(fetcher) :], valued)
    return named[0], named[1:]


def _fetched(words: list[str], valued: tuple[str, ...]) -> tuple[str, list[str]]:
    at = 0
    while at < len(words) and words[at].startswith("-"):
        at += 2 if words[at] in valued else 1
    if at >= len(words):
        return "", []
    rest = words[at + 1 :]
    return _bare(words[at]), rest[1:] if rest[:1] == ["--"] else rest


def _bare(package: str) -> str:
    """`mcp-remote@latest`, `mcp-proxy==0.8`, `mcp-proxy[x]`: the name alone."""
    scope, slash, name = package.rpartition("/")
    name = name.split("@")[0].split("==")[0].split("[")[0]
    return f"{scope}{slash}{name}"
