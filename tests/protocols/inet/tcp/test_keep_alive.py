"""`mcpctld.protocols.inet.tcp.keep_alive`: when a silent peer is asked."""

import math

from mcpctld.protocols.inet.tcp.keep_alive import KeepAlive
from mcpctld.protocols.inet.tcp.state import Settings


def test_nobody_is_asked_unless_that_is_wanted():
    it = KeepAlive(Settings())
    it.hear(5.0)
    assert it.deadline == math.inf


def test_a_silent_peer_is_asked_and_given_up():
    it = KeepAlive(Settings(keep_alive=60.0, keep_alive_interval=10.0, keep_alive_probes=3))
    it.hear(100.0)
    asked = []
    while it.probe():
        asked.append(it.deadline)
    assert asked == [170.0, 180.0, 190.0]


def test_one_answer_is_enough():
    it = KeepAlive(Settings(keep_alive=60.0, keep_alive_interval=10.0, keep_alive_probes=1))
    it.hear(100.0)
    assert it.deadline == 160.0
    assert it.probe()
    it.hear(161.0)
    assert it.deadline == 221.0
    assert it.probe()
    assert not it.probe()
