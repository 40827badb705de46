"""How an MCP server is spoken to: one file per transport, each with one `UPSTREAM` class.

Modules whose name begins with an underscore are what the transports share. `upstreams()` finds the others, so that
a new transport is a new file; `tests/contracts/test_upstreams.py` runs its suite over whatever stands here.
"""

import functools
import importlib
import pkgutil

from mcpctld.upstreams._base import Context, Downstream, Upstream
from mcpctld.upstreams._shared import Facts, Shared


@functools.cache
def upstreams() -> dict[str, type[Upstream]]:
    """Every transport by the name it has in a server's file."""
    names = sorted(
        info.name for info in pkgutil.iter_modules(__path__) if not info.name.startswith("_")
    )
    found = [importlib.import_module(f"{__name__}.{name}").UPSTREAM for name in names]
    return {upstream.transport: upstream for upstream in found}


def make_upstream(context: Context) -> Upstream:
    """The upstream that the server's file asks for."""
    name = "stdio" if context.spec.command else context.spec.transport
    return upstreams()[name](context)


__all__ = ["Context", "Downstream", "Facts", "Shared", "Upstream", "make_upstream", "upstreams"]
