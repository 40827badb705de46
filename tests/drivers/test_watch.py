"""The watcher sees what editors do, and outlives what may happen to its folder."""

import os
import shutil
from functools import partial

import pytest
import trio
import trio.testing

from mcpctld.config.store import ServerStore
from mcpctld.drivers import watch
from mcpctld.drivers.watch import watch_folder

GOOD = 'url = "https://mcp.example/mcp"\n'


@pytest.fixture(autouse=True)
def brisk(monkeypatch):
    """The same watcher, ten times as fast."""
    monkeypatch.setattr(watch, "_STEP_MS", 50)
    monkeypatch.setattr(watch, "_LOOK_MS", 200)
    monkeypatch.setattr(watch, "_RETRY_S", (0.05, 0.1))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "config" / "servers").mkdir(parents=True)
    return tmp_path / "config"


class Notified:
    """Counts notifications; `wait` awaits the end of the next one, within bounds."""

    def __init__(self, action=trio.lowlevel.checkpoint):
        self._action = action
        self.count = 0
        self._send, self._receive = trio.open_memory_channel(100)

    async def __call__(self):
        self.count += 1
        try:
            await self._action()
        finally:
            self._send.send_nowait(None)

    async def wait(self):
        with trio.fail_after(10):
            await self._receive.receive()

    async def wait_until(self, condition):
        with trio.fail_after(10):
            while not condition():
                await self._receive.receive()


async def test_a_new_a_changed_and_a_deleted_file_are_seen(folder, nursery):
    notified = Notified()
    await nursery.start(watch_folder, folder, notified)
    path = folder / "servers" / "a.toml"
    for act in (partial(path.write_text, GOOD), partial(path.write_text, "x"), path.unlink):
        act()
        await notified.wait()
    (folder / "config.toml").write_text("max_sessions = 1\n")
    await notified.wait()


async def test_a_file_renamed_into_place_is_seen(folder, nursery):
    notified = Notified()
    path = folder / "servers" / "a.toml"
    path.write_text(GOOD)
    await nursery.start(watch_folder, folder, notified)
    temporary = folder / "servers" / ".a.toml.tmp"
    temporary.write_text("new")
    temporary.rename(path)
    await notified.wait()


async def test_a_burst_is_one_notification_or_two(folder, nursery):
    notified = Notified()
    await nursery.start(watch_folder, folder, notified)
    for number in range(100):
        (folder / "servers" / f"s{number}.toml").write_text(GOOD)
    store = ServerStore(str(folder))
    while len(store.servers) < 100:
        await notified.wait()
        await store.reload()
    assert notified.count <= 3


async def test_a_half_written_file_heals_with_the_next_write(folder, nursery):
    store = ServerStore(str(folder))

    async def reload():
        await store.reload()

    notified = Notified(reload)
    await nursery.start(watch_folder, folder, notified)
    path = folder / "servers" / "a.toml"
    path.write_text('url = "https:')
    await notified.wait_until(lambda: store.errors)
    assert store.servers == {}
    path.write_text(GOOD)
    await notified.wait_until(lambda: not store.errors)
    assert list(store.servers) == ["a"]


async def test_a_folder_that_comes_later_is_seen(tmp_path, nursery):
    notified = Notified()
    await nursery.start(watch_folder, tmp_path / "later", notified)
    (tmp_path / "later" / "servers").mkdir(parents=True)
    (tmp_path / "later" / "servers" / "a.toml").write_text(GOOD)
    await notified.wait()


async def test_a_folder_deleted_and_made_anew_is_seen_each_time(folder, nursery):
    store = ServerStore(str(folder))

    async def reload():
        await store.reload()

    notified = Notified(reload)
    await nursery.start(watch_folder, folder, notified)
    for name in ("a", "b"):
        (folder / "servers").mkdir(parents=True, exist_ok=True)
        (folder / "servers" / f"{name}.toml").write_text(GOOD)
        await notified.wait_until(lambda name=name: list(store.servers) == [name])
        shutil.rmtree(folder)
        await notified.wait_until(lambda: not store.servers)


async def test_a_folder_replaced_by_another_is_seen_and_then_watched(folder, tmp_path, nursery):
    store = ServerStore(str(folder))

    async def reload():
        await store.reload()

    notified = Notified(reload)
    await nursery.start(watch_folder, folder, notified)
    (tmp_path / "other" / "servers").mkdir(parents=True)
    (tmp_path / "other" / "servers" / "a.toml").write_text(GOOD)
    folder.rename(tmp_path / "old")
    (tmp_path / "other").rename(folder)
    await notified.wait_until(lambda: list(store.servers) == ["a"])
    (folder / "servers" / "b.toml").write_text(GOOD)
    await notified.wait_until(lambda: list(store.servers) == ["a", "b"])


async def test_the_target_of_a_link_is_seen(folder, tmp_path, nursery):
    target = tmp_path / "target"
    target.write_text(GOOD)
    (folder / "servers" / "a.toml").symlink_to(target)
    notified = Notified()
    await nursery.start(watch_folder, folder, notified)
    target.write_text(GOOD * 2)
    await notified.wait()


async def test_a_failing_notify_is_logged_and_called_again(folder, nursery, caplog):
    async def fail():
        raise ValueError("a bug")

    notified = Notified(fail)
    await nursery.start(watch_folder, folder, notified)
    for text in ("a = 1", "b = 2"):
        (folder / "config.toml").write_text(text)
        await notified.wait()
    assert "watch.reload_failed" in caplog.text
    assert "ValueError: a bug" in caplog.text


async def test_files_that_are_not_ours_notify_nobody(folder):
    notified = Notified()
    seen = watch._Watch(str(folder), notified)
    await seen.arm()
    for name in ("mcpctld.log", "secrets.json", "a.toml~"):
        (folder / name).write_text("x")
    await seen.look(sure=watch._concerns_us({(1, str(folder / "mcpctld.log"))}))
    assert notified.count == 0
    await seen.look(sure=watch._concerns_us({(1, str(folder / "a.toml"))}))
    assert notified.count == 1


async def test_a_watcher_that_cannot_be_had_is_told_once_and_looking_goes_on(
    folder, nursery, monkeypatch, caplog
):
    monkeypatch.setattr(watch, "_arm", lambda _: OSError(28, "no inotify watches left"))
    notified = Notified()
    await nursery.start(watch_folder, folder, notified)
    for number in range(3):
        (folder / "config.toml").write_text(f"max_sessions = {number}")
        await notified.wait()
    told = [record.error for record in caplog.records if record.message == "watch.failed"]
    assert told == ["[Errno 28] no inotify watches left"]


async def test_a_watcher_that_breaks_is_replaced(folder, nursery, monkeypatch, caplog):
    class Broken:
        def watch(self, *_):
            raise OSError(5, "broken")

    real, made = watch._arm, []

    def arm(root):
        made.append(Broken() if not made else real(root))
        return made[-1]

    monkeypatch.setattr(watch, "_arm", arm)
    notified = Notified()
    await nursery.start(watch_folder, folder, notified)
    with trio.fail_after(10):
        while len(made) < 2:
            await trio.lowlevel.checkpoint()
    (folder / "config.toml").write_text("x = 1")
    await notified.wait()
    assert "watch.failed" in caplog.text


@pytest.mark.parametrize("absent", [False, True])
async def test_cancelling_ends_it_at_once(folder, monkeypatch, absent):
    monkeypatch.setattr(watch, "_STEP_MS", 2000)
    monkeypatch.setattr(watch, "_LOOK_MS", 5000)
    path = folder / "absent" if absent else folder
    async with trio.open_nursery() as nursery:
        await nursery.start(watch_folder, path, Notified())
        await trio.testing.wait_all_tasks_blocked(0.05)
        start = trio.current_time()
        nursery.cancel_scope.cancel()
    assert trio.current_time() - start < 1


async def test_being_cancelled_inside_notify_is_not_swallowed(folder):
    inside = trio.Event()

    async def notify():
        inside.set()
        await trio.sleep_forever()

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            await nursery.start(watch_folder, folder, notify)
            (folder / "config.toml").write_text("x = 1")
            await inside.wait()
            nursery.cancel_scope.cancel()


def test_a_folder_that_cannot_be_listed_has_no_files(folder):
    (folder / "config.toml").symlink_to(folder / "nothing")
    view = watch._view(str(folder))
    assert view.files == {(str(folder / "config.toml"), 0, 0, 0, 0)}
    assert watch._marks(str(folder / "gone")) == []
    assert watch._view(os.devnull).identity is None
