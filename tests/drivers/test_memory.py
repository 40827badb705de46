"""`mcpctld.drivers.memory`: big buffers, and what is loaded for good, are not paid for again and again."""

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
from mcpctld.drivers.memory import keep_big_buffers
if sys.argv[1] == "kept":
    keep_big_buffers()
source = b"x" * 1_000_000
def carry():
    return [source + b"y" for _ in range(3)]
carry()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(100):
    carry()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    argv = [sys.executable, "-c", FAULTS, how]
    return int(subprocess.run(argv, capture_output=True, check=True, timeout=30).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc only")
def test_big_buffers_are_kept_from_one_message_to_the_next():
    assert faults("kept") < 2000 < 20_000 < faults("given back")


COLLECTED = """
import gc
from mcpctld.drivers.memory import collect_less
loaded = len(gc.get_objects())
collect_less()
looked_through = len(gc.get_objects())
class Loop:
    def __init__(self):
        self.itself = self
    def __del__(self):
        freed.append(1)
freed = []
for _ in range(20_000):
    Loop()
print(loaded, looked_through, len(freed))
"""


def test_what_is_loaded_is_not_looked_through_for_garbage_again_and_new_garbage_still_is():
    argv = [sys.executable, "-c", COLLECTED]
    said = subprocess.run(argv, capture_output=True, check=True, timeout=30).stdout
    loaded, looked_through, freed = map(int, said.split())
    assert looked_through < loaded / 10
    assert freed > 10_000
