"""What the C library does with memory that we free, and how often Python looks for garbage."""

import gc

LARGEST_KEPT = 4 * 1024 * 1024
YOUNG = 5000
"""So many objects more than were freed, and Python looks for cycles among them."""


def keep_big_buffers() -> None:
    """Keep the memory of freed messages for the next ones, up to twice `LARGEST_KEPT`; to be called once, early.

    A message of a megabyte lives in a handful of buffers for a millisecond. glibc would take each from the kernel and
    give it back, and new pages cost more than all else that is done with it: half of our time. Its thresholds rise
    when a block that came from the kernel is freed (mallopt(3), M_MMAP_THRESHOLD, "dynamic"), so one is: its pages are
    never touched. Other C libraries are not affected.
    """
    bytes(LARGEST_KEPT)


def collect_less() -> None:
    """Look for cycles less often, and never among what is loaded now: to be called once, when most of that is.

    A message leaves no cycles behind, a session some hundred objects, and the thousands that it lives on are none: with
    Python's 700 they were looked through several times in each session's beginning.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG)
