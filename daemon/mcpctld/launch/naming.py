"""What a server and its app are called when nobody says it: found from the command, or from the image.

`npx -y @modelcontextprotocol/server-slack` is `server-slack`, `uvx mcp-server-time@1.2` is `mcp-server-time`,
`@playwright/mcp` is `playwright-mcp`: what stands in front of a name that says nothing is kept.
"""

import hashlib
import re
from collections.abc import Sequence

from mcpctld.errors import UserError

LABEL_LENGTH = 63
"""Of an app's name, which is a label of its host (RFC 1035 §2.3.4)."""

SUFFIX_LENGTH = 6

_LAUNCHERS = {"npx", "bunx", "pnpx", "uvx", "pipx", "uv", "go", "npm", "pnpm", "yarn", "bun", "deno", "docker",
              "podman", "node", "nodejs", "tsx", "ts-node", "java", "env", "exec", "sh", "bash"}  # fmt: skip
_VERBS = {
    "uv": {"run", "tool"}, "tool": {"run"}, "pipx": {"run"}, "go": {"run"}, "npm": {"exec", "x"},
    "pnpm": {"dlx", "exec"}, "yarn": {"dlx"}, "bun": {"x", "run"}, "deno": {"run"},
}  # fmt: skip
"""What may follow a launcher and is no name either."""
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
_DULL = {"mcp", "server", "mcp-server", "app", "cli"}
_ENTRIES = {"index", "main", "stdio"}
_FOLDERS = {"", ".", "..", "dist", "src", "build", "bin", "cmd"}
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
    found = _subject(words)
    found = re.sub(r"^[a-z+]+://[^/]*/", "", found)  # git+https://host/owner/repository
    package = re.sub(r"(?<=[^/@])(@|==|>=|~=|\[|#).*", "", found)
    *path, last = package.removeprefix("@").rstrip("/").split("/")
    stem = re.sub(r"\.(git|js|mjs|cjs|ts|py|jar)$", "", last)
    return _telling([*path, stem])


def _subject(words: Sequence[str]) -> str:
    """The word that names what is run: options and launchers are passed over."""
    rest = iter(words)
    launcher = ""
    for word in rest:
        if word in _NAMING:
            return next(rest, "")
        if word in _VALUED:
            next(rest, "")
        elif word.startswith("-") or _VARIABLE.match(word):
            continue
        elif not _launches(word, launcher):
            return word
        else:
            launcher = word.rpartition("/")[2]
    return ""


def _launches(word: str, launcher: str) -> bool:
    base = word.rpartition("/")[2]
    known = base in _LAUNCHERS or _PYTHON.fullmatch(base) is not None
    return known or word in _VERBS.get(launcher, ())


def _telling(path: list[str]) -> str:
    """The last part of a path; with the one before it where it says nothing by itself."""
    named = [part for part in path if part not in _FOLDERS and not _MAJOR.fullmatch(part)]
    while len(named) > 1 and named[-1] in _ENTRIES:
        named.pop()
    if len(named) > 1 and named[-1] in _DULL:
        return "-".join(named[-2:])
    return named[-1] if named else ""
