"""The machines behind servers: woken by name, and what they have cost."""

from mcpctl import shapes
from mcpctld.api.route import Call


async def wake_server(call: Call) -> shapes.Woken:
    """Have its machine awake; the answer comes when it is."""
    return await call.engine.wake(call.arguments["name"])


def show_cost(call: Call) -> shapes.Cost:
    """The ledger of machine-seconds."""
    return call.engine.cost()
