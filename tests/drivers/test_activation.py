import errno
import os
import socket

import pytest

from mcpctld.drivers import activation
from mcpctld.errors import UserError

US = 4711


@pytest.fixture
def first_fd(monkeypatch):
    """The first of three neighbouring descriptors that listen, in the place of descriptor 3."""
    listeners = [_listener() for _ in range(3)]
    base = 200
    for offset, sock in enumerate(listeners):
        os.dup2(sock.fileno(), base + offset, inheritable=True)
        sock.close()
    monkeypatch.setattr(activation, "FIRST_FD", base)
    yield base
    for fd in range(base, base + 3):
        try:
            os.close(fd)
        except OSError:
            pass


def _listener():
    sock = socket.socket(socket.AF_UNIX)
    sock.bind("")  # Linux picks an abstract name
    sock.listen()
    return sock


def environment(names="attach:control", count="2", pid=str(US)):
    return {"LISTEN_PID": pid, "LISTEN_FDS": count, "LISTEN_FDNAMES": names, "HOME": "/h"}


def test_the_sockets_are_found_by_name(first_fd):
    environ = environment("control:attach")
    found = activation.listen_fds(environ, US)
    assert found == {"control": first_fd, "attach": first_fd + 1}
    assert environ == {"HOME": "/h"}
    assert not any(os.get_inheritable(fd) for fd in found.values())
    assert socket.socket(fileno=os.dup(first_fd)).close() is None


def test_one_socket_is_enough(first_fd):
    assert activation.listen_fds(environment("attach", "1"), US) == {"attach": first_fd}


@pytest.mark.parametrize("environ", [{}, environment(pid="1"), environment(pid="")])
def test_what_is_meant_for_another_process_is_left_alone_and_hidden_from_children(environ):
    environ = dict(environ)
    assert activation.listen_fds(environ, US) == {}
    assert not [name for name in environ if name.startswith("LISTEN_")]


@pytest.mark.parametrize(
    ("names", "count", "message"),
    [
        ("", "2", "2 sockets came with 0 names"),
        ("attach", "2", "2 sockets came with 1 names"),
        ("attach:attach", "2", "two sockets named 'attach'"),
        ("attach:web", "2", "no use for a socket named 'web'"),
        ("attach:control", "two", "not a number"),
        ("attach:control", "-1", "not a number"),
        ("attach:control:x:y:z", "5", "descriptor 203 is not open"),
    ],
)
def test_sockets_that_are_not_ours_to_serve_are_refused(first_fd, names, count, message):
    with pytest.raises(UserError, match=message) as caught:
        activation.listen_fds(environment(names, count), US)
    assert "mcpctl daemon install" in str(caught.value)


def _pipe():
    reader, writer = os.pipe()
    os.close(writer)
    return reader


def _connected():
    one, other = socket.socketpair()
    other.close()
    return one.detach()


def _tcp():
    sock = socket.create_server(("127.0.0.1", 0))
    return sock.detach()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_pipe, "is not a socket"),
        (_connected, "is not a listening unix stream socket"),
        (_tcp, "is not a listening unix stream socket"),
    ],
)
def test_a_descriptor_that_does_not_listen_is_refused(first_fd, make, message):
    fd = make()
    os.dup2(fd, first_fd)
    os.close(fd)
    with pytest.raises(UserError, match=message):
        activation.listen_fds(environment("attach", "1"), US)


def test_launchd_sockets_are_found_by_name():
    held = {"attach": _listener(), "control": _listener()}
    found = activation.launchd_sockets(activate=lambda name: (0, [held[name].fileno()]))
    assert found == {name: sock.fileno() for name, sock in held.items()}
    for sock in held.values():
        assert not sock.get_inheritable()
        sock.close()


def test_a_process_that_launchd_did_not_start_has_none():
    assert activation.launchd_sockets(activate=lambda name: (errno.ESRCH, [])) == {}
    assert activation.launchd_sockets() == {}


def test_a_property_list_without_our_sockets_is_refused():
    with pytest.raises(UserError, match="No such file"):
        activation.launchd_sockets(activate=lambda name: (errno.ENOENT, []))


def test_two_sockets_of_one_name_are_refused():
    with _listener() as one, pytest.raises(UserError, match="two sockets"):
        activation.launchd_sockets(activate=lambda name: (0, [one.fileno(), one.fileno()]))
