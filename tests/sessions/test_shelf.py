"""The disk cache: private, whole or not at all, bounded, and not to be fooled."""

import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from mcpctld.protocols.mcp.caching import MAX_AGE_S
from mcpctld.sessions import shelf as shelf_module
from mcpctld.sessions.shelf import BLOCK, MAX_RECORD_BYTES, Shelf
from sessions.client import bounded, journal


@contextlib.asynccontextmanager
async def opened(folder: Path, **more: int) -> AsyncIterator[Shelf]:
    """A shelf on this state folder, as another daemon finds it."""
    async with trio.open_nursery() as nursery:
        shelf = Shelf(str(folder), nursery, **more)
        await shelf.open()
        yield shelf
        await shelf.flush()
        nursery.cancel_scope.cancel()


async def put(shelf: Shelf, label: bytes, data: bytes, **more: object) -> None:
    shelf.write(label, data, **more)  # type: ignore[arg-type]
    await shelf.flush()


def files(folder: Path) -> list[Path]:
    """The records."""
    return sorted(path for path in (folder / "cache").iterdir() if path.name != "key")


@bounded
async def test_a_record_is_found_again_by_another_daemon(tmp_path: Path):
    async with opened(tmp_path) as shelf:
        assert await shelf.read(b"label") is None
        await put(shelf, b"label", b"data")
        assert await shelf.read(b"label") == b"data"
    async with opened(tmp_path) as shelf:
        assert await shelf.read(b"label") == b"data"
        assert await shelf.read(b"other") is None


@bounded
async def test_what_was_written_is_read_at_once_and_the_newest_counts(tmp_path: Path):
    async with opened(tmp_path) as shelf:
        shelf.write(b"label", b"one")
        assert await shelf.read(b"label") == b"one"
        shelf.write(b"label", b"two")
        assert await shelf.read(b"label") == b"two"
        await shelf.flush()
        assert await shelf.read(b"label") == b"two"
    assert len(files(tmp_path)) == 1


@bounded
async def test_files_are_private_and_their_names_show_nothing(tmp_path: Path):
    old = os.umask(0)
    try:
        async with opened(tmp_path / "one") as shelf, opened(tmp_path / "two") as other:
            await put(shelf, b"server.example", b"data")
            await put(other, b"server.example", b"data")
            assert shelf.name(b"server.example") != other.name(b"server.example")
    finally:
        os.umask(old)
    (one,), (two,) = files(tmp_path / "one"), files(tmp_path / "two")
    assert one.name != two.name
    assert "server" not in one.name
    assert (tmp_path / "one" / "cache").stat().st_mode & 0o777 == 0o700
    for path in (tmp_path / "one" / "cache").iterdir():
        assert path.stat().st_mode & 0o777 == 0o600


@bounded
@pytest.mark.parametrize("damage", ["cut", "changed", "empty", "swapped", "long", "of another"])
async def test_a_file_that_is_not_what_we_wrote_is_ignored_with_a_warning(
    tmp_path: Path, damage: str
):
    async with opened(tmp_path) as shelf:
        await put(shelf, b"label", b"some data")
        await put(shelf, b"other", b"other data")
        one, other = (tmp_path / "cache" / shelf.name(name) for name in (b"label", b"other"))
    whole = one.read_bytes()
    match damage:
        case "cut":
            one.write_bytes(whole[:-1])
        case "changed":
            one.write_bytes(whole[:-1] + b"X")
        case "empty":
            one.write_bytes(b"")
        case "swapped":
            one.write_bytes(other.read_bytes())
        case "long":
            one.write_bytes(whole + b" " * MAX_RECORD_BYTES)
        case "of another":
            (tmp_path / "cache" / "key").write_bytes(b"k" * 32)
    async with opened(tmp_path) as shelf:
        one.rename(tmp_path / "cache" / shelf.name(b"label"))  # the same but for another key
    async with opened(tmp_path) as shelf:
        with journal() as log:
            assert await shelf.read(b"label") is None
        (record,) = log.of("cache.ignored")
        assert record.levelname == "WARNING"
        await put(shelf, b"label", b"new")
    async with opened(tmp_path) as shelf:
        assert await shelf.read(b"label") == b"new"


@bounded
@pytest.mark.parametrize("kind", ["fifo", "link", "folder"])
async def test_what_is_not_a_file_is_never_waited_for_or_followed(tmp_path: Path, kind: str):
    async with opened(tmp_path) as shelf:
        await put(shelf, b"label", b"data")
        path = tmp_path / "cache" / shelf.name(b"label")
        path.rename(tmp_path / "elsewhere")
        match kind:
            case "fifo":
                os.mkfifo(path)
            case "link":
                path.symlink_to(tmp_path / "elsewhere")
            case "folder":
                path.mkdir()
        with journal() as log:
            assert await shelf.read(b"label") is None
            assert log.of("cache.ignored")
            await put(shelf, b"label", b"new")
        assert (await shelf.read(b"label") == b"new") is (kind != "folder")
        assert (tmp_path / "elsewhere").read_bytes().endswith(b"data")


@bounded
async def test_the_oldest_go_when_there_are_too_many(tmp_path: Path):
    async with opened(tmp_path, max_bytes=3 * BLOCK) as shelf:
        for number in (b"1", b"2", b"3"):
            await put(shelf, number, b"data")
        await put(shelf, b"1", b"newer")
        await put(shelf, b"4", b"data")
        assert [await shelf.read(number) for number in (b"1", b"2", b"3", b"4")] == [
            b"newer", None, b"data", b"data",
        ]  # fmt: skip
        await put(shelf, b"large", b" " * 2 * BLOCK)
        assert await shelf.read(b"large") is not None
        assert len(files(tmp_path)) == 1
    async with opened(tmp_path, max_bytes=BLOCK) as shelf:
        await shelf.flush()
        assert await shelf.read(b"large") is None
        await put(shelf, b"5", b"data")
    assert len(files(tmp_path)) == 1


@bounded
async def test_the_order_outlives_the_daemon_and_the_very_old_do_not(tmp_path: Path):
    async with opened(tmp_path) as shelf:
        for number in (b"1", b"2", b"3"):
            await put(shelf, number, b"data")
        paths = [tmp_path / "cache" / shelf.name(number) for number in (b"1", b"2", b"3")]
    now = paths[0].stat().st_mtime
    os.utime(paths[0], (now, now - MAX_AGE_S - 60))
    os.utime(paths[1], (now, now - 60))
    os.utime(paths[2], (now, now - 120))
    async with opened(tmp_path, max_bytes=2 * BLOCK) as shelf:
        await put(shelf, b"4", b"data")
        found = [await shelf.read(number) for number in (b"1", b"2", b"3", b"4")]
        assert found == [None, b"data", None, b"data"]


@bounded
async def test_what_is_too_long_is_not_kept_and_nothing_waits_without_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    async with opened(tmp_path) as shelf:
        shelf.write(b"long", b" " * (MAX_RECORD_BYTES + 1))
        assert await shelf.read(b"long") is None
        monkeypatch.setattr(shelf_module, "MAX_PENDING_BYTES", 10)
        shelf.write(b"first", b"123456")
        shelf.write(b"second", b"123456")
        assert await shelf.read(b"first") == b"123456"
        assert await shelf.read(b"second") is None


@bounded
async def test_the_same_is_not_written_again_and_again(
    tmp_path: Path, instant_threads, autojump_clock
):
    async with opened(tmp_path) as shelf:
        await put(shelf, b"label", b"one", mark=b"m", lasts_s=10)
        await put(shelf, b"label", b"two", mark=b"m", lasts_s=10)
        assert await shelf.read(b"label") == b"one"
        await put(shelf, b"label", b"three", mark=b"other", lasts_s=10)
        assert await shelf.read(b"label") == b"three"
        await trio.sleep(10)
        await put(shelf, b"label", b"four", mark=b"other", lasts_s=10)
        assert await shelf.read(b"label") == b"four"
        await put(shelf, b"label", b"five")
        await put(shelf, b"label", b"six")
        assert await shelf.read(b"label") == b"six"


@bounded
async def test_a_cache_that_was_emptied_under_us_is_filled_again(tmp_path: Path):
    async with opened(tmp_path) as shelf:
        await put(shelf, b"1", b"data")
        for path in (tmp_path / "cache").iterdir():
            path.unlink()
        (tmp_path / "cache").rmdir()
        assert await shelf.read(b"1") is None
        await put(shelf, b"2", b"data")
    async with opened(tmp_path) as shelf:
        assert await shelf.read(b"2") == b"data"


@bounded
async def test_what_a_killed_daemon_left_half_written_is_removed_and_nothing_else(tmp_path: Path):
    async with opened(tmp_path) as shelf:
        await put(shelf, b"1", b"data")
        half = tmp_path / "cache" / f".{shelf.name(b'2')}.new"
    half.write_bytes(b"half")
    (tmp_path / "cache" / "notes.txt").write_text("mine")
    async with opened(tmp_path) as shelf:
        assert await shelf.read(b"1") == b"data"
    assert not half.exists()
    assert (tmp_path / "cache" / "notes.txt").read_text() == "mine"


@bounded
@pytest.mark.parametrize("state", ["readable by others", "too short", "too long", "a link"])
async def test_a_key_that_may_be_known_is_replaced(tmp_path: Path, state: str):
    async with opened(tmp_path) as shelf:
        await put(shelf, b"label", b"data")
        old = shelf.name(b"label")
    key = tmp_path / "cache" / "key"
    match state:
        case "readable by others":
            key.chmod(0o640)
        case "too short":
            key.write_bytes(b"short")
        case "too long":
            key.write_bytes(b"x" * 33)
        case "a link":
            key.rename(tmp_path / "known")
            key.symlink_to(tmp_path / "known")
    with journal() as log:
        async with opened(tmp_path) as shelf:
            assert shelf.name(b"label") != old
            assert await shelf.read(b"label") is None
            await put(shelf, b"label", b"new")
    assert log.of("cache.new_key")
    assert key.stat().st_mode & 0o777 == 0o600
    async with opened(tmp_path) as shelf:
        assert await shelf.read(b"label") == b"new"


@bounded
async def test_without_a_usable_folder_there_is_no_cache_and_names_still_work(tmp_path: Path):
    (tmp_path / "cache").write_text("in the way")
    with journal() as log:
        async with opened(tmp_path) as shelf:
            await shelf.open()
            await put(shelf, b"label", b"data")
            assert await shelf.read(b"label") is None
            assert shelf.name(b"label") == shelf.name(b"label") != shelf.name(b"other")
    assert len(log.of("cache.unusable")) == 1
    assert (tmp_path / "cache").read_text() == "in the way"


@bounded
async def test_a_disk_that_fails_is_told_of_once(tmp_path: Path):
    async with opened(tmp_path) as shelf:
        cache = tmp_path / "cache"
        for path in cache.iterdir():
            path.unlink()
        cache.rmdir()
        cache.write_text("in the way")
        with journal() as log:
            for number in (b"1", b"2", b"3"):
                await put(shelf, number, b"data")
            assert len(log.of("cache.not_written")) == 1
            cache.unlink()
            await put(shelf, b"4", b"data")
            assert await shelf.read(b"4") == b"data"
            assert await shelf.read(b"1") is None


@bounded
async def test_several_readers_open_it_once(tmp_path: Path):
    async with trio.open_nursery() as nursery:
        shelf = Shelf(str(tmp_path), nursery)
        shelf.write(b"label", b"before it is open")
        for _ in range(5):
            nursery.start_soon(shelf.read, b"label")
    assert len(list((tmp_path / "cache").iterdir())) == 1
