"""`mcpctl status`: the daemon, its servers and sessions, once or live."""

import argparse
import queue
import sys
import threading
import time

from mcpctl import output, shapes
from mcpctl.client import Client
from mcpctl.commands import servers, sessions
from mcpctl.commands.common import Commands, command, json_flag
from mcpctl.errors import CtlError, NotRunning

REDRAW_MIN_S = 1.0
"""However many events there are, the screen stays readable."""

REDRAW_MAX_S = 2.0
"""Calls make no events; their figures are fetched this often."""

MACHINE_HEAD = ("MACHINE OF", "APP", "STATE", "POLICY", "WAKES IN", "NEXT", "HEALTH", "TROUBLE")
COST_HEAD = ("SERVER", "AWAKE FOR", "TODAY", "30 DAYS", "ALL", "NOW")
HEAD = ("SERVER", "TRANSPORT", "SESSIONS", "CALLS", "ERRORS", "P50 MS", "P99 MS", "LAST ERROR")
CLIENT_HEAD = ("CLIENT FILE", "STATE", "SERVERS", "OURS", "PROBLEM")
CLEAR = "\x1b[H\x1b[2J"


def add_to(commands: Commands) -> None:
    """Add the parsers of this module."""
    text = "show the daemon, its servers and its sessions; or a launched server as Fly has it"
    parser = command(commands, "status", one_or_all, text)
    parser.add_argument("name", nargs="?", metavar="NAME", help="a launched server")
    json_flag(parser)
    parser.add_argument(
        "--watch", action="store_true", help="stay and redraw when something happens"
    )
    parser.add_argument(
        "--cost",
        action="store_true",
        help="show how long each server's machine was awake, and for whom",
    )


def show(args: argparse.Namespace) -> int:
    """Print the status; without a daemon say so, and exit as `not-running`."""
    if args.cost:
        return show_cost(args)
    if args.watch:
        return watch(args)
    try:
        status = Client().status()
    except NotRunning as exc:
        if not args.json:
            raise
        output.as_json({"daemon": None})
        return exc.exit_code
    _print(status, as_json=args.json)
    return 0


def show_cost(args: argparse.Namespace) -> int:
    """Print the ledger of machine-seconds."""
    cost = Client().cost()
    if args.json:
        output.as_json(cost)
        return 0
    rows = [row for server in cost["servers"] for row in _cost_rows(server)]
    output.table(COST_HEAD, rows, "no machine was awake yet, or no server has one")
    return 0


def _cost_rows(server: shapes.ServerCost) -> list[tuple[object, ...]]:
    """One row for each who kept it awake, the dearest first; the last one is the sum where there are several."""
    spans = (server["today_s"], server["month_s"], server["total_s"])
    dearest = sorted(server["total_s"], key=lambda who: -server["total_s"][who])
    rows = [(who, [span.get(who, 0.0) for span in spans]) for who in dearest]
    if len(rows) != 1:
        rows.append(("all", [sum(span.values()) for span in spans]))
    now = "awake" if server["awake"] else "asleep"
    return [
        (server["server"], who, *(output.span(seconds) for seconds in spent), now)
        for who, spent in rows
    ]


def watch(args: argparse.Namespace) -> int:
    """Print the status again and again, until interrupted; with `--json` one line each time."""
    client = Client()
    happened: queue.SimpleQueue[None] = queue.SimpleQueue()
    listener: threading.Thread | None = None
    while True:
        if listener is None or not listener.is_alive():
            listener = threading.Thread(target=_listen, args=(happened,), daemon=True)
            listener.start()
        _draw(client, args.json)
        _wait(happened)


def _draw(client: Client, as_json: bool) -> None:
    try:
        status: shapes.Status | None = client.status()
    except NotRunning:
        status = None
    if sys.stdout.isatty() and not as_json:
        sys.stdout.write(CLEAR)
    if status:
        _print(status, as_json=as_json, compact=True)
    elif as_json:
        output.as_json({"daemon": None}, compact=True)
    else:
        print("the daemon is not running")
    if not as_json:
        print()
    sys.stdout.flush()


def _wait(happened: "queue.SimpleQueue[None]") -> None:
    time.sleep(REDRAW_MIN_S)
    try:
        happened.get(timeout=REDRAW_MAX_S - REDRAW_MIN_S)
        while True:  # what came meanwhile is in the same redraw
            happened.get_nowait()
    except queue.Empty:
        pass


def _listen(happened: "queue.SimpleQueue[None]") -> None:
    try:
        for _ in Client().events():
            happened.put(None)
    except CtlError:
        pass  # the next redraw says what is the matter, and listens again


def one_or_all(args: argparse.Namespace) -> int:
    """The status of one launched server, asked of Fly, or that of the daemon."""
    if args.name is None:
        return show(args)
    from mcpctl.commands import launched

    return launched.state(args)


def _print(status: shapes.Status, *, as_json: bool, compact: bool = False) -> None:
    if as_json:
        output.as_json(status, compact=compact)
        return
    _print_daemon(status["daemon"])
    print()
    output.table(HEAD, [_row(server) for server in status["servers"]], servers.NONE_YET)
    print()
    machines = [row for server in status["servers"] if (row := _machine_row(server))]
    if machines:
        output.table(MACHINE_HEAD, machines)
        print()
    sessions.table(status["sessions"])
    _print_clients(status.get("clients", []))  # an older daemon has none
    for error in status["config_errors"]:
        print(f"\ncannot use {output.one_line(error['file'])}: {output.one_line(error['message'])}")


def _print_clients(files: list[shapes.ClientFile]) -> None:
    if files:
        print()
        output.table(CLIENT_HEAD, [_client_row(file) for file in files])


def _client_row(file: shapes.ClientFile) -> tuple[object, ...]:
    names = [one["name"] for one in file["servers"]]
    ours = dict.fromkeys(one["server"] for one in file["servers"] if one["server"])
    state = f"{file['state']} (project)" if file["scope"] == "project" else file["state"]
    return file["file"], state, len(names), ", ".join(ours) or None, file["problem"]


def _print_daemon(daemon: shapes.DaemonInfo) -> None:
    by = {"self": "by a client", "systemd": "by systemd", "launchd": "by launchd"}
    started = by.get(daemon["activation"], daemon["activation"])
    up = output.ago(daemon["started_at"])
    print(f"mcpctld {daemon['version']}, process {daemon['pid']}, up {up}, started {started}")
    print(f"servers in {daemon['config_dir']}/servers, log in {daemon['log_file']}")


def _row(server: shapes.ServerInfo) -> tuple[object, ...]:
    figures = server["figures"]
    return (
        server["name"],
        server["detected"] or server["transport"],
        _sessions(server),
        figures["calls"],
        figures["errors"],
        figures["p50_ms"],
        figures["p99_ms"],
        _last_error(server),
    )


def _machine_row(server: shapes.ServerInfo) -> tuple[object, ...] | None:
    machine = server.get("machine")
    if machine is None:
        return None
    bad = [f"{name} {state}" for name, state in machine["checks"].items() if state != "passing"]
    restarts = [f"{machine['restarts']} restarts"] if machine["restarts"] else []
    return (
        server["name"],
        machine["app"] if machine["at"] == "fly.io" else f"{machine['app']} ({machine['at']})",
        machine["state"],
        machine["policy"],
        _wakes_in(machine),
        output.moment(machine["next_wake_at"]),
        ", ".join([*bad, *restarts]) or ("passing" if machine["checks"] else None),
        machine["trouble"],
    )


def _wakes_in(machine: shapes.Machine) -> str | None:
    """What the last wakes took: half of them, and nine of ten."""
    if machine["wake_p50_s"] is None or machine["wake_p90_s"] is None:
        return None
    return f"{machine['wake_p50_s']:.1f} s ({machine['wake_p90_s']:.1f} s)"


def _sessions(server: shapes.ServerInfo) -> int | str:
    """How many, and how many of them share one session with the server."""
    count, sharing = server["sessions"], server["sharing"]
    return f"{count} ({sharing} share)" if sharing else count


def _last_error(server: shapes.ServerInfo) -> str | None:
    if server["missing_secrets"]:
        return f"missing secrets: {', '.join(server['missing_secrets'])}"
    error = server["last_error"]
    return f"{output.ago(error['at'])} ago: {error['message']}" if error else None
