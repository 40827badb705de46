"""Every real client to every real stdio server through `mcpctl wrap`: all features of MCP, whatever eras they speak.

The legacy clients come over Streamable HTTP and over HTTP+SSE, the modern ones, which know no other, over the former.
"""

import sys
from collections.abc import Iterator

import pytest

from e2e import real, wrapped
from e2e.test_matrix import fill_in, wrong
from e2e.wrapped import Wrap
from fixtures.sdk_clients import Target
from harness import Home

pytestmark = [
    # Logging, sampling and roots are on their way out of MCP, and the clients say so.
    pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning"),
    # FastMCP's own.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    # The SDK's own HTTP transport leaves generators to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

GATE = (sys.executable, str(real.FIXTURES.parent / "conformance" / "stdiogate.py"))
SERVERS = [
    *(server for server in real.SERVERS if server.command and server.name != "mcp-server-git"),
    real.plain(
        "server-filesystem",
        "list_directory",
        "[FILE] poem.txt",
        command=("node", str(real.FILESYSTEM), "FOLDER"),
        path="FOLDER",
    ),
    real.house("house-modern-only", command=(*GATE, "modern", *wrapped.HOUSE), eras=("modern",)),
]
LEGACY_CLIENTS = [client for client in real.CLIENTS if client.mode == "legacy"]
PATHS = {"http": "/mcp", "sse": "/sse"}
QUICK = ("house-stdio", "mcp-server-time")
"""Both eras and every feature; the others take longer to start."""
CELLS = [
    pytest.param(
        client,
        server,
        path,
        id=f"{client.name}-{server.name}-{name}",
        marks=() if server.name in QUICK else pytest.mark.slow,
    )
    for name, path in PATHS.items()
    for client in (real.CLIENTS if name == "http" else LEGACY_CLIENTS)
    for server in SERVERS
]


class Wraps:
    """One wrap a server, to which all clients come."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.folder = home.path / "folder"
        self.folder.mkdir()
        (self.folder / "poem.txt").write_text("the sea\n")
        self.running: dict[str, Wrap] = {}

    def at(self, server: real.Server, client: real.Client) -> Wrap:
        """The one of this server.

        Modern clients share a process, and each tool of server-everything that toggles something does so for all.
        """
        alone = server.name == "everything-stdio" and client.mode != "legacy"
        key = f"{server.name} {client.name}" if alone else server.name
        if key not in self.running:
            command = tuple(word.replace("FOLDER", str(self.folder)) for word in server.command)
            self.running[key] = wrapped.start(self.home, command).wait_ready()
        return self.running[key]


@pytest.fixture(scope="module")
def wraps() -> Iterator[Wraps]:
    with Home() as home:
        yield Wraps(home)


@pytest.mark.usefixtures("what_it_needs")
@pytest.mark.parametrize(("client", "server", "path"), CELLS)
async def test_every_feature_works(
    wraps: Wraps, client: real.Client, server: real.Server, path: str
) -> None:
    label = f"LABEL-{client.name}-{path}"
    plan = fill_in(server.plan, LABEL=label, FOLDER=str(wraps.folder))
    target = Target(url=wraps.at(server, client).base + path, sse=path == "/sse")
    report = await client.run(target, plan)
    assert report["version"] == client.expected_version(server, "shim")
    assert wrong(server, report) == {}
