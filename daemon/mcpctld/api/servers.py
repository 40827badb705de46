"""The configured servers."""

from mcpctl import shapes
from mcpctld.api.envelope import Refused, close_to, did_you_mean
from mcpctld.api.route import Call


def list_servers(call: Call) -> shapes.ServerList:
    """All of them."""
    return {"servers": call.engine.status()["servers"]}


def show_server(call: Call) -> shapes.ServerInfo:
    """One of them; a wrong name is answered with those that come close."""
    name = call.arguments["name"]
    known = {server["name"]: server for server in call.engine.status()["servers"]}
    if name in known:
        return known[name]
    near = close_to(name, known)
    raise Refused(
        "not-found",
        f"cannot find a server named {name!r}{did_you_mean(near)}",
        details={"suggestions": near},
    )
