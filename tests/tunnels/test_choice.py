"""`mcpctld.tunnels.choice`: which hosts are behind which tunnel."""

import pytest

from mcpctld.errors import NotFound
from mcpctld.model import Settings, TunnelSpec
from mcpctld.tunnels import choice
from mcpctld.tunnels.choice import Tunnels, is_of_fly, matches, system_reaches_fly


@pytest.mark.parametrize(
    ("pattern", "host", "fits"),
    [
        ("*.internal", "app.internal", True),
        ("*.internal", "ID.vm.App.Internal.", True),
        ("*.internal", "internal", False),
        ("*.internal", "app.internal.example", False),
        ("*.flycast", "app.flycast.localhost", False),
        ("app.internal", "app.internal", True),
        ("app.internal", "other.internal", False),
        ("fdaa::/16", "fdaa:0:18::3", True),
        ("fdaa::/16", "fdab::3", False),
        ("fdaa::/16", "app.internal", False),
        ("10.1.0.0/16", "10.1.2.3", True),
        ("10.1.0.0/16", "::1", False),
        ("::1", "::1", True),
        ("*.*", "10.1.2.3", False),
    ],
)
def test_patterns(pattern, host, fits):
    assert matches(pattern, host) is fits


@pytest.mark.parametrize(
    ("host", "is_"),
    [
        ("a.internal", True), ("A.FLYCAST.", True), ("fdaa::1", True),
        ("a.flycast.localhost", False), ("fdab::1", False), ("10.0.0.1", False),
    ],
)  # fmt: skip
def test_what_is_of_fly(host, is_):
    assert is_of_fly(host) is is_


def spec(*hosts: str) -> TunnelSpec:
    return TunnelSpec(kind="wireguard", conf="/x.conf", hosts=hosts)


async def test_the_first_that_fits_is_taken(nursery, monkeypatch, tmp_path):
    settings = Settings(
        tunnels={"one": spec("a.internal"), "two": spec("*.internal", "*.home.arpa")}
    )
    tunnels = Tunnels(nursery, lambda: settings, str(tmp_path))
    names = [tunnels.find(host) for host in ("a.internal", "b.internal", "example.com")]
    assert names == ["one", "two", None]
    monkeypatch.setattr(choice, "system_reaches_fly", lambda: True)
    names = [tunnels.find(host) for host in ("a.internal", "b.home.arpa")]
    assert names == [None, "two"]  # only Fly's hosts have another way
    assert [info["state"] for info in tunnels.infos()] == ["closed", "closed"]
    with pytest.raises(NotFound, match="no tunnel 'three'"):
        await tunnels.open_stream("three", "a.internal", 80)


class Probe:
    """A socket of a system that has a way."""

    def __init__(self, source) -> None:
        self._source = source

    def __enter__(self):
        return self

    def __exit__(self, *exc) -> None:
        pass

    def connect(self, address) -> None:
        if self._source is None:
            raise OSError("no route")

    def getsockname(self):
        return self._source, 1, 0, 0


@pytest.mark.parametrize(
    ("source", "reaches"), [("fdaa:0:18:a7b::2", True), ("2001:db8::1", False), (None, False)]
)
def test_the_system_s_own_way(monkeypatch, source, reaches):
    monkeypatch.setattr(choice.socket, "socket", lambda *_: Probe(source))
    assert system_reaches_fly() is reaches
