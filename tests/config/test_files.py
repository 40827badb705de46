"""Files written whole or not at all."""

import contextlib
import os
import resource

import pytest

from mcpctld.config.files import read_regular, write_private
from mcpctld.config.places import check_name, make_private_folder
from mcpctld.errors import Denied, UserError


@contextlib.contextmanager
def no_space():
    """Let no file grow beyond 4 KiB: writes fail as on a full disk, half way through.

    Only around the write itself: the limit holds for pytest's own output too, where that is a file.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def umask():
    old = os.umask(0)
    yield os.umask
    os.umask(old)


@pytest.mark.parametrize("mask", [0, 0o022, 0o777])
def test_a_private_file_is_0600_whatever_the_umask(tmp_path, umask, mask):
    umask(mask)
    write_private(str(tmp_path / "file"), b"one")
    write_private(str(tmp_path / "file"), b"two")
    found = read_regular(str(tmp_path / "file"))
    assert (found.data, found.mode, found.uid) == (b"two", 0o600, os.getuid())
    assert os.listdir(tmp_path) == ["file"]


def test_a_full_disk_is_told_and_leaves_the_old_file(tmp_path):
    path = str(tmp_path / "file")
    write_private(path, b"old")
    with no_space(), pytest.raises(UserError, match=r"cannot write .*; nothing was changed"):
        write_private(path, b"x" * 10_000)
    assert read_regular(path).data == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_what_a_killed_writer_left_behind_is_not_in_the_way(tmp_path):
    (tmp_path / ".file.new").symlink_to(tmp_path / "victim")
    write_private(str(tmp_path / "file"), b"data")
    assert os.listdir(tmp_path) == ["file"]


def test_a_file_that_is_absent_is_none_and_a_link_is_refused_on_request(tmp_path):
    assert read_regular(str(tmp_path / "none")) is None
    (tmp_path / "target").write_bytes(b"x")
    (tmp_path / "link").symlink_to("target")
    assert read_regular(str(tmp_path / "link")).data == b"x"
    with pytest.raises(UserError, match="cannot be opened"):
        read_regular(str(tmp_path / "link"), follow=False)


def test_a_private_folder_is_made_with_0700_and_an_existing_one_is_kept(tmp_path, umask):
    path = tmp_path / "a" / "b"
    make_private_folder(str(path))
    assert path.stat().st_mode & 0o777 == 0o700
    path.chmod(0o750)
    make_private_folder(str(path))
    assert path.stat().st_mode & 0o777 == 0o750


def test_a_folder_that_cannot_be_made_or_is_not_ours_is_refused(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot make the folder"):
        make_private_folder(str(tmp_path / "file" / "folder"))
    owner = tmp_path.stat().st_uid
    monkeypatch.setattr(os, "getuid", lambda: owner + 1)
    with pytest.raises(Denied, match=f"belongs to user {owner}, not to you"):
        make_private_folder(str(tmp_path))


def test_a_name_is_checked_whole():
    assert check_name("slack-2.x", "server") == "slack-2.x"
    for name in ("", "../x", "a/b", "a\n", "a" * 65):
        with pytest.raises(UserError, match="as the name of a server"):
            check_name(name, "server")
