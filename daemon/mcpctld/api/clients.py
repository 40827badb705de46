"""The config files of MCP clients."""

from mcpctl import shapes
from mcpctld.api.route import Call


def list_clients(call: Call) -> shapes.ClientFiles:
    """What the daemon has seen of them: names of servers, and nothing else that stands there."""
    return {"clients": call.engine.status()["clients"]}
