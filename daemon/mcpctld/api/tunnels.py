"""Ways into private networks: which there are, and how they do."""

from mcpctl import shapes
from mcpctld.api.route import Call


def list_tunnels(call: Call) -> shapes.TunnelList:
    """All that are configured."""
    return call.engine.tunnels()


async def forget_tunnel(call: Call) -> shapes.Nothing:
    """Take away what was made for one."""
    await call.engine.forget_tunnel(call.arguments["name"])
    return {}


async def probe_tunnel(call: Call) -> shapes.TunnelProbe:
    """Open one, and measure."""
    return await call.engine.probe_tunnel(call.arguments["name"])
