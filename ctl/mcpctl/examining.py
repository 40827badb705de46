"""The whole way to a server, step by step: what was found, and what to do next.

Nothing here prints, and what is found wrong is a finding, never an exception. Each wait has a bound. Nothing wakes a
machine that sleeps, unless that is asked for.
"""

import http.client
import ipaddress
import json
import os
import ssl
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any, Literal, NamedTuple, TypedDict

from mcpctl import (
    fly_program,
    fly_servers,
    mcp_client,
    output,
    reaching,
    server_files,
    shapes,
    wire,
)
from mcpctl.client import Client
from mcpctl.errors import CtlError
from mcpctl.reaching import BOUND_S, Target

ENDS_SOON_DAYS = 14
PROBE = "resources/read", {"uri": "mcpctl://doctor"}
"""A request that the daemon leaves to the server, whatever it remembers of it; no server has that resource."""
EVENTS = "text/event-stream"

Level = Literal["ok", "warning", "problem", "skipped"]


class Finding(TypedDict):
    """What one step has found."""

    step: str
    level: Level
    message: str


class Around(NamedTuple):
    """What the daemon has said, and what may be done."""

    client: Client
    status: shapes.Status
    tunnels: list[shapes.TunnelInfo]
    wake: bool


def _found(step: str, level: Level, message: str) -> Finding:
    return {"step": step, "level": level, "message": output.one_line(message)}


# ---------------------------------------------------------------- the daemon


def daemon(status: shapes.Status, *, started: bool) -> Iterator[Finding]:
    """The daemon itself; `started`: it did not run before."""
    info = status["daemon"]
    how = "was not running, and has been started" if started else "runs"
    yield _found("daemon", "ok", f"{how}: mcpctld {info['version']}, process {info['pid']}")
    if info["version"] != wire.VERSION:
        yield _found(
            "version",
            "warning",
            f"the daemon is {info['version']}, this is {wire.VERSION}; run 'mcpctl daemon restart'",
        )
    yield _secrets_place(info["state_dir"])
    for error in status["config_errors"]:
        yield _found(
            "configuration", "problem", f"cannot use {error['file']}: {error['message']}; mend it"
        )
    if not status["config_errors"]:
        yield _found("configuration", "ok", f"{len(status['servers'])} servers, and no errors")


def _secrets_place(state_dir: str) -> Finding:
    file, index = f"{state_dir}/secrets.json", f"{state_dir}/secrets-index.json"
    for path, what in ((file, "a private file"), (index, "the keyring; their names are in")):
        try:
            mode = stat.S_IMODE(os.stat(path).st_mode)
        except FileNotFoundError:
            continue
        except OSError as exc:
            return _found("secrets", "problem", f"cannot look at {path}: {exc.strerror}")
        if mode & 0o077:
            return _found("secrets", "problem", f"others may read {path}; run: chmod 600 {path}")
        return _found("secrets", "ok", f"in {what} {path}")
    return _found("secrets", "ok", "none are kept yet")


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
        yield from _machines(fly)


def _configuration(name: str, status: shapes.Status) -> Iterator[Finding]:
    file = server_files.path_of(name)
    errors = [error["message"] for error in status["config_errors"] if error["file"] == file]
    for message in errors:
        yield _found("configuration", "problem", f"cannot use {file}: {message}; mend it")
    server = next((one for one in status["servers"] if one["name"] == name), None)
    if server is None:
        if not errors:
            text = f"the daemon does not know {file}; run 'mcpctl daemon restart'"
            yield _found("configuration", "problem", text)
        return
    for key in server["missing_secrets"]:
        text = f"secret {key!r} is missing; run: mcpctl secret set {name} {key}"
        yield _found("configuration", "problem", text)
    if not errors and not server["missing_secrets"]:
        yield _found("configuration", "ok", file)


def _way(
    server: shapes.ServerInfo, url: str, around: Around, fly: "Fly | None"
) -> Iterator[Finding]:
    try:
        at = reaching.target(url)
    except ValueError as exc:
        yield _found("name", "problem", f"cannot use the URL: {exc}; correct it in the file")
        return
    name = _name(at, around.tunnels)
    yield name.finding
    if fly is not None and (asleep := fly.asleep(server)) is not False:
        if not around.wake:
            yield _found("network", "skipped", _why_not(asleep, fly))
            return
        yield _wake(server["name"], around.client)
    elif name.finding["level"] == "problem":
        return
    reply = None
    if name.addresses:
        layers = _Layers(at, name.addresses)
        yield from layers.findings()
        if layers.broken:
            yield _found("handshake", "skipped", "the way ends above")
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
        return _found("wake", "problem", str(exc))
    return _found("wake", "ok", f"the machine is awake after {woken['seconds']:.1f} s")


# ---------------------------------------------------------------- its name


class _Name(NamedTuple):
    finding: Finding
    addresses: list[str]
    """None when the next steps are left to the daemon."""


def _name(at: Target, tunnels: Sequence[shapes.TunnelInfo]) -> _Name:
    tunnel = next((one for one in tunnels if leads_to(one["hosts"], at.host)), None)
    if tunnel is not None:
        return _Name(_through(at, tunnel), [])
    if reaching.is_proxied(at):
        text = f"{at.authority} is reached through the proxy of the environment"
        return _Name(_found("name", "ok", text), [])
    try:
        addresses = reaching.within(lambda: reaching.resolve(at))
    except (OSError, UnicodeError) as exc:
        return _Name(_found("name", "problem", _unknown(at, exc)), [])
    return _Name(_found("name", "ok", f"{at.host} is {', '.join(addresses)}"), addresses)


def leads_to(patterns: Sequence[str], host: str) -> bool:
    """Whether one of a tunnel's `hosts` covers a host: a name, `*.SUFFIX`, an address, or a network of them."""
    return any(_covers(pattern, host.lower().rstrip(".")) for pattern in patterns)


def _covers(pattern: str, host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return fnmatchcase(host, pattern.lower())
    try:
        return address in ipaddress.ip_network(pattern, strict=False)
    except ValueError:
        return False


def _through(at: Target, tunnel: shapes.TunnelInfo) -> Finding:
    text = f"{at.host} is reached through tunnel {tunnel['name']}, which is {tunnel['state']}"
    if tunnel["state"] != "up" and tunnel["last_error"]:
        advice = f"try: mcpctl tunnels probe {tunnel['name']}"
        return _found("name", "warning", f"{text}: {tunnel['last_error']}; {advice}")
    return _found("name", "ok", text)


def _unknown(at: Target, exc: Exception) -> str:
    advice = "check the URL, and the network"
    if at.host.rstrip(".").endswith((".internal", ".flycast")):
        advice = "it is in a private network: docs/tunnels.md says how to reach it"
    return f"cannot look up {at.host}: {_reason(exc)}; {advice}"


def _reason(exc: Exception) -> str:
    if isinstance(exc, ssl.SSLCertVerificationError):
        return str(exc.verify_message)
    if isinstance(exc, ssl.SSLError):
        return str(exc.reason or exc).replace("_", " ").lower()
    if isinstance(exc, OSError):
        return exc.strerror or str(exc) or type(exc).__name__
    return str(exc) or type(exc).__name__


# ---------------------------------------------------------------- TCP, TLS, HTTP


class _Layers:
    """What is found at each layer; `broken` when the way ends there."""

    def __init__(self, at: Target, addresses: list[str]) -> None:
        self.broken = False
        self.reply: reaching.Reply | None = None
        self._at = at
        self._addresses = addresses

    def findings(self) -> Iterator[Finding]:
        """One after the other, as far as it goes."""
        yield self._try("tcp", self._tcp, "is the server running?")
        if not self.broken and self._at.scheme == "https":
            yield self._try("tls", self._tls, "clients refuse it, too")
        if not self.broken:
            yield self._try("http", self._http, "is that an HTTP server?")
        if not self.broken and (health := self._health()):
            yield health

    def _try(self, step: str, check: Callable[[], Finding], advice: str) -> Finding:
        try:
            return reaching.within(check)
        except (OSError, ValueError, http.client.HTTPException) as exc:
            self.broken = True
            where = f"{self._at.host}:{self._at.port}"
            return _found(step, "problem", f"{where}: {_reason(exc)}; {advice}")

    def _tcp(self) -> Finding:
        begun = time.monotonic()
        with reaching.connect(self._at, self._addresses) as connection:
            took = 1000 * (time.monotonic() - begun)
            where = connection.getpeername()[0]
        return _found("tcp", "ok", f"{where} port {self._at.port} answers in {took:.0f} ms")

    def _tls(self) -> Finding:
        plain = reaching.connect(self._at, self._addresses)
        with reaching.secure(self._at, plain) as secured:
            return certificate(reaching.days_left(secured))

    def _http(self) -> Finding:
        self.reply = reaching.get(self._at, self._addresses, self._at.path, EVENTS)
        return page(self.reply)

    def _health(self) -> Finding | None:
        """None for servers that have no such thing."""
        try:
            accept = "application/json"
            reply = reaching.within(
                lambda: reaching.get(self._at, self._addresses, "/health", accept)
            )
        except (OSError, ValueError, http.client.HTTPException):
            return None
        return health(reply)


def certificate(days: float) -> Finding:
    """What to say of one that is valid for so many days more."""
    text = f"the certificate is good, for {int(days)} days more"
    if days < ENDS_SOON_DAYS:
        return _found("tls", "warning", f"{text}; renew it")
    return _found("tls", "ok", text)


def page(reply: reaching.Reply) -> Finding:
    """What an answer to a GET without credentials and without a session means."""
    status = reply.status
    said = f"GET without credentials is answered with {status}"
    if 300 <= status < 400:
        to = _host_of(reply.location)
        return _found(
            "http", "problem", f"{said}, which leads to {to}; use that URL if you trust it"
        )
    if status < 300 and reply.media_type == "text/html":
        text = "a page for people is there, and no MCP server; check the path (often /mcp or /sse)"
        return _found("http", "problem", text)
    if status == 404:
        return _found("http", "warning", f"{said}; check the path (often /mcp or /sse)")
    if status >= 500:
        text = f"{said}: the server, or a proxy before it, is in trouble; see its log"
        return _found("http", "warning" if status == 501 else "problem", text)
    meaning = {401: ": it wants credentials", 403: ": it lets nobody in like that"}.get(status, "")
    return _found("http", "ok", said + meaning)


def _host_of(location: str) -> str:
    """Of a redirect's goal only what can hold no secret."""
    try:
        return f"{(at := reaching.target(location)).scheme}://{at.authority}"
    except ValueError:
        return "another path there"


def health(reply: reaching.Reply) -> Finding | None:
    """What `mcpctl wrap` says of itself at `/health`; None when that is somebody else."""
    try:
        said = json.loads(reply.body or b"null")
    except ValueError:
        return None
    if not isinstance(said, dict) or said.get("status") not in ("ready", "unready"):
        return None
    if said["status"] == "ready":
        return _found("health", "ok", "mcpctl wrap is there, and its server answers")
    text = f"mcpctl wrap is there, and its server is not ready: {str(said.get('reason'))[:300]}"
    return _found("health", "problem", f"{text}; see its log")


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
    yield _found("handshake", level, talk.text)


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
        return _found("auth", "ok", "our credentials are taken" if wanted else "we are let in")
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
        return _found("auth", "problem", f"the server {what} (401); give them with: {advice}")
    if "answered 403" in str(error):
        text = "the server forbids it (403); check what the token is allowed to do"
        return _found("auth", "problem", text)
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
        found = fly_program.run("status", place, within_s=BOUND_S)
    except CtlError as exc:
        return Fly(place["machine"], [], str(exc))
    return Fly(place["machine"], found["machines"], None)


def _machines(fly: Fly) -> Iterator[Finding]:
    if fly.trouble is not None:
        yield _found("fly", "warning", f"cannot ask Fly: {fly.trouble}")
        return
    if not fly.machines:
        yield _found("fly", "problem", "the app has no machine; launch the server anew")
    elif fly.machine and fly.machine not in [one["id"] for one in fly.machines]:
        text = f"machine {fly.machine} is gone; correct 'machine' in the server's file"
        yield _found("fly", "problem", text)
    for machine in fly.machines:
        yield from _machine(machine)


def _machine(machine: dict[str, Any]) -> Iterator[Finding]:
    name, state = machine["id"], machine["state"]
    awake = state == "started"
    bad = [one["name"] for one in machine["checks"] if awake and one["status"] != "passing"]
    if bad:
        text = f"machine {name} is {state}, and fails: {', '.join(bad)}; see 'mcpctl logs'"
        yield _found("fly", "problem", text)
    else:
        yield _found("fly", "ok", f"machine {name} is {state}")
    for one in machine["findings"]:
        level: Level = "problem" if one["level"] == "problem" else "warning"
        yield _found("fly", level, f"{one['setting']}: {one['message']}")
