"""Programs that images have and this computer may not: `uvx`, `pipx run`, `flyctl mcp wrap`, `mcpctl`.

    python -P -m mcpctld.localfly.shims uvx mcp-server-time

`uvx --from mcpctl==VERSION mcpctl wrap ...` is this installation's own `wrap`. Another `uvx` is the real one where
there is one; else a console script of this environment, or of a virtual environment made for the package with pip.
"""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import metadata

REAL_PATH = "LOCALFLY_PATH"
"""PATH without the shims."""
HOSTS = "LOCALFLY_HOSTS"
"""The names by which the machine's app is reached, with spaces between."""
CACHE = "LOCALFLY_CACHE"
NOT_FOUND = 127

_SPEC = re.compile(r"([A-Za-z0-9][\w.-]*)(?:\[[^\]]*\])?(?:(?:==|@)([\w.+!-]+))?(?:[<>~!=].*)?")


@dataclass
class Tool:
    """A command out of a package. `spec` as pip takes it."""

    spec: str
    command: str
    arguments: list[str]
    extras: list[str] = field(default_factory=list)


class Unusable(Exception):
    """The command line makes no sense to us."""


def main() -> None:
    """The program."""
    name, *words = sys.argv[1:]
    try:
        argv = find(name, words, dict(os.environ))
    except Unusable as exc:
        sys.exit(f"{name}: {exc}")
    except OSError as exc:
        sys.exit(f"{name}: {exc.strerror or exc}")
    except subprocess.CalledProcessError as exc:
        sys.exit(f"{name}: cannot install: {' '.join(exc.cmd[-2:])} failed")
    try:
        os.execvp(argv[0], argv)  # noqa: S606  (what the machine's command names)
    except OSError as exc:
        print(f"{name}: cannot start {argv[0]}: {exc.strerror}", file=sys.stderr)  # noqa: T201
        sys.exit(NOT_FOUND)


def find(name: str, words: Sequence[str], environ: dict[str, str]) -> list[str]:
    """What is to be run instead. Raises `Unusable`."""
    if name == "mcpctl":
        return _ours(list(words), environ)
    if name == "flyctl":
        if list(words[:2]) != ["mcp", "wrap"]:
            raise Unusable("only 'flyctl mcp wrap' is there")
        return [sys.executable, "-P", "-m", "mcpctld.localfly.flyctl_wrap", *words[2:]]
    tool = read_uvx(list(words)) if name == "uvx" else read_pipx(list(words))
    if tool.command == "mcpctl":
        return _ours(tool.arguments, environ)
    real = shutil.which(name, path=environ.get(REAL_PATH))
    if real is not None:
        return [real, *words]
    return [_script(tool, environ.get(CACHE, ".")), *tool.arguments]


def _ours(words: list[str], environ: dict[str, str]) -> list[str]:
    if words[:1] != ["wrap"]:
        return [sys.executable, "-P", "-m", "mcpctl", *words]
    cut = words.index("--") if "--" in words else 1
    place = ["--port", environ.get("PORT", "8080"), "--bind", "127.0.0.1"]
    hosts = [word for host in environ.get(HOSTS, "").split() for word in ("--allowed-host", host)]
    return [sys.executable, "-P", "-m", "mcpctld.wrap", *words[1:cut], *place, *hosts, *words[cut:]]


def read_uvx(words: list[str]) -> Tool:
    """`uvx [--from SPEC] [--with SPEC]... [-p VERSION] COMMAND [ARG]...`"""
    given: dict[str, list[str]] = {"--from": [], "--with": []}
    while words and words[0].startswith("-"):
        flag, equals, value = words.pop(0).partition("=")
        if flag in ("-q", "--quiet", "--isolated", "--no-cache", "-n", "--refresh", "-y", "--yes"):
            continue
        if not equals:
            if not words:
                raise Unusable(f"{flag} lacks its value")
            value = words.pop(0)
        if flag in given:
            given[flag].append(value)
        elif flag not in ("-p", "--python"):
            raise Unusable(f"{flag} is not known here; install uv to have it")
    if not words:
        raise Unusable("no command")
    name = words.pop(0)
    spec = given["--from"][-1] if given["--from"] else name
    match = _SPEC.fullmatch(name)
    command = match[1] if match and not given["--from"] else name
    return Tool(spec, command, words, given["--with"])


def read_pipx(words: list[str]) -> Tool:
    """`pipx run [--spec SPEC] COMMAND [ARG]...`"""
    if words[:1] != ["run"]:
        raise Unusable("only 'pipx run' is there")
    return read_uvx(["--from" if word == "--spec" else word for word in words[1:]])


def _script(tool: Tool, cache: str) -> str:
    """The path of its console script."""
    match = _SPEC.fullmatch(tool.spec)
    name, version = (match[1], match[2]) if match else ("", "")
    here = os.path.join(os.path.dirname(sys.executable), tool.command)
    if name and not tool.extras and _installed(name, version) and os.access(here, os.X_OK):
        return here
    script = f"{environment(tool, cache)}/bin/{tool.command}"
    if not os.access(script, os.X_OK):
        raise Unusable(f"package {tool.spec} has no program {tool.command}; name it by --from")
    return script


def _installed(name: str, version: str | None) -> bool:
    try:
        found = metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return version in (None, "", "latest", found)


def environment(tool: Tool, cache: str) -> str:
    """A virtual environment that has the package: made once, used by everybody."""
    specs = [pip_spec(spec) for spec in (tool.spec, *tool.extras)]
    key = hashlib.sha256("\n".join(specs).encode()).hexdigest()[:16]
    folder = f"{cache}/venvs/{key}"
    os.makedirs(f"{cache}/venvs", exist_ok=True)
    with open(f"{folder}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(f"{folder}/.ready"):
            shutil.rmtree(folder, ignore_errors=True)
            _run(sys.executable, "-m", "venv", folder)
            _run(
                f"{folder}/bin/python", "-m", "pip", "install", "--quiet",
                "--disable-pip-version-check", *specs,
            )  # fmt: skip
            with open(f"{folder}/.ready", "w"):
                pass
    return folder


def pip_spec(spec: str) -> str:
    """`PKG@1.2` as pip writes it; `PKG@latest` is the package."""
    name, at, version = spec.partition("@")
    if not at or "/" in spec or " " in spec:
        return spec
    return name if version == "latest" else f"{name}=={version}"


def _run(*argv: str) -> None:
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL, stdout=sys.stderr)  # noqa: S603


if __name__ == "__main__":
    main()
