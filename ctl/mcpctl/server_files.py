"""The files `servers/NAME.toml`: written whole or not at all, 0600 in a 0700 folder."""

import contextlib
import difflib
import os
import re
import tempfile
from collections.abc import Iterator
from typing import Any

from mcpctl import wire
from mcpctl.errors import CtlError, UsageError


def path_of(name: str) -> str:
    """The file of server `name`."""
    return f"{_folder()}/{name}.toml"


def names() -> list[str]:
    """The servers that have a file, sorted."""
    with _translated("list", _folder()):
        try:
            found = os.listdir(_folder())
        except FileNotFoundError:
            return []
    return sorted(file.removesuffix(".toml") for file in found if file.endswith(".toml"))


def has_tunnels() -> bool:
    """Whether `config.toml` names a way into a private network; False while it cannot be read."""
    import tomllib

    try:
        with open(f"{wire.config_dir()}/config.toml", "rb") as file:
            return bool(tomllib.load(file).get("tunnels"))
    except (OSError, ValueError):
        return False


def read(name: str) -> bytes | None:
    """The contents of a server's file; None when there is none."""
    with _translated("read", path_of(name)):
        try:
            with open(path_of(name), "rb") as file:
                return file.read()
        except FileNotFoundError:
            return None


def encode(spec: dict[str, Any]) -> bytes:
    """A specification as TOML."""
    import tomli_w

    try:
        return tomli_w.dumps(spec).encode()
    except UnicodeEncodeError as exc:
        raise UsageError(f"cannot write {exc.object!r} to a file: it is not UTF-8 text") from exc


def write(name: str, data: bytes, *, replace: bool) -> None:
    """Put `data` in the place of a server's file, atomically.

    Without `replace`, an existing file is a `conflict`, however close the race.
    """
    path = path_of(name)
    with _translated("write", path):
        os.makedirs(_folder(), mode=0o700, exist_ok=True)
        temporary = _temporary(data)
        try:
            if replace:
                os.replace(temporary, path)
            else:
                os.link(temporary, path)
        except FileExistsError as exc:
            raise exists(name) from exc
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)


def remove(name: str) -> None:
    """Delete a server's file. Raises `not-found` with the nearest names."""
    with _translated("remove", path_of(name)):
        try:
            os.unlink(path_of(name))
        except FileNotFoundError as exc:
            raise unknown(name) from exc


def secrets_in(data: bytes) -> set[str]:
    """The names of the secrets that a file refers to."""
    return set(re.findall(r"\$\{secret:([^}]*)\}", data.decode("utf-8", "replace")))


def exists(name: str) -> CtlError:
    """What to say when a server of that name is there already."""
    return CtlError(
        "conflict", f"server {name!r} exists already; --replace puts this one in its place"
    )


def _folder() -> str:
    return f"{wire.config_dir()}/servers"


def _temporary(data: bytes) -> str:
    # mkstemp makes it 0600; the daemon reads `*.toml` only.
    fd, path = tempfile.mkstemp(prefix=".", suffix=".new", dir=_folder())
    with open(fd, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(fd)
    return path


def unknown(name: str) -> CtlError:
    """What to say when there is no server of that name, with the nearest one."""
    near = difflib.get_close_matches(name, names(), n=1)
    hint = f"did you mean {near[0]!r}?" if near else "'mcpctl list' shows those there are"
    return CtlError("not-found", f"there is no server {name!r}; {hint}")


@contextlib.contextmanager
def _translated(verb: str, path: str) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        kind = "denied" if isinstance(exc, PermissionError) else "bad-request"
        raise CtlError(kind, f"cannot {verb} {path}: {exc.strerror or exc}") from exc
