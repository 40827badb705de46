"""`mcpctl.storing`: a file is the old one or the new one, keeps what it had, and is left alone where it must be."""

import os
import resource
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mcpctl.editing import document
from mcpctl.storing import changing, locks, replacement, snapshot
from mcpctl.storing.changing import change_file, delete_file, plan_change
from mcpctl.storing.problems import CannotChange

FIELDS = {"command": "/p", "args": ["attach", "new"]}
BEFORE = b'{"mcpServers": {"a": {"command": "x"}}, "n": 9007199254740993}'
AFTER = document.merge(BEFORE, "json", ("mcpServers", "new"), FIELDS)


@pytest.fixture
def file(places):
    made = places / "client.json"
    made.write_bytes(BEFORE)
    return made


def edit(data):
    return document.merge(data, "json", ("mcpServers", "new"), FIELDS)


def leftovers(folder):
    return [name for name in os.listdir(folder) if replacement.MARK in name or "lock" in name]


def mark(file):
    """Give a file an extended attribute; False where it can have none."""
    try:
        os.setxattr(file, "user.mine", b"1")
    except (AttributeError, OSError):
        return False
    return True


def test_a_file_is_changed_and_keeps_its_mode_and_attributes(file):
    file.chmod(0o640)
    marked = mark(file)
    change = change_file(str(file), edit)
    assert (change.before, change.after, change.is_made) == (BEFORE, AFTER, True)
    assert file.read_bytes() == AFTER
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert not marked or os.getxattr(file, "user.mine") == b"1"
    assert leftovers(file.parent) == []


def test_the_group_of_a_file_stays(file):
    if os.geteuid() != 0:
        pytest.skip("only root can give a folder to another user")
    os.chown(file, -1, 12345)
    change_file(str(file), edit)
    assert file.stat().st_gid == 12345


def test_a_new_file_and_its_folders_are_private(places):
    path = places / "a" / "b" / "new.json"
    assert change_file(str(path), edit).before is None
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert leftovers(path.parent) == []


def test_an_edit_that_changes_nothing_writes_nothing(file):
    change_file(str(file), edit)
    before = file.stat()
    assert not change_file(str(file), edit).is_made
    assert file.stat() == before


def test_a_plan_writes_nothing(file):
    before = file.stat()
    assert plan_change(str(file), edit).after == AFTER
    assert file.stat() == before


def test_links_stay_and_what_they_lead_to_is_changed(file, places):
    (places / "far").mkdir()
    os.rename(file, places / "far" / "real.json")
    file.symlink_to("far/link.json")
    (places / "far" / "link.json").symlink_to("real.json")
    change_file(str(file), edit)
    assert file.is_symlink()
    assert (places / "far" / "link.json").is_symlink()
    assert (places / "far" / "real.json").read_bytes() == AFTER
    assert leftovers(places) == leftovers(places / "far") == []


def test_without_a_way_to_swap_a_file_is_replaced_all_the_same(file, monkeypatch):
    monkeypatch.setattr(replacement, "exchange", lambda one, other: False)
    assert change_file(str(file), edit).is_made
    assert file.read_bytes() == AFTER
    assert leftovers(file.parent) == []


# ---------------------------------------------------------------- what is left alone


def read_only(file):
    file.chmod(0o444)


def closed(file):
    file.chmod(0)


def dangling(file):
    file.unlink()
    file.symlink_to("nowhere/x.json")


def looping(file):
    file.unlink()
    file.symlink_to("other.json")
    file.with_name("other.json").symlink_to(file.name)


def folder(file):
    file.unlink()
    file.mkdir()


def fifo(file):
    file.unlink()
    os.mkfifo(file)


def huge(file):
    with file.open("r+b") as opened:
        opened.truncate(200 * 1024 * 1024)


def linked(file):
    os.link(file, file.with_name("other.json"))


def broken(file):
    file.write_bytes(BEFORE[:-2])


def not_text(file):
    file.write_bytes(b'{"a": "\xff"}')


def a_list(file):
    file.write_bytes(b'{"mcpServers": []}')


@pytest.mark.parametrize(
    ("spoil", "kind", "why"),
    [
        (read_only, "denied", "it is read-only"),
        (closed, "denied", "chmod u\\+rw"),
        (dangling, "bad-request", "link to nothing"),
        (looping, "bad-request", "in a circle"),
        (folder, "bad-request", "it is a folder"),
        (fifo, "bad-request", "not a regular file"),
        (huge, "bad-request", "larger than 64 MiB"),
        (linked, "bad-request", "2 names"),
        (broken, "bad-request", "line 1, column .*repair it first"),
        (not_text, "bad-request", "not UTF-8"),
        (a_list, "bad-request", "mcpServers is a list"),
    ],
)
def test_what_cannot_be_changed_safely_is_left_alone(file, spoil, kind, why, monkeypatch):
    monkeypatch.setattr(changing, "PATIENCE_S", ())
    spoil(file)
    before = os.lstat(file), sorted(os.listdir(file.parent))
    with pytest.raises(CannotChange, match=why) as caught:
        change_file(str(file), edit)
    assert caught.value.kind == kind
    assert str(file) in str(caught.value)
    after = os.lstat(file), sorted(os.listdir(file.parent))
    assert [getattr(before[0], n) for n in ("st_ino", "st_size", "st_mode", "st_mtime_ns")] == [
        getattr(after[0], n) for n in ("st_ino", "st_size", "st_mode", "st_mtime_ns")
    ]
    assert before[1] == after[1]


def test_a_file_of_another_user_is_left_alone(file):
    if os.geteuid() != 0:
        pytest.skip("only root can give a folder to another user")
    os.chown(file, 12345, -1)
    with pytest.raises(CannotChange, match="belongs to user 12345"):
        change_file(str(file), edit)
    assert file.read_bytes() == BEFORE


def run_limited(file, code):
    """Run Python that changes the file, in a process of its own."""
    code = f"import sys; sys.path[:0] = {sys.path!r}\nFILE = {str(file)!r}\n" + code
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


CHANGE = """
from mcpctl.editing import document
from mcpctl.storing.changing import change_file
FIELDS = {"command": "/p", "args": ["attach", "new"]}
edit = lambda data: document.merge(data, "json", ("mcpServers", "new"), FIELDS)
"""


def test_a_disk_that_is_full_leaves_the_file_as_it_is(file):
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({len(BEFORE)},) * 2)\n"
    code = CHANGE + limit + "try: change_file(FILE, edit)\nexcept Exception as exc: print(exc)"
    done = run_limited(file, code)
    assert "larger than this process may write; nothing was changed" in done.stdout, done
    assert file.read_bytes() == BEFORE
    assert leftovers(file.parent) == []
    assert resource.getrlimit(resource.RLIMIT_FSIZE) != (len(BEFORE), len(BEFORE))


@pytest.mark.parametrize("name", ["write", "fsync", "link", "open"])
@pytest.mark.parametrize("code", [28, 30, 5, 1])
def test_any_error_of_the_system_is_told_and_changes_nothing(file, monkeypatch, name, code):
    real = getattr(os, name)

    def failing(first, *rest, **named):
        if name == "open" and replacement.MARK not in str(first):
            return real(first, *rest, **named)
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(replacement, "exchange", lambda one, other: False)
    monkeypatch.setattr(os, name, failing)
    with pytest.raises(CannotChange, match="nothing was changed"):
        change_file(str(file), edit)
    monkeypatch.undo()
    assert file.read_bytes() == BEFORE
    assert leftovers(file.parent) == []


# ---------------------------------------------------------------- killed at each step

KILLED = (
    CHANGE
    + """
import os, signal
from mcpctl.storing import replacement
step = 0
def counted(function):
    def call(*args, **named):
        global step
        step += 1
        if step == AT:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **named)
    return call
for name in ("open", "write", "fchmod", "fsync", "close", "link", "unlink", "replace", "readlink"):
    setattr(os, name, counted(getattr(os, name)))
replacement.exchange = counted(replacement.exchange if SWAP else lambda one, other: False)
change_file(FILE, edit)
print("done", step)
"""
)


@pytest.mark.slow
@pytest.mark.parametrize("swap", [True, False])
@pytest.mark.parametrize("new", [False, True])
def test_killed_at_any_step_the_file_is_the_old_or_the_new_one(places, swap, new):
    seen, at = set(), 0
    while True:
        at += 1
        file = places / f"{swap}{new}{at}" / "client.json"
        file.parent.mkdir()
        if not new:
            file.write_bytes(BEFORE)
        done = run_limited(file, f"AT = {at}\nSWAP = {swap}\n" + KILLED)
        found = file.read_bytes() if file.exists() else None
        seen.add(found)
        whole = edit(b"") if new else AFTER
        assert found in (None if new else BEFORE, whole)
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done
    assert at > 10
    assert seen == {None if new else BEFORE, whole}


# ---------------------------------------------------------------- others that write


def meddler(monkeypatch, module, name, act, times=1):
    """Do something just before a function is called, some times."""
    real, left = getattr(module, name), [times]

    def call(*args, **named):
        if left[0]:
            left[0] -= 1
            act()
        return real(*args, **named)

    monkeypatch.setattr(module, name, call)


def in_place(file, data):
    return lambda: file.write_bytes(data)


def by_rename(file, data):
    def act():
        other = file.with_name("theirs")
        other.write_bytes(data)
        os.replace(other, file)

    return act


THEIRS = BEFORE.replace(b'"n": 9', b'"n": 8')
BOTH = AFTER.replace(b'"n": 9', b'"n": 8')


@pytest.mark.parametrize("how", [in_place, by_rename])
@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize(
    ("module", "name"),
    [
        (replacement, "_written"),
        (replacement, "exchange"),
        (replacement, "sync_folder"),
        (changing, "_is_whole"),
        (changing.time, "sleep"),
    ],
)
def test_who_writes_at_the_same_time_loses_nothing_and_neither_do_we(
    file, monkeypatch, how, times, module, name
):
    meddler(monkeypatch, module, name, how(file, THEIRS), times)
    change_file(str(file), edit)
    assert file.read_bytes() == BOTH
    assert leftovers(file.parent) == []


def test_a_late_write_into_the_displaced_file_is_found(file, monkeypatch):
    opened = file.open("r+b", buffering=0)  # like a program that has it open all the time

    def late():
        opened.seek(0)
        opened.write(THEIRS)

    meddler(monkeypatch, changing.time, "sleep", late)
    with opened:
        change_file(str(file), edit)
    assert file.read_bytes() == BOTH


def test_who_never_stops_is_told_about(file, monkeypatch):
    numbers = iter(range(1000))
    real = replacement.read

    def write_then_read(path):
        if path == str(file):
            file.write_bytes(THEIRS.replace(b": 8", b": 1%d" % next(numbers)))
        return real(path)

    monkeypatch.setattr(replacement, "read", write_then_read)
    with pytest.raises(CannotChange, match="keeps writing it") as caught:
        change_file(str(file), edit)
    assert caught.value.kind == "conflict"
    assert b"new" not in file.read_bytes()
    assert leftovers(file.parent) == []


def test_a_file_that_is_being_written_is_waited_for(file, monkeypatch):
    halves = [b"", BEFORE[:20], BEFORE]
    file.write_bytes(halves.pop(0))
    monkeypatch.setattr(
        changing.time, "sleep", lambda _: halves and file.write_bytes(halves.pop(0))
    )
    change_file(str(file), edit)
    assert file.read_bytes() == AFTER


def test_a_file_of_ours_is_deleted_unless_it_was_written_since(file):
    assert not delete_file(str(file), AFTER)
    assert delete_file(str(file), BEFORE)
    assert not file.exists()


# ---------------------------------------------------------------- locks


def test_the_lock_folder_of_a_client_is_held_and_never_empty(file):
    lock = Path(f"{file}.lock")
    seen = []

    def look_at_lock(data):
        seen.append(os.listdir(lock))
        return edit(data)

    change_file(str(file), look_at_lock, locks=True)
    assert seen
    assert all(len(names) == 1 and names[0].startswith("owner.") for names in seen)
    assert not lock.exists()


@pytest.mark.parametrize("filled", [True, False])
def test_a_lock_of_a_client_is_waited_for_and_a_dead_ones_taken(file, monkeypatch, filled):
    lock = Path(f"{file}.lock")
    lock.mkdir()
    if filled:
        (lock / "owner.1").write_text("1")
    monkeypatch.setattr(locks, "WAIT_S", 0.05)
    with pytest.raises(CannotChange, match="its client is writing it") as caught:
        change_file(str(file), edit, locks=True)
    assert caught.value.kind == "conflict"
    assert file.read_bytes() == BEFORE
    assert sorted(os.listdir(file.parent)) == ["client.json", "client.json.lock"]
    os.utime(lock, (0, 0))
    change_file(str(file), edit, locks=True)
    assert file.read_bytes() == AFTER
    assert os.listdir(file.parent) == ["client.json"]


def test_two_of_our_commands_take_turns(file, monkeypatch):
    monkeypatch.setattr(locks, "WAIT_S", 0.05)
    with locks.our_lock(), pytest.raises(CannotChange, match="another mcpctl"):
        change_file(str(file), edit)
    monkeypatch.setattr(locks, "WAIT_S", 10)

    def add(name):
        change_file(
            str(file), lambda data: document.merge(data, "json", ("mcpServers", name), FIELDS)
        )

    threads = [threading.Thread(target=add, args=(f"n{number}",)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = document.entries(document.meaning(file.read_bytes(), "json"), ("mcpServers",))
    assert found.keys() == {"a", *(f"n{number}" for number in range(5))}


def test_what_was_seen_shows_no_contents(file):
    assert "mcpServers" not in repr(snapshot.look(str(file)))
    assert "mcpServers" not in repr(plan_change(str(file), edit))
