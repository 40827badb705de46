import json
import os
import socket
import threading

import pytest

from mcpctl import wire
from mcpctl.client import Client
from mcpctl.errors import ApiError, NotRunning
from mcpctld.api.routes import ROUTES


def test_every_route_has_a_method_that_names_it_and_its_maturity():
    described = [method.__doc__ for name, method in vars(Client).items() if name[0] != "_"]
    for route in ROUTES:
        row = f"{route.method} {route.path}"
        assert [text for text in described if text.split(":")[0].split(" (")[0] == row], row
    assert all("(stable)" in text for text in described)


def test_every_method_sends_what_its_docstring_says(daemon):
    calls = {
        "health": (),
        "status": (),
        "servers": (),
        "reload": (),
        "sessions": (),
        "end_session": ("s/1",),
        "set_secret": ("a", "b", "v"),
        "delete_secret": ("a", "b"),
        "delete_secrets": ("a",),
        "metrics": (),
    }
    for name, arguments in calls.items():
        getattr(Client(), name)(*arguments)
        sent = " ".join(daemon.requests[-1][:2])
        wanted = getattr(Client, name).__doc__.split(":")[0].split(" (")[0]
        assert sent == wanted.format(id="s%2F1", server="a", key="b", name="a")
    assert daemon.secrets == {}


def test_a_secret_travels_in_the_body_and_not_in_the_path(daemon):
    Client().set_secret("a", "b", "hunter2")
    assert daemon.requests == [("PUT", "/v1/secrets/a/b", {"value": "hunter2"})]


def test_events_come_one_by_one_and_comments_are_left_out(daemon):
    daemon.events = [{"type": "session.opened", "at": 1.0, "data": {}}] * 2
    assert list(Client().events()) == daemon.events


def test_a_refusal_has_the_kind_and_the_message_of_the_daemon(daemon):
    with pytest.raises(ApiError, match="there is no server 'nope'") as caught:
        Client().server("nope")
    assert caught.value.kind == "not-found"
    assert caught.value.exit_code == 4


def test_without_a_socket_the_daemon_is_not_running(places):
    with pytest.raises(NotRunning) as caught:
        Client().status()
    assert caught.value.path == wire.control_socket()
    assert "mcpctl daemon start" in str(caught.value)
    assert caught.value.exit_code == 69


def test_a_stale_socket_is_no_daemon_either(places):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(wire.control_socket())
    with pytest.raises(NotRunning):
        Client().status()


def test_another_version_is_told_once(daemon, capsys):
    daemon.version = "9.9"
    client = Client()
    client.health()
    client.health()
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "version 9.9" in err
    assert "mcpctl daemon restart" in err


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (b"", "peer"),
        (b"garbage\r\n\r\n", "peer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{no", "peer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n{}", "peer"),
        (b"HTTP/1.1 502 Bad\r\nContent-Length: 4\r\n\r\noops", "peer"),
        (b"HTTP/1.1 400 Bad\r\nContent-Length: 2\r\n\r\n[]", "peer"),
    ],
)
def test_a_broken_answer_is_an_error_of_the_other_side(places, answer, kind):
    with OneAnswer(answer), pytest.raises(ApiError) as caught:
        Client().status()
    assert caught.value.kind == kind


def test_a_daemon_that_says_nothing_is_not_waited_for_beyond_the_bound(places):
    with OneAnswer(None), pytest.raises(ApiError) as caught:
        Client(timeout_s=0.05).status()
    assert caught.value.kind == "timeout"


class OneAnswer:
    """A socket that answers one request with these bytes; None: it says nothing."""

    def __init__(self, answer):
        self._answer = answer

    def __enter__(self):
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(wire.control_socket())
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self):
        connection, _ = self._listener.accept()
        with connection:
            connection.settimeout(5)
            connection.recv(65536)
            if self._answer is None:
                connection.recv(1)  # until the client gives up
            else:
                connection.sendall(self._answer)

    def __exit__(self, *_):
        self._thread.join(5)
        self._listener.close()
        os.unlink(wire.control_socket())
        assert not self._thread.is_alive()


def test_the_openapi_document_comes_as_it_is(places):
    document = json.dumps({"openapi": "3.1.0"}).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(document)
    with OneAnswer(head + document):
        assert Client().openapi() == {"openapi": "3.1.0"}
