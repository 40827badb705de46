"""Against the kernel's TCP, over a TUN interface, in real time: the peer that nobody here has written."""

import hashlib
import os
import random
import time

import pytest

from mcpctld.protocols.inet.events import Answered, Event, Received
from mcpctld.protocols.inet.tcp.connection import Connection
from mcpctld.protocols.inet.tcp.state import Outcome, Settings, State
from netsim.kernel import THEIRS, Host, kernel_peer, unavailable
from netsim.kernel_side import ECHO, RESET, SINK, SLOW, SOURCE, UDP_ECHO
from netsim.network import Conditions

WHY_NOT = unavailable()
pytestmark = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT or "never")

BAD = Conditions(delay=0.005, loss=0.01, reorder=0.02, duplicate=0.02, corrupt=0.002)
SIZE = 400_000


@pytest.fixture(scope="module")
def host():
    with kernel_peer() as made:
        yield made


def events(host: Host) -> list[Event]:
    found = []
    while (event := host.stack.next_event()) is not None:
        found.append(event)
    return found


def connect(host: Host, port: int, settings: Settings | None = None) -> Connection:
    settings = Settings() if settings is None else settings
    connection = host.stack.connect(THEIRS, port, time.monotonic(), settings)
    host.pump(lambda: connection.state is State.ESTABLISHED or connection.outcome)
    return connection


def read_all(host: Host, connection: Connection) -> bytes:
    """Until the end, or until it is over."""
    found: list[bytes] = []

    def step() -> bool:
        while data := connection.receive_data(1 << 18):
            found.append(data)
        return data == b"" or connection.outcome is not None

    host.pump(step)
    return b"".join(found)


def write_all(host: Host, connection: Connection, data: bytes) -> None:
    done = 0

    def step() -> bool:
        nonlocal done
        done += connection.send_data(memoryview(data)[done : done + 65536])
        return done == len(data)

    host.pump(step)
    connection.send_eof()


def download(host: Host, size: int = SIZE) -> Connection:
    connection = connect(host, SOURCE)
    connection.send_data(size.to_bytes(8, "big"))
    assert read_all(host, connection) == random.Random(size).randbytes(size)
    connection.close()
    return connection


def upload(host: Host, size: int = SIZE) -> Connection:
    connection, data = connect(host, SINK), random.Random(size).randbytes(size)
    write_all(host, connection, data)
    assert read_all(host, connection) == hashlib.sha256(data).digest()
    return connection


def test_what_the_kernel_sends_arrives(host):
    download(host)


def test_what_is_sent_to_the_kernel_arrives(host):
    connection = upload(host)
    figures = connection.statistics()
    assert (figures.mss, connection.outcome) == (1360, Outcome.DONE)
    assert connection.state is State.TIME_WAIT


def test_options_are_agreed_on(host):
    """Window scaling shows as a window of more than 64 KiB: an option that is cut off would be lost without a word."""
    connection = connect(host, ECHO)
    connection.send_data(bytes(300_000))
    assert len(read_until(host, connection, 300_000)) == 300_000
    assert connection.statistics().send_window > 65535
    connection.close()


def read_until(host: Host, connection: Connection, size: int) -> bytes:
    found = bytearray()

    def step() -> bool:
        found.extend(connection.receive_data(1 << 18) or b"")
        return len(found) >= size

    host.pump(step)
    return bytes(found)


def test_one_side_may_end_first(host):
    connection = connect(host, ECHO)
    write_all(host, connection, b"all of it")
    assert read_all(host, connection) == b"all of it"
    assert connection.outcome in (None, Outcome.DONE)


def test_small_messages_to_and_fro(host):
    connection = connect(host, ECHO)
    for number in range(50):
        message = b"%d" % number
        connection.send_data(message)
        assert read_until(host, connection, len(message)) == message
    assert connection.statistics().retransmissions == 0
    connection.close()


def test_a_port_where_nobody_listens_refuses(host):
    assert connect(host, 4444).outcome is Outcome.REFUSED


def test_a_reset_is_one(host):
    connection = connect(host, RESET)
    connection.send_data(b"x")
    host.pump(lambda: connection.outcome)
    assert connection.outcome is Outcome.RESET


def test_our_reset_is_one(host):
    connection = connect(host, ECHO)
    connection.send_data(b"x")
    read_until(host, connection, 1)
    connection.abort()
    host.pump(lambda: host.control_said(b"ConnectionResetError"))


def test_a_reader_that_sleeps_closes_its_window_and_gets_all(host):
    connection, data = connect(host, SLOW, Settings(send_buffer=1 << 22)), os.urandom(300_000)
    connection.send_data(data)
    connection.send_eof()
    host.pump(lambda: connection.statistics().send_window == 0)
    host.control.send(b"x")
    assert read_all(host, connection) == hashlib.sha256(data).digest()


def test_ports_of_a_life_before_are_no_hindrance(host):
    """The kernel answers the SYN with a challenge ACK; our reset frees it for the next SYN, a second later."""
    settings = Settings(local_port=45678)
    before = connect(host, ECHO, settings)
    before.send_data(b"x")
    read_until(host, before, 1)
    host.restart()
    after = connect(host, ECHO, settings)
    assert after.state is State.ESTABLISHED
    after.send_data(b"again")
    assert read_until(host, after, 5) == b"again"
    after.close()


def test_datagrams_go_and_come(host):
    socket = host.stack.open_udp(THEIRS, UDP_ECHO)
    socket.send(b"datagram")
    host.pump(lambda: Received(socket) in events(host))
    assert socket.receive() == b"datagram"


def test_a_datagram_for_nobody_is_refused(host):
    socket = host.stack.open_udp(THEIRS, 4444)
    socket.send(b"datagram")
    host.pump(lambda: socket.refused)
    assert socket.refused == "port unreachable"


def test_an_echo(host):
    ping = host.stack.ping(THEIRS, time.monotonic(), b"abc")
    host.pump(lambda: Answered(ping) in events(host))
    assert ping.rtt is not None


@pytest.mark.parametrize("setting", ["tcp_sack=1", "tcp_sack=0", "tcp_window_scaling=0"])
def test_over_a_bad_way_everything_arrives(setting):
    with kernel_peer(setting, conditions=BAD) as host:
        download(host)
        assert upload(host).statistics().retransmissions > 0


def test_over_a_way_that_swallows_large_packets_everything_arrives():
    """Our packets only: what the kernel sends is beyond our power, it is told a segment size that fits."""
    with kernel_peer(conditions=Conditions(delay=0.005, mtu=1300)) as host:
        assert upload(host).statistics().mss == 1220
