"""What a server and its app are called when nobody says it: found from the command, or from the image.

`npx -y @modelcontextprotocol/server-slack` is `server-slack`, `uvx mcp-server-time@1.2` is `mcp-server-time`,
`@playwright/mcp` is `playwright-mcp`: what stands in front of a name that says nothing is kept.
"""

import hashlib
import re
from collections.abc import Iterator, Sequence

from mcpctld.errors import UserError

LABEL_LENGTH = 63
"""Of an app's name, which is a label of its host (RFC 1035 §2.3.4)."""

SUFFIX_LENGTH = 6

_LAUNCHERS = {"npx", "bunx", "pnpx", "uvx", "pipx", "uv", "go", "npm", "pnpm", "yarn", "bun", "deno", "docker",
              "podman", "node", "nodejs", "tsx", "ts-node", "java", "env", "exec", "sh", "bash"}  # fmt: skip
_VERBS = {"run", "tool", "exec", "dlx", "x", "start"}
_VALUED = {
    "--from",
    "--with",
    "--python",
    "-p",
    "--package",
    "--index-url",
    "--directory",
    "--call",
    "-jar",
}
"""Options that take a word; those that name the package are `_NAMING`."""
_NAMING = {"--package", "-jar", "-m"}
_DULL = {
    "mcp",
    "server",
    "mcp-server",
    "index",
    "main",
    "cli",
    "app",
    "dist",
    "src",
    "build",
    "bin",
    "cmd",
    "stdio",
}
_PYTHON = re.compile(r"python[0-9.]*")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")
_MAJOR = re.compile(r"v[0-9]+")


def server_name(words: Sequence[str], image: str = "") -> str:
    """The name of the server that `words` run; of the image where one is given, or where the words tell nothing.

    Raises `UserError` when neither tells.
    """
    subject = _of_image(image) if image else _of_words(words)
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", subject).strip("-._")[:64]
    if not name:
        raise UserError("cannot tell what to call the server: give it a name with --server NAME")
    return name


def app_name(server: str) -> str:
    """The name of an app for `server`: lower-case letters, digits and dashes, one label."""
    name = re.sub(r"[^a-z0-9]+", "-", server.lower()).strip("-")[:LABEL_LENGTH].strip("-")
    if not name:
        raise UserError(f"cannot make the name of an app of {server!r}: say it with --name NAME")
    return name


def check_app_name(name: str) -> str:
    """`name`, which somebody chose for an app. Raises `UserError`."""
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", name):
        raise UserError(
            f"cannot use {name!r} as the name of an app: "
            f"1 to {LABEL_LENGTH} lower-case letters, digits and dashes, no dash first or last"
        )
    return name


def alternative(app: str, entropy: bytes) -> str:
    """Another name for an app whose name is taken: names are shared by everybody on Fly."""
    suffix = hashlib.sha256(entropy).hexdigest()[:SUFFIX_LENGTH]
    return f"{app[: LABEL_LENGTH - SUFFIX_LENGTH - 1].rstrip('-')}-{suffix}"


def _of_image(image: str) -> str:
    path = image.partition("@")[0]
    head, slash, last = path.rpartition("/")
    return _telling([*(head + slash).split("/"), last.partition(":")[0]])


def _of_words(words: Sequence[str]) -> str:
    found = next(_subjects(words), "")
    found = re.sub(r"^[a-z+]+://[^/]*/", "", found)  # git+https://host/owner/repository
    package = re.sub(r"(?<=[^/@])(@|==|>=|~=|\[|#).*", "", found)
    *path, last = package.removeprefix("@").rstrip("/").split("/")
    stem = re.sub(r"\.(git|js|mjs|cjs|ts|py|jar)$", "", last)
    return _telling([*path, stem])


def _subjects(words: Sequence[str]) -> Iterator[str]:
    """The words that may name what is run: options and launchers are passed over."""
    rest = iter(words)
    launching = True
    for word in rest:
        if word in _NAMING or (word in _VALUED and launching):
            value = next(rest, "")
            if word in _NAMING:
                yield value
        elif not (word.startswith("-") or _VARIABLE.match(word) or (launching and _launches(word))):
            yield word
            launching = False


def _launches(word: str) -> bool:
    base = word.rpartition("/")[2]
    return base in _LAUNCHERS or word in _VERBS or _PYTHON.fullmatch(base) is not None


def _telling(path: list[str]) -> str:
    """The last part of a path; with the one before it where it says nothing by itself."""
    parts = [part for part in path if part not in ("", ".", "..") and not _MAJOR.fullmatch(part)]
    while len(parts) > 1 and parts[-1] in {
        "dist",
        "src",
        "build",
        "bin",
        "cmd",
        "index",
        "main",
        "stdio",
    }:
        parts.pop()
    if len(parts) > 1 and parts[-1] in _DULL:
        return f"{parts[-2]}-{parts[-1]}"
    return parts[-1] if parts else ""
