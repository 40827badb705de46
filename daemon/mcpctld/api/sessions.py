"""The attached clients."""

from mcpctl import shapes
from mcpctld.api.route import Call


def list_sessions(call: Call) -> shapes.SessionList:
    """All of them."""
    return {"sessions": call.engine.status()["sessions"]}


async def end_session(call: Call) -> shapes.Nothing:
    """End one; the answer comes when it is gone."""
    await call.engine.end_session(call.arguments["id"])
    return {}
