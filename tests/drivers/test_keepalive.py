"""`mcpctld.drivers.keepalive`: what the kernel is told, and what comes of it."""

import socket
import sys

import pytest

from mcpctld.drivers.keepalive import STEADY, URGENT, Pace, set_pace

IDLE = getattr(socket, "TCP_KEEPIDLE", None) or getattr(socket, "TCP_KEEPALIVE", None)


def told(connection: socket.socket) -> tuple[int, ...]:
    options = (IDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
    return tuple(connection.getsockopt(socket.IPPROTO_TCP, option) for option in options)


@pytest.mark.parametrize("pace", [STEADY, URGENT])
def test_the_kernel_probes_at_the_pace_that_it_is_told(pace: Pace):
    with socket.socket() as connection:
        set_pace(connection, pace)
        assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) != 0
        assert told(connection) == (pace.idle_s, pace.interval_s, pace.count)
        if sys.platform == "linux":
            silence = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
            assert silence == pace.silence_s * 1000


def test_the_pace_can_be_changed_and_changed_back():
    with socket.socket() as connection:
        for pace in (STEADY, URGENT, STEADY):
            set_pace(connection, pace)
        assert told(connection)[0] == STEADY.idle_s


def test_a_dead_path_is_found_within_a_minute_and_no_lost_packet_is_the_end():
    for pace in (STEADY, URGENT):
        assert pace.idle_s + pace.interval_s * pace.count <= 60
        assert pace.silence_s + pace.interval_s <= 60
        # Linux: a connection that has been silent since its last probe still gets several.
        assert (pace.silence_s - STEADY.idle_s) / pace.interval_s > 1


def test_what_is_closed_or_no_tcp_does_no_harm():
    one, other = socket.socketpair()
    with one, other:
        set_pace(one, STEADY)
    set_pace(one, STEADY)
