"""`mcpctl tunnels`: the ways into private networks."""

import argparse

from mcpctl import output, shapes
from mcpctl.client import Client
from mcpctl.commands.common import Commands, command, json_flag, verbs

HEAD = (
    *("TUNNEL", "STATE", "ENDPOINT", "CARRIER", "HANDSHAKES", "LAST", "RTT MS", "LOSS"),
    *("SENT", "RECEIVED", "CONNECTIONS", "HOSTS"),
)
NONE_YET = "no tunnel is configured; see docs/tunnels.md"


def add_to(commands: Commands) -> None:
    """Add the parsers of this module."""
    parser = command(commands, "tunnels", show, "list the ways into private networks")
    json_flag(parser)
    group = verbs(parser, required=False)
    parser = command(group, "probe", probe, "open a tunnel, and measure its round trip and loss")
    parser.add_argument("name", metavar="NAME")
    json_flag(parser)
    parser = command(group, "forget", forget, "take away the peer that was made at Fly")
    parser.add_argument("name", metavar="NAME")


def show(args: argparse.Namespace) -> int:
    """Print the tunnels."""
    tunnels = Client().tunnels()
    if args.json:
        output.as_json(tunnels)
        return 0
    output.table(HEAD, [_row(tunnel) for tunnel in tunnels["tunnels"]], NONE_YET)
    for tunnel in tunnels["tunnels"]:
        if tunnel["last_error"] and tunnel["state"] != "up":
            print(f"\n{tunnel['name']}: {output.one_line(tunnel['last_error'])}")
    return 0


def probe(args: argparse.Namespace) -> int:
    """Print what was measured; 1 if nothing came back."""
    found = Client().probe_tunnel(args.name)
    if args.json:
        output.as_json(found)
    elif found["received"]:
        print(
            f"{found['target']}: {found['received']} of {found['sent']} echoes, round trip {found['rtt_ms']} ms"
        )
    else:
        print(f"{found['target']}: none of {found['sent']} echoes came back")
    return 0 if found["received"] else 1


def forget(args: argparse.Namespace) -> int:
    """Take a peer away."""
    Client().forget_tunnel(args.name)
    print(f"took away the peer of {args.name}; it is made anew when the tunnel is used")
    return 0


def _row(tunnel: shapes.TunnelInfo) -> tuple[object, ...]:
    peers = tunnel["peers"]
    handshakes = [peer["last_handshake_at"] for peer in peers if peer["last_handshake_at"]]
    times = [peer["rtt_ms"] for peer in peers if peer["rtt_ms"] is not None]
    return (
        tunnel["name"],
        tunnel["state"],
        ", ".join(peer["endpoint"] for peer in peers) or None,
        ", ".join(sorted({peer["carrier"] for peer in peers if peer["carrier"]})) or None,
        sum(peer["handshakes"] for peer in peers),
        output.ago(max(handshakes)) if handshakes else None,
        max(times) if times else None,
        _loss(tunnel["probe"]),
        sum(peer["bytes_sent"] for peer in peers),
        sum(peer["bytes_received"] for peer in peers),
        tunnel["connections"],
        " ".join(tunnel["hosts"]),
    )


def _loss(probe: shapes.TunnelProbe | None) -> str | None:
    return f"{1 - probe['received'] / probe['sent']:.0%}" if probe else None
