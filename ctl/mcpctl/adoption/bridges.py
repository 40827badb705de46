"""The programs that clients run to reach a server elsewhere: what their command lines say of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from mcpctl.adoption.values import NotAdoptable
from mcpctl.secret_sources import BEARER_VARIABLES, PASSWORD_VARIABLES

Environment = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Remote:
    """A server elsewhere: its URL, headers in order, `(scheme, credentials)`, and how it is spoken to."""

    url: str = field(repr=False)
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    bearer: str | None = field(default=None, repr=False)
    basic: tuple[str, str] | None = field(default=None, repr=False)
    transport: str | None = None
    instance: str | None = None
    may_log_in: bool = False
    """Whether the program would ask for a login in the browser where the server wants one."""


def fly_proxy(args: list[str], env: Environment) -> Remote:
    """`fly mcp proxy ...`, and `mcpctl proxy` with the same flags."""
    from mcpctl import attach_flags
    from mcpctl.attach import AttachError

    try:
        options, names = attach_flags.scan(args, proxy=True)
    except AttachError as exc:
        raise NotAdoptable(str(exc)) from exc
    given = dict(options)
    url = given.get("url") or (f"https://{given['app']}.fly.dev/" if given.get("app") else "")
    if names or not url:
        raise NotAdoptable("its command line names no server")
    transport = "http-sse" if "sse" in given else "streamable-http" if "stream" in given else None
    user = given.get("user")
    password = given.get("password") or _first(env, PASSWORD_VARIABLES)
    if user and not password:
        raise NotAdoptable("it has a user and no password")
    return Remote(
        url,
        headers=tuple(_header(value) for key, value in options if key == "header"),
        bearer=None if user else given.get("bearer-token") or _first(env, BEARER_VARIABLES),
        basic=(user, password) if user and password else None,
        transport=given.get("transport") or transport,
        instance=given.get("instance"),
    )


def mcp_remote(args: list[str], env: Environment) -> Remote:
    """`mcp-remote URL [PORT] [--header 'K: V']... [--transport T]`."""
    valued = ("--header", "--transport", "--host", "--auth-timeout", "--resource")
    options, names = _scan(args, valued, ("--allow-http", "--debug", "--silent", "--enable-proxy"))
    if not names or any(not name.isdigit() for name in names[1:]):
        raise NotAdoptable("its command line names no server")
    transport = {"sse-only": "http-sse", "http-only": "streamable-http"}
    headers = tuple(_header(value) for key, value in options if key == "--header")
    named = dict(options).get("--transport", "")
    return Remote(names[0], headers, transport=transport.get(named), may_log_in=not headers)


def supergateway(args: list[str], env: Environment) -> Remote:
    """`supergateway --sse URL` or `--streamableHttp URL`: the direction from stdio to a server."""
    valued = (
        "--sse",
        "--streamableHttp",
        "--header",
        "--oauth2Bearer",
        "--logLevel",
        "--outputTransport",
    )
    options, names = _scan(args, valued, ())
    given = dict(options)
    if names or given.get("--outputTransport", "stdio") != "stdio":
        raise NotAdoptable("it serves something itself, and reaches no server")
    url = given.get("--sse") or given.get("--streamableHttp")
    if not url:
        raise NotAdoptable("its command line names no server")
    return Remote(
        url,
        tuple(_header(value) for key, value in options if key == "--header"),
        bearer=given.get("--oauth2Bearer"),
        transport="http-sse" if "--sse" in given else "streamable-http",
    )


def mcp_proxy(args: list[str], env: Environment) -> Remote:
    """`mcp-proxy URL [--headers K V]... [--transport T]`."""
    headers, rest = _pairs(args, ("-H", "--headers"))
    options, names = _scan(rest, ("--transport", "--log-level"), ("--debug", "--no-debug"))
    if len(names) != 1 or "://" not in names[0]:
        raise NotAdoptable("it serves something itself, and reaches no server")
    named = dict(options).get("--transport", "sse")
    transport = "streamable-http" if named == "streamablehttp" else "http-sse"
    return Remote(names[0], tuple(headers), env.get("API_ACCESS_TOKEN"), transport=transport)


BRIDGES: dict[tuple[str, ...], Callable[[list[str], Environment], Remote]] = {
    ("fly", "mcp", "proxy"): fly_proxy,
    ("flyctl", "mcp", "proxy"): fly_proxy,
    ("mcpctl", "proxy"): fly_proxy,
    ("mcp-remote",): mcp_remote,
    ("supergateway",): supergateway,
    ("mcp-proxy",): mcp_proxy,
}
"""By the words that a command line begins with."""


def bridge(name: str, args: list[str], env: Environment) -> tuple[str, Remote] | None:
    """What a command line says if it is one of a bridge, and what it is called. Raises `NotAdoptable`."""
    words = [name, *args]
    for first, read in BRIDGES.items():
        if tuple(words[: len(first)]) == first:
            return " ".join(first), read(words[len(first) :], env)
    return None


def _scan(
    words: list[str], valued: tuple[str, ...], switches: tuple[str, ...]
) -> tuple[list[tuple[str, str]], list[str]]:
    """Flags with their values, and what is no flag. Raises `NotAdoptable` for a flag that is not known here."""
    options, names = [], []
    rest = iter(words)
    for word in rest:
        flag, equals, value = word.partition("=")
        if flag in valued:
            options.append((flag, value if equals else next(rest, "")))
        elif word.startswith("-") and word not in switches:
            raise NotAdoptable(f"it uses {flag}, which has no counterpart here")
        elif not word.startswith("-"):
            names.append(word)
    return options, names


def _pairs(words: list[str], flags: tuple[str, ...]) -> tuple[list[tuple[str, str]], list[str]]:
    """Take flags with two values out."""
    found, rest = [], []
    at = 0
    while at < len(words):
        if words[at] in flags and at + 2 < len(words):
            found.append((words[at + 1], words[at + 2]))
            at += 3
        else:
            rest.append(words[at])
            at += 1
    return found, rest


def _header(text: str) -> tuple[str, str]:
    name, _, value = text.partition(":")
    return name.strip(), value.strip()


def _first(env: Environment, names: tuple[str, ...]) -> str | None:
    return next((env[name] for name in names if env.get(name)), None)
