"""The daemon itself: is it there, what does it know, read the files again, stop."""

from mcpctl import shapes
from mcpctld.api.route import Call


def health(call: Call) -> shapes.Health:
    """Whether it serves or is about to stop."""
    return {"status": "draining" if call.engine.draining else "ok"}


def status(call: Call) -> shapes.Status:
    """All there is to know."""
    return call.engine.status()


async def reload(call: Call) -> shapes.Reloaded:
    """Read the configuration again."""
    return await call.engine.reload()


def handover(call: Call) -> shapes.Health:
    """Begin to stop, and leave the sessions to the next daemon."""
    call.engine.shutdown(hand_over=True)
    return {"status": "draining"}


def shutdown(call: Call) -> shapes.Health:
    """Begin to stop; the answer comes at once, the end within the drain bound."""
    call.engine.shutdown()
    return {"status": "draining"}
