"""Which file systems tell nobody what happens on them: those that others write too, and that we only see through."""

from collections.abc import Iterable

_SILENT = ("9p", "drvfs", "nfs", "nfs4", "cifs", "smb3", "smbfs", "vboxsf", "prl_fs", "virtiofs")
"""By their names in proc(5). WSL's view of Windows is `9p` or `drvfs`; every `fuse.*` belongs to them."""


def are_silent(folders: Iterable[str], table: str = "/proc/self/mounts") -> bool:
    """Whether any of the folders is on such a file system. Where there is no table (macOS), none is."""
    try:
        with open(table, encoding="utf-8", errors="replace") as file:
            kinds = mounted(file.read())
    except OSError:
        return False
    return any(_is_silent(kind_of(folder, kinds)) for folder in folders)


def mounted(table: str) -> dict[str, str]:
    """The kind of the file system at each mount point; of several, the last one counts."""
    rows = [line.split(" ") for line in table.splitlines()]
    return {_unescaped(row[1]): row[2] for row in rows if len(row) > 2}


def kind_of(folder: str, kinds: dict[str, str]) -> str:
    """The kind of the file system that a folder is on; empty when that is not known."""
    here = folder.rstrip("/")
    while here:
        if here in kinds:
            return kinds[here]
        here = here.rpartition("/")[0]
    return kinds.get("/", "")


def _is_silent(kind: str) -> bool:
    return kind in _SILENT or kind.startswith("fuse")


def _unescaped(text: str) -> str:
    """A field of the table: spaces and the like are written in octal (fstab(5))."""
    for code in (" ", "\t", "\n"):
        text = text.replace(f"\\{ord(code):03o}", code)
    return text.replace("\\134", "\\")
