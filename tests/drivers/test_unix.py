"""`mcpctld.drivers.unix`: our folder, our lock, our sockets, our own user only."""

import array
import fcntl
import os
import socket
import stat
import subprocess
import sys

import pytest
import trio

from leaks import open_fds
from mcpctl import wire
from mcpctld.drivers import unix
from mcpctld.errors import Conflict, Denied, PeerError, UserError

NOBODY = 65534
FIELDS = [("server", "time"), ("cwd", "/tmp"), ("header", "A: b=c"), ("odd", "\udcff\u20ac")]

NOT_ROOT = os.geteuid() != 0


# ---------------------------------------------------------------- the folder


def test_a_missing_folder_is_made_private(tmp_path):
    path = tmp_path / "a" / "run"
    unix.private_folder(str(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    unix.private_folder(str(path))  # and is fine the next time


@pytest.mark.parametrize("mode", [0o701, 0o710, 0o740, 0o755, 0o777, 0o1777])
def test_a_folder_that_others_can_enter_is_refused(tmp_path, mode):
    path = tmp_path / "run"
    path.mkdir()
    path.chmod(mode)
    with pytest.raises(Denied, match=f"chmod 700 {path}"):
        unix.private_folder(str(path))


@pytest.mark.skipif(NOT_ROOT, reason="only root can give a folder to another user")
def test_a_folder_of_another_user_is_refused(tmp_path):
    path = tmp_path / "run"
    path.mkdir(mode=0o700)
    os.chown(path, NOBODY, NOBODY)
    with pytest.raises(Denied, match=f"belongs to user {NOBODY}.*MCPCTL_RUNTIME_DIR"):
        unix.private_folder(str(path))


def test_a_file_in_the_place_of_the_folder_is_told(tmp_path):
    path = tmp_path / "run"
    path.write_text("")
    with pytest.raises(UserError, match=f"cannot make the folder {path}: File exists"):
        unix.private_folder(str(path))
    with pytest.raises(UserError, match="Not a directory"):
        unix.private_folder(str(path / "deeper"))


# ---------------------------------------------------------------- the lock


def test_one_daemon_holds_the_lock_and_the_next_is_told_which(tmp_path):
    path = str(tmp_path / "lock")
    fd = unix.lock_file(path)
    assert not os.get_inheritable(fd)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    with pytest.raises(Conflict, match=rf"process {os.getpid()}\); .* mcpctl daemon stop"):
        unix.lock_file(path)
    os.close(fd)
    os.close(unix.lock_file(path))


def test_the_lock_of_a_process_that_was_killed_is_free(tmp_path):
    path = str(tmp_path / "lock")
    hold = (
        "import sys; from mcpctld.drivers import unix; "
        f"unix.lock_file({path!r}); print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(Conflict, match=f"process {holder.pid}"):
            unix.lock_file(path)
        holder.kill()
        holder.wait(5)
    fd = unix.lock_file(path)
    assert (
        os.pread(fd, 100, 0) == f"{os.getpid()}\n".encode()
    )  # nothing of the longer number is left
    os.close(fd)


def test_a_holder_that_has_not_said_who_it_is_is_unknown(tmp_path):
    path = tmp_path / "lock"
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(Conflict, match="process unknown"):
            unix.lock_file(str(path))


def test_a_lock_that_cannot_be_had_is_told_and_leaves_no_descriptor(tmp_path, monkeypatch):
    def no_locks(fd, how):
        raise OSError(37, "No locks available")

    (tmp_path / "link").symlink_to(tmp_path / "target")
    with pytest.raises(UserError, match="cannot open the lock file"):
        unix.lock_file(str(tmp_path / "link"))
    with pytest.raises(UserError, match="cannot open the lock file"):
        unix.lock_file(str(tmp_path / "no" / "lock"))
    monkeypatch.setattr(fcntl, "flock", no_locks)
    before = open_fds()
    with pytest.raises(UserError, match="No locks available; set MCPCTL_RUNTIME_DIR"):
        unix.lock_file(str(tmp_path / "lock"))
    assert open_fds() == before


# ---------------------------------------------------------------- listening


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "s")


def test_a_socket_is_made_for_us_alone(path):
    umask = os.umask(0o022)
    try:
        with unix.listen(path) as listener:
            assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
            assert not listener.getblocking()
            assert not listener.get_inheritable()
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(path)
        assert os.umask(0o022) == 0o022
    finally:
        os.umask(umask)


def test_a_dead_socket_is_replaced(path):
    unix.listen(path).close()
    assert os.path.exists(path)
    with unix.listen(path), socket.socket(socket.AF_UNIX) as client:
        client.connect(path)


def test_a_live_socket_is_never_replaced(path):
    with unix.listen(path) as listener:
        with pytest.raises(Conflict, match=f"another program listens on {path}"):
            unix.listen(path)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
            listener.accept()[0].close()


def test_a_live_socket_with_a_full_backlog_is_never_replaced(path):
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as waiting:
        listener.bind(path)
        listener.listen(0)
        waiting.connect(path)
        with pytest.raises(Conflict, match="another program"):
            unix.listen(path)
        assert os.path.exists(path)


def test_a_socket_of_another_kind_is_not_taken_for_dead(path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(path)
        with pytest.raises(Conflict, match="another program"):
            unix.listen(path)


@pytest.mark.parametrize(
    "make", [lambda path: path.write_text("precious"), lambda path: path.mkdir()]
)
def test_what_is_not_a_socket_is_left_alone(tmp_path, make):
    path = tmp_path / "s"
    make(path)
    with pytest.raises(UserError, match=f"{path} exists and is not a socket; move it away"):
        unix.listen(str(path))
    assert path.exists()


def test_a_link_is_left_alone(tmp_path):
    (tmp_path / "s").symlink_to(tmp_path / "other")
    with pytest.raises(UserError, match="not a socket"):
        unix.listen(str(tmp_path / "s"))


def test_a_path_too_long_says_how_long_it_may_be(tmp_path):
    longest = str(tmp_path / ("x" * (unix.SUN_PATH - 2 - len(str(tmp_path)))))
    unix.listen(longest).close()
    with pytest.raises(
        UserError, match=f"longer than {unix.SUN_PATH - 1} bytes; set MCPCTL_RUNTIME"
    ):
        unix.listen(longest + "x")


def test_a_folder_that_is_not_there_is_told_and_nothing_is_left(tmp_path):
    before = open_fds()
    with pytest.raises(UserError, match=r"cannot listen on .*: No such file or directory"):
        unix.listen(str(tmp_path / "no" / "s"))
    assert open_fds() == before


# ---------------------------------------------------------------- who is there


def test_we_are_known_to_ourselves(path):
    with unix.listen(path) as listener, socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
        with listener.accept()[0] as server:
            assert unix.peer_uid(server) == os.geteuid()
            assert unix.peer_pid(server) == os.getpid()
            unix.check_peer(server)


@pytest.mark.skipif(NOT_ROOT, reason="only root can start a process of another user")
def test_another_user_is_refused(tmp_path, path):
    """Even if the folder and the socket let them pass."""
    with unix.listen(path) as listener:
        for folder in [tmp_path, *tmp_path.parents][:3]:
            folder.chmod(0o755)
        os.chmod(path, 0o666)
        connect = f"import socket, sys; s = socket.socket(1); s.connect({path!r}); sys.stdin.read()"
        with subprocess.Popen(
            ["/usr/bin/env", "python3", "-c", connect], stdin=subprocess.PIPE, user=NOBODY, cwd="/"
        ) as child:
            listener.settimeout(5)
            with listener.accept()[0] as server:
                assert unix.peer_uid(server) == NOBODY
                assert unix.peer_pid(server) == child.pid
                with pytest.raises(Denied, match=f"user {NOBODY}"):
                    unix.check_peer(server)
            child.stdin.close()


# ---------------------------------------------------------------- the greeting


@pytest.fixture
def ends():
    """The stub's end, and ours."""
    stub, ours = socket.socketpair()
    with stub, trio.socket.from_stdlib_socket(ours) as wrapped:
        yield stub, wrapped


@pytest.fixture
def files(tmp_path):
    """Descriptors to send along: 20 of them, each with a content of its own."""
    fds = []
    for number in range(20):
        (tmp_path / str(number)).write_text(f"file {number}")
        fds.append(os.open(tmp_path / str(number), os.O_RDONLY))
    yield fds
    for fd in fds:
        os.close(fd)


async def receive(ours):
    with trio.fail_after(5):
        return await unix.receive_greeting(ours)


async def test_a_greeting_brings_its_fields_and_descriptors(ends, files):
    stub, ours = ends
    socket.send_fds(stub, [wire.encode_hello(FIELDS)], files[:3])
    fields, fds = await receive(ours)
    assert fields == FIELDS
    assert [os.read(fd, 100) for fd in fds] == [b"file 0", b"file 1", b"file 2"]
    assert not any(os.get_inheritable(fd) for fd in fds)
    for fd in fds:
        os.close(fd)


async def test_a_greeting_may_come_byte_by_byte(ends, files):
    stub, ours = ends
    hello = wire.encode_hello(FIELDS)
    seen = []

    async def take():
        seen.append(await receive(ours))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(take)
        for number, byte in enumerate(hello):
            await trio.testing.wait_all_tasks_blocked()
            assert not seen
            one = bytes([byte])
            if number in (0, 5, len(hello) - 1):
                socket.send_fds(stub, [one], [files[number % 20]])
            else:
                stub.send(one)
    ((fields, fds),) = seen
    assert fields == FIELDS
    assert len(fds) == 3
    for fd in fds:
        os.close(fd)


async def test_what_follows_a_greeting_is_not_taken(ends):
    stub, ours = ends
    stub.sendall(wire.encode_hello(FIELDS) + b"more")
    assert (await receive(ours)) == (FIELDS, [])
    assert await ours.recv(100) == b"more"


HEADER = wire.encode_hello(FIELDS)[: wire.HELLO_HEADER]
BAD = {
    "nothing": b"",
    "half a header": HEADER[:5],
    "half a body": wire.encode_hello(FIELDS)[:-3],
    "another protocol": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "another version": b"mcpctl/2 000003\na=\0",
    "no number": b"mcpctl/1 00000x\na=\0",
    "a negative number": b"mcpctl/1 -00001\na=\0",
    "no line end": b"mcpctl/1 000003 a=\0",
    "too much": b"mcpctl/1 999999\n" + b"a=" * 100,
    "no NUL at the end": b"mcpctl/1 000003\na=b",
    "an empty body": b"mcpctl/1 000000\n",
    "an empty field": b"mcpctl/1 000004\na=\0\0",
    "a field without a value": b"mcpctl/1 000002\na\0",
}


@pytest.mark.parametrize("said", BAD.values(), ids=BAD)
async def test_what_is_not_a_greeting_is_refused_and_its_descriptors_closed(ends, files, said):
    stub, ours = ends
    before = open_fds()
    if said:
        socket.send_fds(stub, [said], files[:3])
    stub.shutdown(socket.SHUT_WR)
    with pytest.raises(PeerError, match="not an attach greeting"):
        await receive(ours)
    assert open_fds() == before


async def test_values_may_hold_what_is_special_elsewhere(ends):
    stub, ours = ends
    fields = [("url", "http://h/?a=b\n"), ("header", "A: \t="), ("empty", "")]
    stub.sendall(wire.encode_hello(fields))
    assert (await receive(ours))[0] == fields


@pytest.mark.parametrize("count", [unix.MAX_FDS + 1, 20])
async def test_more_descriptors_than_can_be_meant_are_refused_and_closed(ends, files, count):
    stub, ours = ends
    before = open_fds()
    socket.send_fds(stub, [wire.encode_hello(FIELDS)], files[:count])
    with pytest.raises(PeerError, match="too many descriptors"):
        await receive(ours)
    assert open_fds() == before


async def test_descriptors_sent_a_few_at_a_time_are_counted_together(ends, files):
    stub, ours = ends
    before = open_fds()
    hello = wire.encode_hello(FIELDS)
    for number in range(5):
        socket.send_fds(stub, [hello[number : number + 1]], files[:3])
    with pytest.raises(PeerError, match="too many descriptors"):
        await receive(ours)
    assert open_fds() == before


async def test_up_to_the_limit_the_caller_decides(ends, files):
    stub, ours = ends
    socket.send_fds(stub, [wire.encode_hello(FIELDS)], files[:5])
    _, fds = await receive(ours)
    assert len(fds) == 5
    for fd in fds:
        os.close(fd)


async def test_credentials_that_come_along_are_not_taken_for_descriptors(ends):
    stub, ours = ends
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    stub.sendall(wire.encode_hello(FIELDS))
    assert await receive(ours) == (FIELDS, [])


async def test_an_odd_number_of_bytes_holds_only_whole_descriptors(files):
    numbers = array.array("i", [os.dup(files[0])]).tobytes()
    taken = unix._take(numbers + b"\0\0")
    assert len(taken) == 1
    os.close(taken[0])


async def test_a_stub_that_resets_is_no_greeting(ends, files):
    stub, ours = ends
    before = open_fds()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    await ours.send(b"unread")  # closing with this unread resets the connection
    socket.send_fds(stub, [HEADER[:3]], files[:2])
    number = str(stub.fileno())
    stub.close()
    with pytest.raises(PeerError, match="not an attach greeting"):
        await receive(ours)
    assert open_fds() == before - {number}


@pytest.mark.parametrize("sent", [0, 3, wire.HELLO_HEADER, wire.HELLO_HEADER + 5])
async def test_a_greeting_that_is_given_up_leaves_no_descriptor(ends, files, autojump_clock, sent):
    stub, ours = ends
    before = open_fds()
    if sent:
        socket.send_fds(stub, [wire.encode_hello(FIELDS)[:sent]], files[:3])
    with pytest.raises(trio.TooSlowError), trio.fail_after(5):
        await unix.receive_greeting(ours)
    assert open_fds() == before
