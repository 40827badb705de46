import json
import time


def a_tunnel(**changes):
    peer = {
        "endpoint": "192.0.2.1:51820",
        "carrier": "websocket",
        "handshakes": 3,
        "last_handshake_at": time.time() - 65,
        "rtt_ms": 20.5,
        "unanswered": 0,
        "bytes_sent": 1000,
        "bytes_received": 2000,
        "trouble": None,
    }
    return {
        "name": "fly",
        "kind": "wireguard",
        "hosts": ["*.internal", "*.flycast"],
        "state": "up",
        "address": "fdaa::2",
        "opened_at": 1.0,
        "connections": 4,
        "peers": [peer],
        "probe": {"target": "fdaa::3", "sent": 5, "received": 4, "rtt_ms": 21.0},
        "last_error": None,
        **changes,
    }


def cells(line):
    return [cell for cell in line.split("  ") if cell]


def test_tunnels_are_listed(daemon, run):
    daemon.tunnels = [a_tunnel()]
    code, out, err = run("tunnels")
    assert (code, err) == (0, "")
    head, row = out.splitlines()
    shown = dict(zip(map(str.strip, cells(head)), map(str.strip, cells(row)), strict=True))
    assert shown.pop("LAST").startswith("1 min")
    assert shown == {
        "TUNNEL": "fly", "STATE": "up", "ENDPOINT": "192.0.2.1:51820", "CARRIER": "websocket",
        "HANDSHAKES": "3", "RTT MS": "20.5", "LOSS": "20%", "SENT": "1000",
        "RECEIVED": "2000", "CONNECTIONS": "4", "HOSTS": "*.internal *.flycast",
    }  # fmt: skip
    assert json.loads(run("tunnels", "--json")[1]) == {"tunnels": daemon.tunnels}


def test_one_that_nobody_needs_has_little_to_show(daemon, run):
    error = "cannot connect:\nthe gateway is gone"
    daemon.tunnels = [a_tunnel(state="closed", peers=[], probe=None, last_error=error)]
    out = run("tunnels")[1]
    assert "closed" in out
    assert "fly: cannot connect: the gateway is gone" in " ".join(out.split("\n")[-2:])


def test_there_is_none(daemon, run):
    assert run("tunnels") == (0, "no tunnel is configured; see docs/tunnels.md\n", "")


def test_a_probe(daemon, run):
    daemon.probe = {"target": "fdaa::3", "sent": 5, "received": 4, "rtt_ms": 21.0}
    said = "fdaa::3: 4 of 5 echoes, round trip 21.0 ms\n"
    assert run("tunnels", "probe", "fly") == (0, said, "")
    daemon.probe |= {"received": 0, "rtt_ms": None}
    assert run("tunnels", "probe", "fly") == (1, "fdaa::3: none of 5 echoes came back\n", "")
    code, out, _ = run("tunnels", "probe", "fly", "--json")
    assert (code, json.loads(out)) == (1, daemon.probe)


def test_a_peer_is_taken_away(daemon, run):
    code, out, err = run("tunnels", "forget", "fly")
    assert (code, err) == (0, "")
    assert out.startswith("took away the peer of fly;")
