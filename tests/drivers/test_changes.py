"""`mcpctld.drivers.changes`: sleep by faked clocks, the network by the kernel's own in a namespace of the test's."""

import contextlib
import errno
import json
import socket
import subprocess
import sys

import pytest
import trio

from harness import Home, program, unavailable, wait_until
from leaks import open_fds
from mcpctld.drivers import changes
from mcpctld.protocols.network import Path, Paths

HERE = Paths(Path(1, b"gate", b"here"))
THERE = Paths(Path(1, b"gate", b"there"))


# ---------------------------------------------------------------- sleep


@pytest.mark.parametrize(("slept", "told"), [(0.0, 0), (2.9, 0), (3.1, 1), (3600.0, 1)])
async def test_sleep_is_noticed_within_seconds_and_told_once(nursery, autojump_clock, slept, told):
    said: list[str] = []
    asleep = 100.0
    nursery.start_soon(changes.watch_sleep, said.append, lambda: asleep)
    await trio.sleep(60)
    assert said == []
    asleep += slept
    await trio.sleep(changes.CHECK_S + 0.1)
    assert said == ["this machine has slept"] * told
    await trio.sleep(60)
    assert len(said) == told


async def test_each_sleep_is_told(nursery, autojump_clock):
    said: list[str] = []
    asleep = 0.0
    nursery.start_soon(changes.watch_sleep, said.append, lambda: asleep)
    for _ in range(3):
        await trio.sleep(30)
        asleep += 10
    await trio.sleep(30)
    assert len(said) == 3


def test_a_machine_that_is_awake_does_not_seem_to_sleep():
    before = changes.slept_s()
    assert abs(changes.slept_s() - before) < 1


# ---------------------------------------------------------------- the network


class Kernel:
    """Where the kernel would hint and be asked."""

    def __init__(self, monkeypatch):
        self.hints, self._kernel = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.hints.setblocking(False)
        self.paths = HERE
        self.trouble = None
        self.looks = 0
        monkeypatch.setattr(changes, "open_hints", lambda: self.hints)
        monkeypatch.setattr(changes, "look", self.look)

    def look(self):
        self.looks += 1
        if self.trouble is not None:
            raise self.trouble
        return self.paths

    def hint(self):
        self._kernel.send(b"something")

    def close(self):
        self._kernel.close()


@pytest.fixture
def kernel(monkeypatch):
    with contextlib.closing(Kernel(monkeypatch)) as made:
        yield made


async def test_a_burst_of_hints_is_one_look(nursery, kernel, autojump_clock):
    said: list[str] = []
    nursery.start_soon(changes.watch_network, said.append)
    await trio.testing.wait_all_tasks_blocked()
    assert kernel.looks == 1
    kernel.paths = THERE
    for _ in range(20):
        kernel.hint()
    await trio.sleep(changes.DEBOUNCE_S + 0.1)
    assert kernel.looks == 2
    assert said == ["the network has changed"]


async def test_hints_without_a_change_that_matters_are_not_told(nursery, kernel, autojump_clock):
    said: list[str] = []
    nursery.start_soon(changes.watch_network, said.append)
    for _ in range(5):
        await trio.sleep(1)
        kernel.hint()
    await trio.sleep(1)
    assert kernel.looks == 6
    assert said == []


async def test_at_rest_nothing_is_looked_at(nursery, kernel, autojump_clock):
    nursery.start_soon(changes.watch_network, lambda why: None)
    await trio.sleep(3600)
    assert kernel.looks == 1


async def test_a_look_that_fails_is_made_up_for(nursery, kernel, autojump_clock):
    said: list[str] = []
    nursery.start_soon(changes.watch_network, said.append)
    await trio.sleep(1)
    kernel.paths, kernel.trouble = THERE, OSError(errno.EMFILE, "too many open files")
    kernel.hint()
    await trio.sleep(1)
    assert said == []
    kernel.trouble = None
    kernel.hint()
    await trio.sleep(1)
    assert said == ["the network has changed"]


async def test_where_the_system_does_not_say_there_is_nothing_to_watch(monkeypatch, autojump_clock):
    def refuse():
        raise OSError(errno.EAFNOSUPPORT, "no such thing")

    before = open_fds()
    monkeypatch.setattr(changes, "open_hints", refuse)
    with trio.fail_after(1):
        await changes.watch_network(lambda why: None)
    assert open_fds() == before


async def test_nothing_to_ask_means_nothing_to_watch_and_leaves_nothing(kernel, autojump_clock):
    kernel.trouble = OSError(errno.EPERM, "not allowed")
    with trio.fail_after(1):
        await changes.watch_network(lambda why: None)
    assert kernel.hints.fileno() == -1


async def test_more_hints_than_the_kernel_keeps_are_a_hint():
    class Overflown:
        def __init__(self):
            self.answers = [OSError(errno.ENOBUFS, "overflow"), b"x", BlockingIOError()]

        def recv(self, size):
            answer = self.answers.pop(0)
            if isinstance(answer, OSError):
                raise answer
            return answer

    hints = Overflown()
    changes.drain(hints)  # type: ignore[arg-type]
    assert hints.answers == []


async def test_both_are_watched_at_once_and_end_together(kernel, autojump_clock):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(changes.watch_changes, lambda why: None)
        await trio.sleep(30)
        nursery.cancel_scope.cancel()
    assert kernel.hints.fileno() == -1


def test_the_kernel_is_asked_without_a_trace():
    before = open_fds()
    assert isinstance(changes.look(), Paths)
    changes.open_hints().close()
    assert open_fds() == before


# ---------------------------------------------------------------- a daemon in a network of its own


class Namespace:
    """A shell that is root of a network namespace, and the daemon in it."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.shell = subprocess.Popen(
            ["unshare", "--net", "--map-root-user", "sh"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, env=home.env, bufsize=1,
        )  # fmt: skip

    def run(self, *commands: str) -> None:
        """Run commands, all of which must succeed."""
        assert self.shell.stdin is not None
        assert self.shell.stdout is not None
        for command in commands:
            self.shell.stdin.write(f"{command} 2>&1; echo =$?\n")
            said = []
            while not (line := self.shell.stdout.readline()).startswith("="):
                assert line, f"the shell has ended: {said}"
                said.append(line)
            assert line == "=0\n", f"{command}: {said}"

    def changes(self) -> int:
        """How many changes the daemon has noticed."""
        return sum(line["event"] == "network.changed" for line in self.home.log())

    def noticed(self, count: int) -> None:
        """Wait until it has noticed so many."""
        wait_until(lambda: self.changes() >= count, f"{count} changes\n{self.home.transcript()}")
        assert self.changes() == count

    def close(self) -> None:
        """End the shell."""
        self.shell.kill()
        self.shell.communicate()


def can_have_namespaces() -> bool:
    """Whether we may make a network namespace with a pair of interfaces in it."""
    try:
        script = "ip link add a0 type veth peer name a1 && ip route show"
        return not subprocess.run(
            ["unshare", "--net", "--map-root-user", "sh", "-c", script],
            capture_output=True, timeout=20, check=False,
        ).returncode  # fmt: skip
    except FileNotFoundError:
        return False


@pytest.fixture
def namespace(home):
    if sys.platform != "linux" or not can_have_namespaces():
        unavailable("namespaces", "no network namespaces for this user")
    with contextlib.closing(Namespace(home)) as made:
        yield made


@pytest.mark.slow
def test_a_daemon_notices_what_matters_and_nothing_else(namespace):
    home = namespace.home
    namespace.run("ip link set lo up", f"{program('mcpctld')} >/dev/null 2>&1 &")
    wait_until(lambda: any(line["event"] == "daemon.started" for line in home.log()), "a daemon")

    namespace.run(
        "ip link add a0 type veth peer name a1",
        *("ip link set a0 up", "ip link set a1 up", "ip addr add 10.9.0.2/24 dev a0"),
        "ip route add default via 10.9.0.1",
    )
    namespace.noticed(1)  # there is a network

    namespace.run(  # a container comes up
        "ip link add b0 type veth peer name b1",
        *("ip link set b0 up", "ip link set b1 up", "ip addr add 172.17.0.1/16 dev b0"),
        "ip route add 10.200.0.0/16 via 10.9.0.7",
        "sleep 1",
    )
    namespace.noticed(1)

    namespace.run("ip route replace default via 10.9.0.3")
    namespace.noticed(2)  # another gateway

    namespace.run("ip route del default", "sleep 1")
    namespace.noticed(2)  # no network: nothing better yet

    namespace.run("ip route add default via 10.9.0.3")
    namespace.noticed(3)  # maybe another one of the same addresses

    namespace.run("ip link del b0", "sleep 1")  # the container goes
    namespace.noticed(3)
    assert "Traceback" not in json.dumps(home.log())
