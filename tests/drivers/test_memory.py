"""`mcpctld.drivers.memory`: big buffers are not paid for again and again."""

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
