"""The real servers and clients of the matrix: how each is started, and what it is known to do."""

import dataclasses
import itertools
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import trio

from fixtures.exercise import NAME, POEM, ROOT, Plan
from fixtures.sdk_clients import Target, run_fastmcp, run_sdk
from harness import FIXTURES, unavailable

MODERN = "2026-07-28"
LEGACY = "2025-11-25"
NODE_TESTS = FIXTURES.parent / "node"
PACKAGES = NODE_TESTS / "node_modules/@modelcontextprotocol"
EVERYTHING = PACKAGES / "server-everything/dist/index.js"
FILESYSTEM = PACKAGES / "server-filesystem/dist/index.js"
WATCHED_URI = "demo://resource/dynamic/text/1"

Check = Callable[[Any], bool]


def node() -> str:
    """The Node.js to run; the test is skipped where it or its packages are missing."""
    found = shutil.which("node")
    if found is None:
        unavailable("node", "node is not installed")
    if not EVERYTHING.exists():
        unavailable("node", "tests/node has no node_modules: run `npm ci` there")
    return found


def equals(value: Any) -> Check:
    """Exactly this."""
    return lambda seen: seen == value


def contains(text: str) -> Check:
    """Text with this in it."""
    return lambda seen: text in seen


def counts_to(last: int, at_least: int) -> Check:
    """1, 2, 3 … in order; the client may have dropped the end."""
    steps = [float(number) for number in range(1, last + 1)]
    return lambda seen: len(seen) >= at_least and seen == steps[: len(seen)]


def counts_in_rounds(last: int, at_least: int) -> Check:
    """Up to a number, in order, and perhaps again from an earlier one.

    A modern client makes its call again to answer what the server asked meanwhile; nobody hears the steps in between.
    """
    steps = {float(number) for number in range(1, last + 1)}
    return lambda seen: (
        len(seen) >= at_least
        and steps.issuperset(seen)
        and sum(after <= before for before, after in itertools.pairwise(seen)) <= 1
    )


# ---------------------------------------------------------------- servers


@dataclasses.dataclass(frozen=True, slots=True)
class Server:
    """A server of the matrix."""

    name: str
    plan: Plan
    checks: Mapping[str, Check]
    """What a client's report must say, by feature."""
    not_here: Mapping[str, str]
    """Features that this server cannot show to any client, and why."""
    command: tuple[str, ...] = ()
    serve: tuple[str, ...] = ()
    """Instead of `command`: what starts it as an HTTP server."""
    path: str = "/mcp"
    eras: tuple[str, ...] = ("legacy", "modern")
    """Which it speaks: the revisions before 2026-07-28, and that one."""
    gate: bool = False
    """Whether it is kept to its one era by a gate in front of it."""

    @property
    def needs_node(self) -> bool:
        """Whether it is a program for Node.js."""
        return "node" in (*self.command[:1], *self.serve[:1])


TOOLS_ONLY = (
    *("progress", "logging", "sampling", "elicitation", "roots"),
    *("cancellation", "list_changed", "resource_updated"),
)
NOTHING_TO_SHOW = dict.fromkeys(TOOLS_ONLY, "the server offers only tools")


def house(name: str, **where: Any) -> Server:
    """The fixture server, which has everything."""
    return Server(
        name=name,
        plan=Plan(
            tools=("add", {"a": 2, "b": 3}),
            error=("fail", {"why": "rain"}),
            progress=("progress", {"steps": 5, "pause": 0.02}),
            logging=("log", {"lines": 3}),
            sampling=("sample", {"prompt": "the sea"}),
            elicitation=("elicit", {}),
            roots=("roots", {}),
            cancellation=(("wait_for_cancel", {"label": "LABEL"}), ("cancellations", {})),
            list_changed=("toggle_tool", {}),
            resource_updated=(("touch_resource", {}), "house://watched"),
        ),
        checks={
            "tools": lambda seen: "echo" in seen[0] and seen[1] == "5",
            "error": equals([True, "it failed: rain"]),
            "progress": counts_to(5, at_least=5),
            "logging": equals([{"line": 0}, {"line": 1}, {"line": 2}]),
            "sampling": equals(POEM),
            "elicitation": equals(f"accept {NAME}"),
            "roots": equals(ROOT),
            "cancellation": contains("LABEL"),
            "list_changed": equals(True),
            "resource_updated": equals(["house://watched"]),
        },
        not_here={},
        **where,
    )


def everything(name: str, list_changed: bool, **where: Any) -> Server:
    """`@modelcontextprotocol/server-everything`."""
    not_here = {"cancellation": "no tool of it tells whether a call was cancelled"}
    checks: dict[str, Check] = {
        "tools": lambda seen: "echo" in seen[0] and seen[1] == "Echo: hello",
        "error": lambda seen: seen[0] and "Input validation error" in seen[1],
        # The last step and the answer come at once; the TypeScript client then drops the step. And the server asks for
        # roots when it pleases.
        "progress": counts_in_rounds(4, at_least=2),
        "logging": lambda seen: any("evel" in said for said in seen),
        "sampling": contains(POEM),
        "elicitation": contains(f"Name: {NAME}"),
        "roots": contains(ROOT),
        "resource_updated": equals([WATCHED_URI]),
    }
    if list_changed:
        checks["list_changed"] = equals(True)
    else:
        not_here["list_changed"] = "told before any client can have opened its GET stream"
    return Server(
        name=name,
        plan=Plan(
            tools=("echo", {"message": "hello"}),
            error=("echo", {}),
            progress=("trigger-long-running-operation", {"duration": 0.2, "steps": 4}),
            logging=("toggle-simulated-logging", {}),
            sampling=("trigger-sampling-request", {"prompt": "the sea"}),
            elicitation=("trigger-elicitation-request", {}),
            roots=("get-roots-list", {}),
            changes_list_at_start=list_changed,
            resource_updated=(("toggle-subscriber-updates", {}), WATCHED_URI),
        ),
        checks=checks,
        not_here=not_here,
        eras=("legacy",),
        **where,
    )


def plain(
    name: str, tool: str, said: str, command: tuple[str, ...] = (), **arguments: Any
) -> Server:
    """A server that has tools and nothing else; its error is a call without arguments."""
    return Server(
        name=name,
        plan=Plan(tools=(tool, arguments), error=(tool, {})),
        checks={
            "tools": lambda seen: tool in seen[0] and said in seen[1],
            "error": lambda seen: seen[0] and seen[1] != "",
        },
        not_here=NOTHING_TO_SHOW,
        command=command or (name,),
    )


HOUSE = (sys.executable, str(FIXTURES / "house.py"))
SERVERS = [
    plain("mcp-server-time", "get_current_time", '"timezone": "UTC"', timezone="UTC"),
    plain("mcp-server-git", "git_log", "the first commit", repo_path="REPOSITORY"),
    house("house-stdio", command=(*HOUSE, "stdio")),
    house("house-http", serve=(*HOUSE, "http")),
    house("house-legacy-only", serve=(*HOUSE, "http"), eras=("legacy",), gate=True),
    house("house-modern-only", serve=(*HOUSE, "http"), eras=("modern",), gate=True),
    everything("everything-stdio", True, command=("node", str(EVERYTHING), "stdio")),
    everything("everything-sse", True, serve=("node", str(EVERYTHING), "sse"), path="/sse"),
    everything("everything-http", False, serve=("node", str(EVERYTHING), "streamableHttp")),
]


def make_repository(folder: Path) -> Path:
    """A git repository with one commit."""
    folder.mkdir()
    who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    commit = ["commit", "--quiet", "--allow-empty", "-m", "the first commit"]
    for words in (["init", "--quiet"], [*who, *commit]):
        subprocess.run(["git", "-C", folder, *words], check=True, timeout=30)
    return folder


# ---------------------------------------------------------------- clients


@dataclasses.dataclass(frozen=True, slots=True)
class Client:
    """A client of the matrix, in one of its modes."""

    library: str
    mode: str

    @property
    def name(self) -> str:
        """For the test's id."""
        return f"{self.library}-{self.mode}"

    @property
    def eras(self) -> tuple[str, ...]:
        """Which it speaks, the one that it prefers first."""
        modes = {"legacy": ("legacy",), "auto": ("modern", "legacy")}
        return modes.get(self.mode, ("modern",))

    def meets(self, server: Server) -> bool:
        """Whether both could talk without anything between them."""
        return any(era in server.eras for era in self.eras)

    def expected_version(self, server: Server, via: str) -> str:
        """What it must have negotiated: through the shim, always what it likes best."""
        spoken = self.eras if via == "shim" else [era for era in self.eras if era in server.eras]
        return MODERN if spoken[0] == "modern" else LEGACY

    async def run(self, target: Target, plan: Plan) -> dict[str, Any]:
        """Use every feature; the report of `fixtures.exercise`."""
        if self.library == "python":
            return await run_sdk(target, self.mode, plan)
        run = run_fastmcp if self.library == "fastmcp" else _run_typescript
        return await trio.to_thread.run_sync(run, target, self.mode, plan)


def _run_typescript(target: Target, mode: str, plan: Plan) -> dict[str, Any]:
    wanted = dataclasses.asdict(target) | {"mode": mode, "plan": dataclasses.asdict(plan)}
    words = [node(), str(NODE_TESTS / "client.mjs"), json.dumps(wanted)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


CLIENTS = [
    *(Client("python", mode) for mode in ("legacy", "auto", MODERN)),
    *(Client("fastmcp", mode) for mode in ("legacy", "auto")),
    *(Client("typescript", mode) for mode in ("legacy", "auto", MODERN)),
]
