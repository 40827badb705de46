"""What is counted, and how it is told (Prometheus, "Exposition formats")."""

import re

from mcpctld.wrap.children import Children
from mcpctld.wrap.figures import Figures, exposition

_SAMPLE = re.compile(r'(mcpctl_wrap_[a-z_]+)(\{way="([a-z-]+)"\})? (-?[0-9]+)')


def samples(text: bytes) -> dict[tuple[str, str], int]:
    found = {}
    for line in text.decode().splitlines():
        if not line.startswith("#"):
            match = _SAMPLE.fullmatch(line)
            assert match is not None, line
            found[match[1], match[3] or ""] = int(match[4])
    return found


def test_everything_is_told():
    figures = Figures(
        refused=1, replayed=2, children_started=3, children_failed=4, dropped_readers=5
    )
    for way in ("modern", "modern", "http-sse"):
        figures.count(way)
    figures.opened("http-sse")
    figures.opened("streamable-http")
    figures.opened("streamable-http", -1)
    told = samples(exposition(figures, Children(2, lambda: False), ready=True))
    assert told == {
        ("mcpctl_wrap_requests_total", "modern"): 2,
        ("mcpctl_wrap_requests_total", "http-sse"): 1,
        ("mcpctl_wrap_sessions", "http-sse"): 1,
        ("mcpctl_wrap_sessions", "streamable-http"): 0,
        ("mcpctl_wrap_refused_total", ""): 1,
        ("mcpctl_wrap_replayed_total", ""): 2,
        ("mcpctl_wrap_children", ""): 0,
        ("mcpctl_wrap_children_waiting", ""): 0,
        ("mcpctl_wrap_children_started_total", ""): 3,
        ("mcpctl_wrap_children_failed_total", ""): 4,
        ("mcpctl_wrap_dropped_readers_total", ""): 5,
        ("mcpctl_wrap_ready", ""): 1,
    }


async def test_places_are_told_as_they_are():
    children = Children(2, lambda: False)
    async with children.place():
        told = samples(exposition(Figures(), children, ready=False))
    assert told["mcpctl_wrap_children", ""] == 1
    assert told["mcpctl_wrap_ready", ""] == 0


def test_each_family_is_described_before_its_samples():
    lines = exposition(Figures(), Children(1, lambda: False), ready=True).decode()
    assert lines.endswith("\n")
    described: dict[str, str] = {}
    for line in lines.splitlines():
        if line.startswith("# TYPE"):
            _, _, name, kind = line.split()
            assert name not in described
            assert (kind == "counter") is name.endswith("_total")
            described[name] = kind
        elif not line.startswith("#"):
            assert re.split(r"[ {]", line)[0] in described
