"""The whole control API, one row each.

Adding a route is always allowed; what a path means never changes within `/v1`. No route takes a
command to run: what may be executed stands in configuration files only, so a sandboxed program
that reaches the socket does not leave its sandbox through it.
"""

from mcpctl import shapes
from mcpctld.api import (
    clients,
    daemon,
    events,
    metrics,
    openapi,
    secrets,
    servers,
    sessions,
    tunnels,
    wake,
)
from mcpctld.api.route import Access, Route

OPEN, READ, WRITE = Access.OPEN, Access.READ, Access.WRITE

# fmt: off
ROUTES: tuple[Route, ...] = (
    Route("GET", "/v1/health", OPEN, daemon.health,
          "Whether the daemon serves or is draining.", shapes.Health),
    Route("GET", "/v1/status", READ, daemon.status,
          "The daemon, its servers, sessions and configuration errors.", shapes.Status),
    Route("GET", "/v1/servers", READ, servers.list_servers,
          "All configured servers.", shapes.ServerList),
    Route("GET", "/v1/servers/{name}", READ, servers.show_server,
          "One server.", shapes.ServerInfo),
    Route("POST", "/v1/servers/{name}/wake", WRITE, wake.wake_server,
          "Start the Fly machine of a server, and answer when it is awake.", shapes.Woken),
    Route("GET", "/v1/cost", READ, wake.show_cost,
          "Machine-seconds of each server, by who kept its machine awake.", shapes.Cost),
    Route("POST", "/v1/reload", WRITE, daemon.reload,
          "Read the configuration files again.", shapes.Reloaded),
    Route("GET", "/v1/sessions", READ, sessions.list_sessions,
          "All attached clients.", shapes.SessionList),
    Route("DELETE", "/v1/sessions/{id}", WRITE, sessions.end_session,
          "End one session, and answer when it is gone.", shapes.Nothing),
    Route("GET", "/v1/tunnels", READ, tunnels.list_tunnels,
          "All tunnels, and how they do.", shapes.TunnelList),
    Route("POST", "/v1/tunnels/{name}/probe", WRITE, tunnels.probe_tunnel,
          "Open a tunnel, and ask for echoes through it.", shapes.TunnelProbe),
    Route("GET", "/v1/clients", READ, clients.list_clients,
          "The config files of MCP clients, as they were last seen.", shapes.ClientFiles),
    Route("DELETE", "/v1/tunnels/{name}/peer", WRITE, tunnels.forget_tunnel,
          "Take away the peer that was made for a tunnel.", shapes.Nothing),
    Route("PUT", "/v1/secrets/{server}/{key}", WRITE, secrets.set_secret,
          "Keep a secret of a server.", shapes.Nothing, shapes.SecretValue),
    Route("DELETE", "/v1/secrets/{server}/{key}", WRITE, secrets.delete_secret,
          "Forget one secret of a server.", shapes.Nothing),
    Route("DELETE", "/v1/secrets/{server}", WRITE, secrets.delete_secrets,
          "Forget all secrets of a server.", shapes.Nothing),
    Route("GET", "/v1/events", READ, events.stream_events,
          "What happens, as server-sent events, until the daemon drains.", events.CONTENT_TYPE),
    Route("POST", "/v1/handover", WRITE, daemon.handover,
          "Stop, and leave the sessions to the next daemon; answers at once.", shapes.Health),
    Route("POST", "/v1/shutdown", WRITE, daemon.shutdown,
          "Begin to drain and stop; answers at once.", shapes.Health),
    Route("GET", "/v1/openapi.json", OPEN, openapi.show_openapi,
          "This table as an OpenAPI 3.1 document.", dict),
    Route("GET", "/metrics", READ, metrics.show_metrics,
          "The status in the Prometheus text format.", metrics.CONTENT_TYPE),
)
