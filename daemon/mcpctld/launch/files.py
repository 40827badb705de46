"""Files that are put into the machine at each boot: `config.files`."""

import base64
import binascii
import posixpath
from collections.abc import Iterator, Mapping

from mcpctld.errors import UserError
from mcpctld.launch.wish import Wish

File = dict[str, object]


def files(wish: Wish, *, kept: bool = False) -> list[File]:
    """The entries for what the user wants to have in the machine, sorted by path. Raises `UserError`.

    `kept`: the values of secrets are not in the wish any more.
    """
    entries = [*_local(wish.file_local), *_literal(wish.file_literal), *_secret(wish, kept=kept)]
    paths = [str(entry["guest_path"]) for entry in entries]
    for path in paths:
        if paths.count(path) > 1:
            raise UserError(f"file {path} is given twice")
    return sorted(entries, key=lambda entry: str(entry["guest_path"]))


def _local(given: Mapping[str, str]) -> Iterator[File]:
    for path, data in given.items():
        _check(path)
        if not _is_base64(data):
            raise UserError(f"the contents of file {path} are not Base64")
        yield {"guest_path": path, "raw_value": data}


def _literal(given: Mapping[str, str]) -> Iterator[File]:
    for path, text in given.items():
        _check(path)
        yield {"guest_path": path, "raw_value": _encoded(text)}


def _secret(wish: Wish, *, kept: bool) -> Iterator[File]:
    for path, name in wish.file_secret.items():
        _check(path)
        if not kept and name not in wish.secrets:
            raise UserError(
                f"file {path} is to hold secret {name}, which is not given: --secret {name}"
            )
        if not kept and not _is_base64(wish.secrets[name]):
            raise UserError(
                f"secret {name} becomes file {path}, so its value must be in Base64: encode it with `base64`"
            )
        yield {"guest_path": path, "secret_name": name}


def _check(path: str) -> None:
    if not path.startswith("/") or posixpath.normpath(path) != path or path == "/":
        raise UserError(
            f"cannot put a file at {path!r} into the machine: its path must be absolute and plain"
        )


def _is_base64(text: str) -> bool:
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode("utf-8", "surrogateescape")).decode()
