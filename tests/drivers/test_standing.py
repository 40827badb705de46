"""One daemon stands where clients look for it; who leaves lets the next one in at once."""

import os
import socket
import threading

import pytest

from mcpctl import wire
from mcpctld.drivers import standing as standing_module
from mcpctld.drivers import unix
from mcpctld.drivers.standing import Standing
from mcpctld.errors import Conflict


@pytest.fixture(autouse=True)
def place(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("r", numbered=True)
    folder.chmod(0o700)
    monkeypatch.setenv("MCPCTL_RUNTIME_DIR", str(folder))
    return folder


def sockets() -> list[bool]:
    return [os.path.exists(path) for path in (wire.attach_socket(), wire.control_socket())]


def test_a_second_daemon_is_told_at_once_that_there_is_one():
    with Standing() as first:
        assert first.manager == "self"
        assert sockets() == [True, True]
        with pytest.raises(Conflict, match="is running already"):
            Standing()
    assert sockets() == [False, False]


def test_who_leaves_lets_the_next_one_in_and_takes_nothing_from_it():
    with Standing() as old:
        old.leave()
        assert sockets() == [False, False]
        with Standing():
            old.leave()
            old.__exit__()
            assert sockets() == [True, True]


def test_a_daemon_that_does_not_listen_any_more_is_waited_for():
    unix.private_folder(wire.runtime_dir())
    lock = unix.lock_file(f"{wire.runtime_dir()}/mcpctld.lock")
    timer = threading.Timer(0.1, os.close, [lock])
    timer.start()
    with Standing():
        assert sockets() == [True, True]
    timer.join()


def test_but_not_for_ever(monkeypatch):
    monkeypatch.setattr(standing_module, "LOCK_BOUND_S", 0.05)
    unix.private_folder(wire.runtime_dir())
    lock = unix.lock_file(f"{wire.runtime_dir()}/mcpctld.lock")
    with pytest.raises(Conflict):
        Standing()
    os.close(lock)


def test_a_socket_that_somebody_else_put_there_meanwhile_stays():
    with Standing() as leaving:
        os.unlink(wire.attach_socket())
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(wire.attach_socket())
            leaving.leave()
            assert sockets() == [True, False]
            os.unlink(wire.attach_socket())


def test_sockets_of_a_service_manager_are_not_ours_to_remove(monkeypatch):
    unix.private_folder(wire.runtime_dir())
    given = {}
    for name, path in (("attach", wire.attach_socket()), ("control", wire.control_socket())):
        given[name] = unix.listen(path).detach()
    monkeypatch.setattr(standing_module.activation, "listen_fds", lambda environ, pid: given)
    with Standing() as standing:
        assert standing.manager == "systemd"
        assert not standing.listeners["attach"].getblocking()
    assert sockets() == [True, True]


def test_a_socket_that_is_gone_already_is_no_trouble(monkeypatch):
    monkeypatch.setattr(standing_module.activation, "launchd_sockets", dict)
    with Standing():
        os.unlink(wire.control_socket())
    assert sockets() == [False, False]
