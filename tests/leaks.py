"""What a test must not leave behind."""

import os


def open_fds() -> set[str]:
    """The descriptors of this process, without the one that looking takes."""
    listed = os.listdir("/proc/self/fd")
    return {fd for fd in listed if os.path.lexists(f"/proc/self/fd/{fd}")}
