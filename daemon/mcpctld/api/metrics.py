"""`GET /metrics`: the status in the Prometheus text format.

Built anew from each snapshot in a registry of its own, so nothing is counted twice and the
process-wide registry of `prometheus_client` is never touched.
"""

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from quart.wrappers import Response
from quart_trio.wrappers import TrioResponse

from mcpctl import shapes
from mcpctld.api.route import Call

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class StatusCollector(Collector):
    """One status, as metrics."""

    def __init__(self, status: shapes.Status) -> None:
        self._status = status

    def collect(self) -> Iterator[Metric]:
        """Every metric, daemon first."""
        yield from daemon_metrics(self._status)
        for prefix, figures in (
            ("mcpctl_server", _server_rows(self._status["servers"])),
            ("mcpctl_session", _session_rows(self._status["sessions"])),
        ):
            yield from figure_metrics(prefix, figures)
        yield from server_metrics(self._status["servers"])


Rows = list[tuple[dict[str, str], shapes.Figures]]
"""Labels, and the figures that they belong to."""


def _server_rows(servers: list[shapes.ServerInfo]) -> Rows:
    return [({"server": server["name"]}, server["figures"]) for server in servers]


def _session_rows(sessions: list[shapes.SessionInfo]) -> Rows:
    return [
        ({"server": session["server"], "session": session["id"]}, session["figures"])
        for session in sessions
    ]


def daemon_metrics(status: shapes.Status) -> Iterator[Metric]:
    """The daemon itself."""
    daemon = status["daemon"]
    about = {"version": daemon["version"], "python": daemon["python"]}
    yield _gauge("mcpctl_info", "What is running; always 1.", [(about, 1)])
    started = daemon["started_at"]
    yield _gauge("mcpctl_start_time_seconds", "Unix time of the start.", [({}, started)])
    broken = len(status["config_errors"])
    yield _gauge("mcpctl_config_errors", "Configuration files not in force.", [({}, broken)])


def server_metrics(servers: list[shapes.ServerInfo]) -> Iterator[Metric]:
    """What only servers have."""
    yield _gauge(
        "mcpctl_server_sessions",
        "Clients attached now.",
        [({"server": server["name"]}, server["sessions"]) for server in servers],
    )
    yield _gauge(
        "mcpctl_server_missing_secrets",
        "Secrets that a server refers to and nobody has given.",
        [({"server": server["name"]}, len(server["missing_secrets"])) for server in servers],
    )


def figure_metrics(prefix: str, rows: Rows) -> Iterator[Metric]:
    """Calls and how long they took, the same for servers and sessions."""
    names = ["server"] if prefix == "mcpctl_server" else ["server", "session"]
    calls = CounterMetricFamily(f"{prefix}_calls", "Requests of clients.", labels=names)
    errors = CounterMetricFamily(f"{prefix}_call_errors", "Requests that failed.", labels=names)
    for labels, figures in rows:
        values = [_text(value) for value in labels.values()]
        calls.add_metric(values, figures["calls"])
        errors.add_metric(values, figures["errors"])
    yield calls
    yield errors
    in_flight: list[tuple[dict[str, str], float]] = [(row, f["in_flight"]) for row, f in rows]
    yield _gauge(f"{prefix}_calls_in_flight", "Requests not answered yet.", in_flight, names)
    yield _gauge(
        f"{prefix}_call_seconds",
        "How long the newest 1024 requests took.",
        list(_quantiles(rows)),
        [*names, "quantile"],
    )


def _quantiles(rows: Rows) -> Iterator[tuple[dict[str, str], float]]:
    for labels, figures in rows:
        for quantile, milliseconds in (("0.5", figures["p50_ms"]), ("0.99", figures["p99_ms"])):
            if milliseconds is not None:
                yield {**labels, "quantile": quantile}, milliseconds / 1000


def _gauge(
    name: str,
    about: str,
    rows: Iterable[tuple[dict[str, str], float]],
    names: list[str] | None = None,
) -> Metric:
    rows = list(rows)
    if names is None:
        names = list(rows[0][0]) if rows else []
    gauge = GaugeMetricFamily(name, about, labels=names)
    for labels, value in rows:
        gauge.add_metric([_text(label) for label in labels.values()], value)
    return gauge


def _text(label: str) -> str:
    """The format is UTF-8: what cannot be written in it becomes a question mark."""
    return label.encode("utf-8", "replace").decode()


def show_metrics(call: Call) -> Response:
    """The answer to a scrape."""
    registry = CollectorRegistry()
    registry.register(StatusCollector(call.engine.status()))
    return TrioResponse(generate_latest(registry), 200, content_type=CONTENT_TYPE)
