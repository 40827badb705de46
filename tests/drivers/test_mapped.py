"""Memory that outlives us: zero where nothing was written, no larger than it must be, and nobody cuts it short."""

import os
import sys

import pytest

from leaks import open_fds
from mcpctld.drivers import mapped
from mcpctld.drivers.mapped import Mapped, anonymous_file
from mcpctld.errors import UserError

UNIT = 64 * 1024


def taken(fd: int) -> int:
    """Bytes of memory."""
    return os.fstat(fd).st_blocks * 512


def test_what_is_written_stands_in_the_file_behind_the_offset():
    fd = anonymous_file()
    again = os.dup(fd)
    memory = Mapped(fd, UNIT, 2 * UNIT)
    memory.raw[5:8] = b"abc"
    assert os.pread(again, 3, UNIT + 5) == b"abc"
    memory.grow(5 * UNIT)
    assert len(memory.raw) >= 5 * UNIT
    assert memory.raw[5:8] == b"abc"
    memory.view[4 * UNIT : 4 * UNIT + 1] = b"x"
    memory.close()
    once_more = Mapped(again, UNIT, UNIT)
    assert len(once_more.raw) == 5 * UNIT
    assert once_more.raw[4 * UNIT] == ord("x")
    once_more.close()


@pytest.mark.skipif(sys.platform != "linux", reason="memory files are Linux's")
def test_released_memory_is_zero_and_given_back_and_cleared_memory_is_zero():
    fd = anonymous_file()
    memory = Mapped(fd, 0, 64 * UNIT)
    memory.raw[:] = b"x" * (64 * UNIT)
    memory.release(0, 60 * UNIT)
    memory.clear(60 * UNIT + 1, 64 * UNIT)
    assert taken(fd) <= 5 * UNIT  # to look is to take
    assert memory.raw[:] == bytes(60 * UNIT) + b"x" + bytes(4 * UNIT - 1)
    memory.release(UNIT, UNIT)
    memory.close()


def test_where_no_holes_can_be_made_released_memory_is_zero_all_the_same(monkeypatch):
    monkeypatch.setattr(mapped.sys, "platform", "darwin")
    memory = Mapped(anonymous_file(), 0, 2 * UNIT)
    memory.raw[:] = b"x" * (2 * UNIT)
    memory.release(0, UNIT)
    assert memory.raw[:] == bytes(UNIT) + b"x" * UNIT
    memory.close()


@pytest.mark.skipif(sys.platform != "linux", reason="seals are Linux's")
def test_nobody_can_make_it_shorter():
    fd = anonymous_file()
    again = os.dup(fd)
    memory = Mapped(fd, 0, UNIT)
    with pytest.raises(PermissionError):
        os.ftruncate(again, 0)
    memory.close()
    os.close(again)


def test_what_is_no_file_is_refused_and_stays_open(tmp_path):
    before = open_fds()
    reading, writing = os.pipe()
    with pytest.raises(UserError, match="not a file of ours"):
        Mapped(reading, 0, UNIT)
    os.close(reading)
    os.close(writing)
    path = tmp_path / "sparse"
    path.touch()
    os.truncate(path, mapped.MAX_BYTES + UNIT)
    fd = os.open(path, os.O_RDWR)
    with pytest.raises(UserError, match="not a file of ours"):
        Mapped(fd, 0, UNIT)
    os.close(fd)
    fd = os.open(path, os.O_RDONLY)
    os.truncate(path, 1)
    with pytest.raises(UserError, match="cannot use the checkpoint"):
        Mapped(fd, 0, UNIT)
    os.close(fd)
    assert open_fds() == before


def test_a_system_without_memory_files_has_temporary_ones(monkeypatch):
    monkeypatch.delattr(mapped.os, "memfd_create", raising=False)
    memory = Mapped(anonymous_file(), 0, UNIT)
    memory.raw[0] = 7
    memory.release(0, UNIT)
    assert memory.raw[0] == 0
    memory.close()
