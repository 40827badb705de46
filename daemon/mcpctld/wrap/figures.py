"""What is counted, for `/metrics` and `/health`."""

from dataclasses import dataclass, field

from mcpctld.wrap.children import Children

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(slots=True)
class Figures:
    """Since the start."""

    requests: dict[str, int] = field(default_factory=dict)
    """MCP requests, by way of speaking."""
    refused: int = 0
    """HTTP requests that the guard turned away."""
    replayed: int = 0
    sessions: dict[str, int] = field(default_factory=dict)
    """Open ones, by way of speaking."""
    children_started: int = 0
    children_failed: int = 0
    dropped_readers: int = 0
    """Clients that did not read what they were told."""

    def count(self, way: str) -> None:
        """One more MCP request."""
        self.requests[way] = self.requests.get(way, 0) + 1

    def opened(self, way: str, change: int = 1) -> None:
        """One more session, or one less."""
        self.sessions[way] = self.sessions.get(way, 0) + change


def exposition(figures: Figures, children: Children, *, ready: bool) -> bytes:
    """In Prometheus' text format (its "Exposition formats"); no more is needed than these few lines."""
    lines = [
        *_family("requests_total", "counter", "MCP requests", figures.requests, "way"),
        *_family("sessions", "gauge", "Open sessions", figures.sessions, "way"),
        *_single("refused_total", "counter", "HTTP requests turned away", figures.refused),
        *_single("replayed_total", "counter", "Requests for other machines", figures.replayed),
        *_single("children", "gauge", "Processes of the server", children.running),
        *_single("children_waiting", "gauge", "Clients waiting for one", children.waiting),
        *_single("children_started_total", "counter", "Processes begun", figures.children_started),
        *_single(
            "children_failed_total", "counter", "Processes that died", figures.children_failed
        ),
        *_single("dropped_readers_total", "counter", "Clients too slow", figures.dropped_readers),
        *_single("ready", "gauge", "Whether the server answers", int(ready)),
    ]
    return ("\n".join(lines) + "\n").encode()


def _single(name: str, kind: str, text: str, value: int) -> list[str]:
    return [*_head(name, kind, text), f"mcpctl_wrap_{name} {value}"]


def _family(name: str, kind: str, text: str, values: dict[str, int], label: str) -> list[str]:
    rows = [f'mcpctl_wrap_{name}{{{label}="{key}"}} {value}' for key, value in values.items()]
    return [*_head(name, kind, text), *rows]


def _head(name: str, kind: str, text: str) -> list[str]:
    return [f"# HELP mcpctl_wrap_{name} {text}.", f"# TYPE mcpctl_wrap_{name} {kind}"]
