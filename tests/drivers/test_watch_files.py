"""Files that lie anywhere are watched by name: whatever becomes of them and of the folders and links on the way."""

import os
import shutil
from functools import partial

import pytest
import trio
import trio.testing

from harness import until
from mcpctld.drivers import mounts, watch_files

BOUND_S = 30.0


@pytest.fixture
def home(tmp_path):
    (tmp_path / "a").mkdir()
    return tmp_path


class Notified:
    """What was told since the last `wait`."""

    def __init__(self):
        self.paths = set()
        self._told = trio.Event()

    async def __call__(self, paths):
        self.paths |= set(paths)
        self._told.set()
        await trio.lowlevel.checkpoint()

    async def wait(self, *paths):
        with trio.fail_after(BOUND_S):
            while not set(map(str, paths)) <= self.paths:
                await self._told.wait()
                self._told = trio.Event()
        self.paths = set()


async def start(nursery, *paths):
    """A watcher that has looked once: what happens from now on is told."""
    notified = Notified()
    nursery.start_soon(watch_files.watch_files, lambda: map(str, paths), notified)
    await notified.wait(*paths)
    return notified


async def test_a_file_may_be_written_replaced_touched_and_deleted(home, nursery):
    file = home / "a" / "f.json"
    notified = await start(nursery, file)

    def replace():
        (home / "a" / "new").write_text("3")
        (home / "a" / "new").rename(file)

    for act in (
        partial(file.write_text, "1"), partial(file.write_text, "2"), replace, partial(file.chmod, 0o600), file.unlink
    ):  # fmt: skip
        act()
        await notified.wait(file)


async def test_what_lies_beside_it_is_nobodys_business(home, nursery):
    file, other = home / "a" / "f.json", home / "a" / "g.json"
    notified = await start(nursery, file)
    other.write_text("1")
    await trio.sleep(4 * watch_files._STEP_MS / 1000)
    file.write_text("1")
    await notified.wait(file)
    assert notified.paths == set()


async def test_folders_come_go_and_are_replaced(home, nursery):
    file = home / "b" / "c" / "f.json"
    notified = await start(nursery, file)
    file.parent.mkdir(parents=True)
    file.write_text("1")
    await notified.wait(file)
    shutil.rmtree(home / "b")
    await notified.wait(file)
    file.parent.mkdir(parents=True)
    file.write_text("2")
    await notified.wait(file)
    (home / "b").rename(home / "old")
    await notified.wait(file)
    (home / "fresh" / "c").mkdir(parents=True)
    (home / "fresh" / "c" / "f.json").write_text("3")
    (home / "fresh").rename(home / "b")
    await notified.wait(file)
    file.write_text("4")
    await notified.wait(file)


async def test_links_are_followed_to_where_they_lead(home, nursery):
    (home / "far").mkdir()
    target, link = home / "far" / "real.json", home / "a" / "f.json"
    target.write_text("1")
    (home / "middle").symlink_to("far/real.json")
    link.symlink_to("../middle")
    notified = await start(nursery, link)
    target.write_text("22")
    await notified.wait(link)
    (home / "far" / "new").write_text("333")
    (home / "far" / "new").rename(target)
    await notified.wait(link)
    (home / "other.json").write_text("4444")
    (home / "swap").symlink_to("other.json")
    (home / "swap").rename(home / "middle")
    await notified.wait(link)
    (home / "other.json").write_text("55555")
    await notified.wait(link)


async def test_links_that_lead_in_a_circle_are_watched_until_they_do_not(home, nursery):
    file = home / "a" / "f.json"
    file.symlink_to("f.json")
    notified = await start(nursery, file)
    file.unlink()
    file.write_text("1")
    await notified.wait(file)


async def test_what_is_wanted_may_change(home, nursery, monkeypatch):
    monkeypatch.setattr(watch_files, "_LOOK_MS", 100)
    one, two = home / "a" / "1", home / "b" / "2"
    wanted, notified = [str(one)], Notified()
    nursery.start_soon(watch_files.watch_files, lambda: wanted, notified)
    await notified.wait(one)
    wanted[:] = [str(two)]
    await notified.wait(two)
    two.parent.mkdir()
    two.write_text("1")
    await notified.wait(two)


async def test_nothing_need_be_wanted(nursery, monkeypatch):
    monkeypatch.setattr(watch_files, "_POLL_S", 0.05)
    wanted, notified = [], Notified()
    nursery.start_soon(watch_files.watch_files, lambda: wanted, notified)
    await trio.sleep(0.1)
    wanted.append("/nowhere/f")
    await notified.wait("/nowhere/f")


class Deaf:
    """A watcher to which nothing is told."""

    def __init__(self, answer):
        self._answer = answer

    def watch(self, debounce_ms, step_ms, timeout_ms, stop):
        stop.wait(timeout_ms / 1000)
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


@pytest.mark.parametrize(
    "watcher", [None, Deaf("timeout"), Deaf(OSError("no more watches")), Deaf(RuntimeError("bug"))]
)
async def test_without_events_it_is_looked_every_second(home, nursery, monkeypatch, watcher):
    monkeypatch.setattr(watch_files, "_POLL_S", 0.05)
    monkeypatch.setattr(mounts, "are_silent", lambda folders: True)
    monkeypatch.setattr(watch_files, "_arm", lambda folders: watcher)
    file = home / "a" / "f.json"
    notified = await start(nursery, file)
    for text in ("1", "22", "333"):
        file.write_text(text)
        await notified.wait(file)


def test_nothing_is_listened_to_where_there_is_nothing():
    assert watch_files._arm([]) is None


async def test_its_thread_ends_with_it(home, monkeypatch):
    waits, ended = watch_files._wait, []

    def wait(*arguments):
        try:
            return waits(*arguments)
        finally:
            ended.append(arguments)

    monkeypatch.setattr(watch_files, "_wait", wait)
    async with trio.open_nursery() as nursery:
        await start(nursery, home / "a" / "f.json")
        await trio.testing.wait_all_tasks_blocked(0.05)
        nursery.cancel_scope.cancel()
    await until(lambda: ended, "the end of the thread")


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/", "overlay"),
        ("/home/ann", "overlay"),
        ("/mnt/c", "9p"),
        ("/mnt/c/Users/ann", "9p"),
        ("/mnt/cx", "overlay"),
        ("/srv/my data/x", "nfs4"),
        ("/back\\slash", "fuse.sshfs"),
    ],
)
def test_the_file_system_of_a_folder_is_the_nearest_mount(folder, kind):
    table = (
        "rootfs / rootfs rw 0 0\noverlay / overlay rw 0 0\nC:\\134 /mnt/c 9p rw 0 0\nbroken\n"
        "host:/x /srv/my\\040data nfs4 rw 0 0\nx /back\\134slash fuse.sshfs rw 0 0\n"
    )
    assert mounts.kind_of(folder, mounts.mounted(table)) == kind


@pytest.mark.parametrize(
    ("kind", "silent"),
    [("9p", True), ("nfs4", True), ("fuse.sshfs", True), ("ext4", False), ("overlay", False)],
)
def test_which_file_systems_are_silent(tmp_path, kind, silent):
    table = tmp_path / "mounts"
    table.write_text(f"x / {kind} rw 0 0\n")
    assert mounts.are_silent(["/home"], str(table)) is silent
    assert not mounts.are_silent([], str(table))


def test_without_a_table_no_file_system_is_silent():
    assert not mounts.are_silent([os.getcwd()], "/nowhere/mounts")
    assert mounts.kind_of("/x", {}) == ""
