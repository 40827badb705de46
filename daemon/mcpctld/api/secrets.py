"""Secrets travel inwards only: nothing here, and no other route, ever answers with one."""

from mcpctl import shapes
from mcpctld.api.route import Call


async def set_secret(call: Call) -> shapes.Nothing:
    """Keep one for a server."""
    body: shapes.SecretValue = call.body
    await call.engine.set_secret(call.arguments["server"], call.arguments["key"], body["value"])
    return {}


async def delete_secret(call: Call) -> shapes.Nothing:
    """Forget one of a server's."""
    await call.engine.delete_secret(call.arguments["server"], call.arguments["key"])
    return {}


async def delete_secrets(call: Call) -> shapes.Nothing:
    """Forget all of a server's."""
    await call.engine.delete_secrets(call.arguments["server"])
    return {}
