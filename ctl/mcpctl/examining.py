"""The whole way to a server, step by step: what was found, and what to do next.

Nothing here prints, and what is found wrong is a finding, never an exception. Each wait has a bound. Nothing wakes a
machine that sleeps, unless that is asked for.
"""

import os
import stat
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from mcpctl import (
    fly_program,
    fly_servers,
    mcp_client,
    network_steps,
    reaching,
    server_files,
    shapes,
    wire,
)
from mcpctl.client import Client
from mcpctl.errors import CtlError
from mcpctl.findings import Finding, Level, found
from mcpctl.reaching import BOUND_S

PROBE = "resources/read", {"uri": "mcpctl://doctor"}
"""A request that the daemon leaves to the server, whatever it remembers of it; no server has that resource."""


class Around(NamedTuple):
    """What the daemon has said, and what may be done."""

    client: Client
    status: shapes.Status
    tunnels: list[shapes.TunnelInfo]
    wake: bool


# ---------------------------------------------------------------- the daemon


def daemon(status: shapes.Status, *, started: bool) -> Iterator[Finding]:
    """The daemon itself; `started`: it did not run before."""
    info = status["daemon"]
    how = "was not running, and has been started" if started else "runs"
    yield found("daemon", "ok", f"{how}: mcpctld {info['version']}, process {info['pid']}")
    if info["version"] != wire.VERSION:
        yield found(
            "version",
            "warning",
            f"the daemon is {info['version']}, this is {wire.VERSION}; run 'mcpctl daemon restart'",
        )
    yield _secrets_place(info["state_dir"])
    for error in status["config_errors"]:
        yield found(
            "configuration", "problem", f"cannot use {error['file']}: {error['message']}; mend it"
        )
    if not status["config_errors"]:
        yield found("configuration", "ok", f"{len(status['servers'])} servers, and no errors")


def _secrets_place(state_dir: str) -> Finding:
    file, index = f"{state_dir}/secrets.json", f"{state_dir}/secrets-index.json"
    for path, what in ((file, "a private file"), (index, "the keyring; their names are in")):
        try:
            mode = stat.S_IMODE(os.stat(path).st_mode)
        except FileNotFoundError:
            continue
        except OSError as exc:
            return found("secrets", "problem", f"cannot look at {path}: {exc.strerror}")
        if mode & 0o077:
            return found("secrets", "problem", f"others may read {path}; run: chmod 600 {path}")
        return found("secrets", "ok", f"in {what} {path}")
    return found("secrets", "ok", "none are kept yet")


# ---------------------------------------------------------------- one server


def examine(name: str, around: Around) -> Iterator[Finding]:
    """Every step of the way to a server, in order; a step that others depend on ends the way."""
    yield from _configuration(name, around.status)
    server = next((one for one in around.status["servers"] if one["name"] == name), None)
    if server is None:
        return
    fly = _ask_fly(name)
    if not server["url"]:
        yield from _conversation(server)
    else:
        yield from _way(server, server["url"], around, fly)
    if fly is not None:
        yield from machines(fly)


def _configuration(name: str, status: shapes.Status) -> Iterator[Finding]:
    file = server_files.path_of(name)
    errors = [error["message"] for error in status["config_errors"] if error["file"] == file]
    for message in errors:
        yield found("configuration", "problem", f"cannot use {file}: {message}; mend it")
    server = next((one for one in status["servers"] if one["name"] == name), None)
    if server is None:
        if not errors:
            text = f"the daemon does not know {file}; run 'mcpctl daemon restart'"
            yield found("configuration", "problem", text)
        return
    for key in server["missing_secrets"]:
        text = f"secret {key!r} is missing; run: mcpctl secret set {name} {key}"
        yield found("configuration", "problem", text)
    if not errors and not server["missing_secrets"]:
        yield found("configuration", "ok", file)


def _way(
    server: shapes.ServerInfo, url: str, around: Around, fly: "Fly | None"
) -> Iterator[Finding]:
    try:
        at = reaching.target(url)
    except ValueError:  # its text may quote what is secret
        text = "the URL is not http:// or https:// with a host; correct it in the file"
        yield found("name", "problem", text)
        return
    name = network_steps.name(at, around.tunnels)
    yield name.finding
    if fly is not None and (asleep := fly.asleep(server)) is not False:
        if not around.wake:
            yield found("network", "skipped", _why_not(asleep, fly))
            return
        yield _wake(server["name"], around.client)
    elif name.finding["level"] == "problem":
        return
    reply = None
    if name.addresses:
        layers = network_steps.Layers(at, name.addresses)
        yield from layers.findings()
        if layers.broken:
            yield found("handshake", "skipped", "the way ends above")
            return
        reply = layers.reply
    yield from _conversation(server, reply)


def _why_not(asleep: bool | None, fly: "Fly") -> str:
    state = "sleeps" if asleep else f"may be asleep ({fly.trouble or 'its state is not known'})"
    return f"the machine {state}, and the next steps would wake it; --wake does so"


def _wake(name: str, client: Client) -> Finding:
    try:
        woken = client.wake(name)
    except CtlError as exc:
        return found("wake", "problem", str(exc))
    return found("wake", "ok", f"the machine is awake after {woken['seconds']:.1f} s")


# ---------------------------------------------------------------- MCP, through the daemon


class _Talk(NamedTuple):
    text: str
    error: CtlError | None = None


def _conversation(
    server: shapes.ServerInfo, reply: reaching.Reply | None = None
) -> Iterator[Finding]:
    talk = _talk(server["name"])
    if server["url"] and (auth := _auth(server, talk.error, reply)):
        yield auth
    level: Level = "ok" if talk.error is None else "problem"
    yield found("handshake", level, talk.text)


def _talk(name: str) -> _Talk:
    """Shake hands as a client does, and have the server itself answer: the daemon could say the rest from memory."""
    begun = time.monotonic()
    try:
        with mcp_client.session([("server", name)], BOUND_S, _deaf) as session:
            _have_answered(session)
            about = session.about.get("serverInfo")
            revision = session.revision
    except CtlError as exc:
        late = exc.kind == "timeout" and not isinstance(exc, mcp_client.RpcError)
        advice = f"no answer within {BOUND_S:g} s; 'mcpctl tools {name}' waits longer"
        return _Talk(advice if late else str(exc), exc)
    called = about.get("name") if isinstance(about, dict) else None
    took = time.monotonic() - begun
    return _Talk(f"MCP {revision} with {called or 'the server'}, in {took:.2f} s")


def _have_answered(session: mcp_client.Session) -> None:
    try:
        session.request(*PROBE)
    except mcp_client.RpcError as exc:
        if exc.of_daemon and exc.kind not in ("not-found", "bad-request"):
            raise


def _deaf(_method: str, _params: dict[str, Any]) -> None:
    """Nothing that a server tells unasked matters here."""


def _auth(
    server: shapes.ServerInfo, error: CtlError | None, reply: reaching.Reply | None
) -> Finding | None:
    """Whether we are let in; None when that cannot be told."""
    name = server["name"]
    if error is None:
        wanted = reply is not None and reply.status in (401, 403)
        return found("auth", "ok", "our credentials are taken" if wanted else "we are let in")
    if error.kind != "denied":
        return None
    if "answered 401" in str(error):
        keys = " ".join(server["secrets"]) or None
        advice = (
            f"mcpctl secret set {name} {keys}"
            if keys
            else "mcpctl add --replace, with --bearer-token"
        )
        what = "does not take our credentials" if keys else "wants credentials, and there are none"
        return found("auth", "problem", f"the server {what} (401); give them with: {advice}")
    if "answered 403" in str(error):
        text = "the server forbids it (403); check what the token is allowed to do"
        return found("auth", "problem", text)
    return None


# ---------------------------------------------------------------- its machines on Fly


class Fly(NamedTuple):
    """What Fly says of a server's machines; `trouble` when it could not be asked."""

    machine: str | None
    machines: list[dict[str, Any]]
    trouble: str | None

    def asleep(self, server: shapes.ServerInfo) -> bool | None:
        """Whether a request would wake a machine; None when nobody knows."""
        if self.trouble is None:
            ours = [one for one in self.machines if self.machine in (None, one["id"])]
            return bool(ours) and all(one["state"] != "started" for one in ours)
        known = server.get("machine")
        if known is None or known["state"] in ("unknown", "starting", "falling asleep"):
            return None
        return known["state"] != "started"


def _ask_fly(name: str) -> Fly | None:
    try:
        place = fly_servers.place_of(name)
    except CtlError:  # it has no machine of its own
        return None
    try:
        answer = fly_program.run("status", place, within_s=BOUND_S)
    except CtlError as exc:
        return Fly(place["machine"], [], str(exc))
    return Fly(place["machine"], answer["machines"], None)


def machines(fly: Fly) -> Iterator[Finding]:
    """What Fly says of them, and which of their settings hurt."""
    if fly.trouble is not None:
        yield found("fly", "warning", f"cannot ask Fly: {fly.trouble}")
        return
    if not fly.machines:
        yield found("fly", "problem", "the app has no machine; launch the server anew")
    elif fly.machine and fly.machine not in [one["id"] for one in fly.machines]:
        text = f"machine {fly.machine} is gone; correct 'machine' in the server's file"
        yield found("fly", "problem", text)
    for machine in fly.machines:
        yield from _machine(machine)


def _machine(machine: dict[str, Any]) -> Iterator[Finding]:
    name, state = machine["id"], machine["state"]
    awake = state == "started"
    bad = [one["name"] for one in machine["checks"] if awake and one["status"] != "passing"]
    if bad:
        text = f"machine {name} is {state}, and fails: {', '.join(bad)}; see 'mcpctl logs'"
        yield found("fly", "problem", text)
    else:
        yield found("fly", "ok", f"machine {name} is {state}")
    for one in machine["findings"]:
        level: Level = "problem" if one["level"] == "problem" else "warning"
        yield found("fly", level, f"{one['setting']}: {one['message']}")
