"""What keeps a file from being changed; nothing was changed then."""

import errno

from mcpctl.errors import CtlError


class CannotChange(CtlError):
    """The file cannot be changed: why, and what to do."""

    def __init__(self, path: str, why: str, kind: str = "bad-request") -> None:
        super().__init__(kind, f"cannot change {path}: {why}")
        self.path = path


_ADVICE = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "your quota is used up",
    errno.EFBIG: "it would be larger than this process may write",
    errno.EROFS: "it is on a file system that cannot be written",
    errno.EBUSY: "it is mounted by itself, as into a container; change it where it comes from",
    errno.ELOOP: "its symbolic links lead in a circle",
}


def translated(path: str, exc: OSError) -> CannotChange:
    """An error of the system, in words."""
    kind = "denied" if isinstance(exc, PermissionError) else "bad-request"
    why = _ADVICE.get(exc.errno or 0, exc.strerror or str(exc))
    return CannotChange(path, f"{why}; nothing was changed", kind)
