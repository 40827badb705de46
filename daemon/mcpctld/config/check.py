"""The rules that a server and the settings keep. Pure: each yields what is wrong, for the user.

Nothing here repeats a value that may be secret: not a header's, not a URL that holds credentials.
"""

import difflib
import ipaddress
import math
import re
from collections.abc import Callable, Iterable, Iterator
from urllib.parse import SplitResult, urlsplit

from mcpctld.config import references
from mcpctld.config.places import NAME, NAME_RULE
from mcpctld.model import ServerSpec, Settings, TunnelSpec

_URL_CHARACTERS = re.compile(r"[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]+")  # RFC 3986 §2
_HOST = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+")
_PATTERN = re.compile(r"(?:\*\.)?[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,251}[A-Za-z0-9])?")
_WEBSOCKET = re.compile(
    r"wss?://(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?(?:/[!-~]*)?"
)
_WORD = re.compile(r"[A-Za-z0-9_-]{1,64}")
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # RFC 9110 §5.6.2
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")  # RFC 9110 §5.5
_INSTANCE = re.compile(r"[A-Za-z0-9_-]{1,64}")
_APP = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_DAY = "(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_WAKE_TIME = re.compile(
    rf"(?:{_DAY}(?:-{_DAY})?(?:,{_DAY}(?:-{_DAY})?)* )?(?:[01][0-9]|2[0-3]):[0-5][0-9]"
)
UNFIT = "a line break, another control character, or one beyond Latin-1"
_SECRET_NAME = re.compile(r"authorization|cookie|token|key|secret|passw", re.IGNORECASE)

_OWN_HEADERS = {
    *("host", "content-length", "content-type", "content-encoding", "accept", "accept-encoding"),
    *("transfer-encoding", "connection", "keep-alive", "proxy-connection", "trailer", "upgrade"),
    *("te", "expect", "last-event-id"),  # codespell:ignore te
    *("mcp-session-id", "mcp-protocol-version", "mcp-method", "mcp-name"),
}
"""Set by us for each request: hop-by-hop ones (RFC 9110 §7.6.1), and those that MCP defines."""

_PRIVATE_NETWORKS = [
    ipaddress.ip_network(text)
    for text in (
        "127.0.0.0/8",
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "169.254.0.0/16",
        "100.64.0.0/10",  # carrier-grade NAT, where overlay networks live
        "::1/128",
        "fc00::/7",
        "fe80::/10",
    )
]
_PRIVATE_SUFFIXES = (".localhost", ".internal", ".flycast")


def server_problems(spec: ServerSpec) -> list[str]:
    """Everything that is wrong with `spec`; empty when it can be used."""
    return [problem for rule in _RULES for problem in rule(spec)]


def settings_problems(settings: Settings) -> Iterator[str]:
    """Everything that is wrong with `settings`."""
    for field in ("max_message_bytes", "max_sessions", "max_connections_per_origin"):
        if getattr(settings, field) < 1:
            yield f"{field} must be 1 or more"
    if not (math.isfinite(settings.drain_timeout_s) and settings.drain_timeout_s >= 0):
        yield "drain_timeout_s must be a number of seconds, 0 or more"
    for name, tunnel in settings.tunnels.items():
        yield from (f"tunnels.{name}: {problem}" for problem in tunnel_problems(name, tunnel))


def tunnel_problems(name: str, tunnel: TunnelSpec) -> Iterator[str]:
    """Everything that is wrong with a tunnel, but for what its file says."""
    if not NAME.fullmatch(name):
        yield f"its name breaks the rule: {NAME_RULE}"
    if tunnel.kind != "wireguard":
        yield from _fly_tunnel(tunnel)
    else:
        if not tunnel.conf.startswith(("/", "~/")) or "\0" in tunnel.conf:
            yield "conf must be an absolute path"
        if tunnel.org or tunnel.network or tunnel.region:
            yield "org, network and region go with kind 'fly'"
    for pattern in tunnel.hosts:
        if not _PATTERN.fullmatch(pattern) and not _is_network(pattern):
            yield f"hosts {pattern!r}: write a name, *.SUFFIX, an address, or a network"
    if tunnel.websocket is not None and not _WEBSOCKET.fullmatch(tunnel.websocket):
        yield "websocket must be a URL that begins with wss:// or ws:// and names a host"
    if not (math.isfinite(tunnel.close_after_s) and tunnel.close_after_s > 0):
        yield "close_after_s must be a number of seconds above 0"


def _fly_tunnel(tunnel: TunnelSpec) -> Iterator[str]:
    if tunnel.conf:
        yield "conf goes with kind 'wireguard'"
    if not tunnel.org:
        yield f"kind {tunnel.kind!r} needs org, the name of an organisation; fly orgs list shows them"
    for field in ("org", "network", "region"):
        value = getattr(tunnel, field)
        if value and not _WORD.fullmatch(value):
            yield f"{field} {value!r}: a name has letters, digits and -"


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The member of `known` that `word` was probably meant to be."""
    by_folded = {name.casefold(): name for name in known}
    matches = difflib.get_close_matches(word.casefold(), by_folded, n=1)
    return by_folded[matches[0]] if matches else None


def split_url(url: str) -> SplitResult | None:
    """The parts of a URL that the rules below accept, else None."""
    if not _URL_CHARACTERS.fullmatch(url):
        return None
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.port != 0
    except ValueError:
        return None
    host = parts.hostname
    return parts if usable and host and _HOST.fullmatch(host) else None


def looks_secret(header: str) -> bool:
    """Whether the value of a header of this name is, in all likelihood, a credential."""
    return bool(_SECRET_NAME.search(header))


def fits_header(value: str) -> bool:
    """Whether a header can carry `value`; if not, `UNFIT` says why."""
    return bool(_VALUE.fullmatch(value))


def _kind(spec: ServerSpec) -> Iterator[str]:
    if (spec.url is None) == (spec.command is None):
        yield "give exactly one of url (a server to reach) and command (a program to run)"
    elif spec.url is not None and spec.transport == "stdio":
        yield "transport 'stdio' goes with command; with url leave transport out, or name another"
    elif spec.command is not None:
        if spec.transport not in ("auto", "stdio"):
            yield f"transport {spec.transport!r} goes with url; a command speaks 'stdio'"
        for field in ("headers", "instance"):
            if getattr(spec, field):
                yield f"{field} goes with url, not with command"
    if spec.command is None:
        for field in ("env", "cwd"):
            if getattr(spec, field):
                yield f"{field} goes with command, not with url"


def _url(spec: ServerSpec) -> Iterator[str]:
    if spec.url is None:
        return
    if "@" in spec.url.partition("://")[2].split("/", 1)[0]:
        yield "url holds credentials; take them out and use --user/--password or --bearer-token"
        return
    if "#" in spec.url:
        yield "url has a fragment (#...), which is never sent; take it out"
    elif split_url(spec.url) is None:
        yield (
            f"url {spec.url!r} cannot be used: write http:// or https://, a host, and perhaps "
            "a port and a path; other characters are percent-encoded"
        )


def _plain_http(spec: ServerSpec) -> Iterator[str]:
    parts = split_url(spec.url) if spec.url else None
    if parts is None or parts.scheme != "http" or _is_near(parts.hostname or ""):
        return
    secret = [name for name, value in spec.headers.items() if _is_secret(name, value)]
    if secret:
        yield (
            f"url is plain http to {parts.hostname}, and {', '.join(secret)} would travel in "
            "clear; use https"
        )


def _is_secret(name: str, value: str) -> bool:
    return looks_secret(name) or bool(references.keys_in([value]))


def _is_near(host: str) -> bool:
    if host == "localhost" or host.endswith(_PRIVATE_SUFFIXES):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return any((mapped or address) in network for network in _PRIVATE_NETWORKS)


def _headers(spec: ServerSpec) -> Iterator[str]:
    seen: set[str] = set()
    for name, value in spec.headers.items():
        if not _TOKEN.fullmatch(name):
            yield f"header {name!r}: a name has letters, digits and -, no spaces or colon"
        elif name.lower() in _OWN_HEADERS or name.lower().startswith("mcp-param-"):
            yield f"header {name}: mcpctl sets it itself; take it out"
        elif name.lower() == "fly-force-instance-id":
            yield f"header {name}: write the machine into instance instead"
        elif name.lower() in seen:
            yield f"header {name}: it is given twice"
        seen.add(name.lower())
        if not fits_header(value):
            yield f"header {name!r}: the value holds {UNFIT}"


def _instance(spec: ServerSpec) -> Iterator[str]:
    if spec.instance is not None and not _INSTANCE.fullmatch(spec.instance):
        yield f"instance {spec.instance!r}: write the id of a machine, as in 'd8d9014b2c3e78'"


def _command(spec: ServerSpec) -> Iterator[str]:
    if spec.command is None:
        return
    if not spec.command or not spec.command[0].startswith("/"):
        yield "command must begin with the absolute path of a program"
    if any("\0" in argument for argument in spec.command):
        yield "command holds a NUL character"
    if references.keys_in(spec.command):
        yield "command refers to a secret, which other users could read there; put it into env"
    if spec.cwd is not None and (not spec.cwd.startswith("/") or "\0" in spec.cwd):
        yield "cwd must be an absolute path"


def _env(spec: ServerSpec) -> Iterator[str]:
    for name, value in spec.env.items():
        if not name or "=" in name or "\0" in name:
            yield f"env {name!r}: not a name that an environment variable can have"
        if "\0" in value:
            yield f"env {name}: the value holds a NUL character"


def _references(spec: ServerSpec) -> Iterator[str]:
    for field, values in (("header", spec.headers), ("env", spec.env)):
        for name, value in values.items():
            if references.is_stray(value):
                yield f"{field} {name}: write ${{secret:KEY}} for a secret, $${{ for a literal ${{"


def _timeouts(spec: ServerSpec) -> Iterator[str]:
    for field in ("connect_timeout_s", "call_timeout_s"):
        value = getattr(spec, field)
        if not (math.isfinite(value) and value > 0):
            yield f"{field} must be a number of seconds above 0"


def _fly(spec: ServerSpec) -> Iterator[str]:
    fly = spec.fly
    if fly is None:
        return
    if spec.url is None:
        yield "[fly] goes with url, not with command"
    if not _APP.fullmatch(fly.app):
        yield f"fly.app {fly.app!r}: a name has small letters, digits and -, up to 63 of them"
    if fly.machine is not None and not _INSTANCE.fullmatch(fly.machine):
        yield f"fly.machine {fly.machine!r}: write the id of a machine, as in 'd8d9014b2c3e78'"
    if not (math.isfinite(fly.idle_timeout_s) and fly.idle_timeout_s > 0):
        yield "fly.idle_timeout_s must be a number of seconds above 0"
    for text in fly.wake_at:
        if not _WAKE_TIME.fullmatch(text):
            yield f"fly.wake_at {text!r}: write a time as in '09:00', with days as in 'Mon-Fri 08:50'"


_RULES: list[Callable[[ServerSpec], Iterator[str]]] = [
    _kind,
    _url,
    _plain_http,
    _headers,
    _instance,
    _command,
    _env,
    _references,
    _timeouts,
    _fly,
]
