"""The command line of `mcpctl wrap`, turned into `Options`. Loaded once, at the start."""

import argparse
import math
import re
from collections.abc import Mapping, Sequence
from typing import NoReturn

import msgspec

from mcpctld.config.check import split_url
from mcpctld.config.files import read_regular
from mcpctld.errors import UserError
from mcpctld.model import MiB
from mcpctld.wrap.options import EVERYWHERE, LOOPBACK, Credentials, OAuth, Options, is_loopback

MAX_SECRET_BYTES = 64 * 1024
"""A token or password; a longer file is most likely the wrong one."""
MAX_PORT = 65535

_BEARER = re.compile(r"[!-~]+")  # wider than RFC 6750 §2.1, as other servers are
_PRINTABLE = re.compile(r"[^\x00-\x1f\x7f]*")  # RFC 7617 §2
_PREFIX = re.compile(r"(?:/[A-Za-z0-9._~-]+)+")
_HOST = re.compile(r"\*|(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_ORIGIN = re.compile(r"\*|null|[a-z][a-z0-9+.-]*://[^/?#\s@]+")  # RFC 6454 §6.2
_SCOPE = re.compile(r"[!#-\[\]-~]+")  # RFC 6749 §3.3


def read(argv: Sequence[str], environ: Mapping[str, str]) -> Options:
    """The options; see `parse_options`."""
    given = _parser().parse_args(list(argv))
    credentials, notes = _credentials(given, environ)
    machine = environ.get("FLY_MACHINE_ID", "")
    options = Options(
        command=_command(given),
        port=given.port,
        hosts=_hosts(given.bind, on_fly=bool(machine)),
        path_prefix=_prefix(given.path_prefix),
        allowed_hosts=_matching(
            _HOST, given.allowed_host, "--allowed-host", "app.example or app.example:8080"
        ),
        allowed_origins=_origins(given.allowed_origin),
        credentials=credentials,
        oauth=_oauth(given),
        private=given.private or "FLY_MCP_PRIVATE" in environ,
        public_url=_url(given.public_url, "--public-url"),
        trust_forwarded=given.trust_forwarded,
        replay=given.replay,
        machine_id=machine,
        max_children=given.max_children,
        spare=given.spare,
        idle_timeout_s=given.idle_timeout,
        drain_timeout_s=given.drain_timeout,
        max_body_bytes=given.max_body,
        notes=notes,
    )
    return _warned(options)


# ---------------------------------------------------------------- the flags


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(
            f"cannot start mcpctl wrap: {message}; 'mcpctl wrap --help' lists the flags"
        )


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="mcpctl wrap",
        usage="mcpctl wrap [flags] [--] COMMAND [ARGS…]",
        description="Serve an MCP server that speaks over stdin and stdout to clients over HTTP.",
        allow_abbrev=False,
    )
    for add in (_add_program, _add_place, _add_credentials, _add_oauth, _add_limits):
        add(parser)
    return parser


def _add_program(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-m", "--mcp", metavar="PROGRAM", help="the program; its ARGS follow")
    parser.add_argument(
        "words", nargs=argparse.REMAINDER, metavar="COMMAND", help="the program and its arguments"
    )


def _add_place(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "-p",
        "--port",
        type=_port,
        default=8080,
        help="where to listen (%(default)s); 0 has the system choose",
    )
    add(
        "--bind",
        metavar="HOST",
        help="the address to listen on; '::' is every one (the default in a Fly machine), otherwise loopback",
    )
    add(
        "--path-prefix",
        metavar="/X",
        default="",
        help="the path under which a reverse proxy hands requests on",
    )
    add("--public-url", metavar="URL", help="the URL by which clients know this server")
    add(
        "--allowed-host",
        metavar="HOST",
        action="append",
        default=[],
        help="a Host that requests may name (may be repeated)",
    )
    add(
        "--allowed-origin",
        metavar="ORIGIN",
        action="append",
        default=[],
        help="an origin whose web pages may send requests, '*' for all (may be repeated)",
    )
    add(
        "--trust-forwarded",
        action="store_true",
        help="believe X-Forwarded-* of a reverse proxy at a private address",
    )
    add(
        "--replay",
        choices=("auto", "off"),
        default="auto",
        help="whether Fly's proxy is asked to bring requests to the machine that has their session",
    )


def _add_credentials(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--bearer-token",
        metavar="TOKEN",
        help="what clients must send; @FILE reads it from a file; better in FLY_MCP_BEARER_TOKEN",
    )
    add("--user", help="who clients must be, with --password; or FLY_MCP_USER")
    add(
        "--password",
        help="the password of --user; @FILE reads it from a file; better in FLY_MCP_PASSWORD",
    )
    add(
        "--private",
        action="store_true",
        help="refuse what did not come over the private network; or FLY_MCP_PRIVATE",
    )


def _add_oauth(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--oauth-issuer", metavar="URL", help="accept access tokens of this authorization server")
    add("--oauth-audience", metavar="URL", help="what tokens must be meant for (the public URL)")
    add(
        "--oauth-scope",
        metavar="SCOPE",
        action="append",
        default=[],
        help="a scope that tokens must have (may be repeated)",
    )


def _add_limits(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--max-children",
        metavar="N",
        type=_count,
        default=32,
        help="how many programs may run at once (%(default)s)",
    )
    add(
        "--spare",
        metavar="N",
        type=_whole,
        default=1,
        help="how many programs to start before anybody needs them (%(default)s)",
    )
    add(
        "--idle-timeout",
        metavar="S",
        type=_seconds,
        default=1800.0,
        help="end sessions that are unused for so many seconds (%(default)g)",
    )
    add(
        "--drain-timeout",
        metavar="S",
        type=_seconds,
        default=10.0,
        help="how many seconds calls under way get at the end (%(default)g)",
    )
    add(
        "--max-body",
        metavar="BYTES",
        type=_count,
        default=64 * MiB,
        help="the longest request body (%(default)s)",
    )


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > MAX_PORT:
        raise argparse.ArgumentTypeError(f"{text!r} is no port from 0 to {MAX_PORT}")
    return int(text)


def _whole(text: str, least: int = 0) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {least} up")
    return int(text)


def _count(text: str) -> int:
    return _whole(text, 1)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds")
    return value


# ---------------------------------------------------------------- what they mean


def _command(given: argparse.Namespace) -> tuple[str, ...]:
    words = given.words[1:] if given.words[:1] == ["--"] else given.words
    command = (given.mcp, *words) if given.mcp is not None else tuple(words)
    if not command or not command[0]:
        raise UserError("cannot start mcpctl wrap: it has no program to run; write it behind '--'")
    return command


def _hosts(bind: str | None, *, on_fly: bool) -> tuple[str, ...]:
    if bind is None:
        return (EVERYWHERE,) if on_fly else LOOPBACK
    host = bind[1:-1] if bind.startswith("[") and bind.endswith("]") else bind
    if not host or "/" in host or host.count(":") == 1:
        raise UserError(f"--bind {bind!r} is no address to listen on; the port is set with --port")
    return LOOPBACK if host == "localhost" else (host,)


def _prefix(text: str) -> str:
    prefix = text.rstrip("/")
    if prefix and not _PREFIX.fullmatch(prefix):
        raise UserError(f"--path-prefix {text!r} is no path; write it as /mcp or /tools/mcp")
    return prefix


def _matching(
    pattern: re.Pattern[str], values: Sequence[str], flag: str, example: str
) -> tuple[str, ...]:
    for value in values:
        if not pattern.fullmatch(value):
            raise UserError(f"{flag} {value!r} cannot be used; write it as {example}")
    return tuple(values)


def _origins(values: Sequence[str]) -> tuple[str, ...]:
    lowered = [value.lower().removesuffix("/") for value in values]
    return _matching(_ORIGIN, lowered, "--allowed-origin", "https://app.example, or '*' for all")


def _url(text: str | None, flag: str, *, or_plain: bool = True) -> str | None:
    """A URL as it came. Without `or_plain` it must be https, on this machine http will do."""
    if text is None:
        return None
    parts = split_url(text)
    if (
        parts is None
        or parts.query
        or parts.fragment
        or "@" in parts.netloc
        or "?" in text
        or "#" in text
    ):
        raise UserError(
            f"{flag} cannot be used; write it as https://HOST/PATH, without user, query or fragment"
        )
    if not (or_plain or parts.scheme == "https" or is_loopback(parts.hostname or "")):
        raise UserError(f"{flag} {text} must be https: whoever is on the way could forge its keys")
    return text


def _oauth(given: argparse.Namespace) -> OAuth | None:
    issuer = _url(given.oauth_issuer, "--oauth-issuer", or_plain=False)
    if issuer is None:
        if given.oauth_audience or given.oauth_scope:
            raise UserError(
                "--oauth-audience and --oauth-scope mean nothing without --oauth-issuer"
            )
        return None
    resource = _url(given.public_url or given.oauth_audience, "--public-url")
    if resource is None:
        raise UserError(
            "--oauth-issuer needs --public-url: tokens for other servers must be told apart"
        )
    scopes = [scope for word in given.oauth_scope for scope in word.split()]
    return OAuth(
        issuer=issuer,
        audience=given.oauth_audience or resource,
        resource=resource,
        scopes=_matching(_SCOPE, list(dict.fromkeys(scopes)), "--oauth-scope", "tools:read"),
    )


# ---------------------------------------------------------------- credentials


def _credentials(
    given: argparse.Namespace, environ: Mapping[str, str]
) -> tuple[Credentials, tuple[str, ...]]:
    exposed = [
        flag
        for flag, value in (("--bearer-token", given.bearer_token), ("--password", given.password))
        if value and not value.startswith("@")
    ]
    token = environ.get("FLY_MCP_BEARER_TOKEN") or _secret(given.bearer_token, "--bearer-token")
    user = environ.get("FLY_MCP_USER") or _filled(given.user, "--user")
    password = environ.get("FLY_MCP_PASSWORD") or _secret(given.password, "--password")
    also = environ.get("FLY_MCP_BEARER_TOKEN_ALSO", "") if token else ""
    for each in (token, also):
        _check_credentials(each, user, password)
    notes = tuple(
        f"{flag} can be read by every user of this machine, who sees our arguments; "
        f"put it into FLY_MCP_{flag[2:].upper().replace('-', '_')}, or into a file: {flag} @FILE"
        for flag in exposed
    )
    found = Credentials(bearer_token=token, bearer_token_also=also, user=user, password=password)
    return found, notes


def _check_credentials(token: str, user: str, password: str) -> None:
    if token and not _BEARER.fullmatch(token):
        raise UserError("the bearer token cannot be sent in a header: use visible ASCII, no spaces")
    if ":" in user or not _PRINTABLE.fullmatch(user) or not _PRINTABLE.fullmatch(password):
        raise UserError(
            "the user or password cannot be sent: neither may hold a control character, nor a user ':'"
        )
    if bool(user) != bool(password):
        missing = "--password, or FLY_MCP_PASSWORD" if user else "--user, or FLY_MCP_USER"
        raise UserError(f"a user needs a password and a password a user: give {missing} too")


def _filled(value: str | None, flag: str) -> str:
    """The value of a flag. A flag that is given empty was meant to be a secret: it never opens the door."""
    if value == "":
        raise UserError(f"{flag} is empty; leave it out if it is not wanted")
    return value or ""


def _secret(value: str | None, flag: str) -> str:
    text = _filled(value, flag)
    if not text.startswith("@"):
        return text
    try:
        found = read_regular(text[1:], max_bytes=MAX_SECRET_BYTES)
        content = found.data.decode() if found else None
    except (UserError, UnicodeDecodeError) as exc:
        reason = exc if isinstance(exc, UserError) else "it is not UTF-8 text"
        raise UserError(f"cannot read {flag} from {text[1:]}: {reason}") from None
    if content is None:
        raise UserError(f"cannot read {flag} from {text[1:]}: there is no such file")
    # Editors and `echo` end a file with a newline that is not part of the value.
    return _filled(content.removesuffix("\n").removesuffix("\r"), f"the file {text[1:]} of {flag}")


def _warned(options: Options) -> Options:
    if options.is_guarded or options.on_loopback or options.private:
        return options
    note = (
        f"whoever reaches port {options.port} can use this server: no credentials are set; "
        "set FLY_MCP_BEARER_TOKEN, or --private on a private network"
    )
    return msgspec.structs.replace(options, notes=(*options.notes, note))
