"""The flags of `mcpctl attach` and `mcpctl proxy`, read without argparse: this stands on the way of every attach.

`proxy` takes what `fly mcp proxy` takes, so that an entry written for flyctl works with the program name changed.
"""

import os
from collections.abc import Iterator

from mcpctl.attach import AttachError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

ATTACH_USAGE = """\
usage: mcpctl attach NAME
       mcpctl attach --url URL [--transport T] [--era E] [--header 'NAME: VALUE']...
                     [--bearer-token TOKEN] [-u USER -p PASSWORD] [--instance MACHINE] [--timeout SECONDS]

Connects stdin and stdout to an MCP server through the daemon, which is started if none runs.

  NAME                 a server that was added with `mcpctl add`
  --url URL            a server that was not; http or https
  --transport T        auto (default), streamable-http, http-sse or fly-wrap
  --era E              the era of MCP that it speaks: auto (default), legacy (before 2026-07-28), modern,
                       or mirror: that of the client, and no other
  --header 'N: V'      send this header on every request; may be repeated
  --bearer-token T     send `Authorization: Bearer T`; the variable MCPCTL_BEARER_TOKEN keeps it out of sight
  -u, --user USER      basic authentication
  -p, --password P     its password; or the variable MCPCTL_PASSWORD
  --instance MACHINE   pin every request to this Fly machine
  --timeout SECONDS    how long one call may take
"""

PROXY_USAGE = """\
usage: mcpctl proxy (--url URL | -a APP) [--bearer-token TOKEN] [-u USER -p PASSWORD]
                    [--instance MACHINE] [--sse | --stream] [--era E] [--timeout SECONDS] [-i]

`mcpctl attach --url` with the flags of `fly mcp proxy`.

  --url URL            the server
  -a, --app APP        the server at https://APP.fly.dev/
  --sse, --stream      the server speaks HTTP+SSE, or Streamable HTTP; without either it is found out
  -i, --inspector      open the MCP Inspector on it (needs npx)
  --bearer-token T, -u/--user U, -p/--password P, --instance MACHINE, --era E, --timeout SECONDS: as for attach
  -b, --bind-addr A, --ping: taken and do nothing; the daemon listens nowhere and sends no pings
"""

VALUED = {
    "--url": "url", "--transport": "transport", "--header": "header", "--bearer-token": "bearer-token",
    "--user": "user", "-u": "user", "--password": "password", "-p": "password", "--instance": "instance",
    "--era": "era", "--timeout": "timeout",
}  # fmt: skip
PASSED_ON = ("header", "instance", "era", "timeout")
"""Options that are fields of the greeting as they are."""
PROXY_VALUED = {"--app": "app", "-a": "app", "--bind-addr": "ignored", "-b": "ignored"}
PROXY_SWITCHES = {
    "--sse": "sse",
    "--stream": "stream",
    "--inspector": "inspector",
    "-i": "inspector",
    "--ping": "ping",
}


def parse(argv: list[str]) -> list[tuple[str, str]]:
    """The greeting's fields. Raises `AttachError`; `--help` prints and exits."""
    proxy = argv[0] == "proxy"
    options, names = scan(argv[1:], proxy=proxy)
    if ("help", "") in options:
        print(PROXY_USAGE if proxy else ATTACH_USAGE, end="")
        raise SystemExit(0)
    if ("inspector", "") in options:
        _inspect(options, argv)
    if names and not options and not proxy and len(names) == 1:
        return [("server", names[0])]
    if names:
        raise AttachError(
            "bad-request", f"unexpected argument {names[0]!r}; see mcpctl {argv[0]} --help"
        )
    return _fields(options, argv[0])


def scan(words: list[str], *, proxy: bool) -> tuple[list[tuple[str, str]], list[str]]:
    """The options by name, in order, and what is no flag. Raises `AttachError`."""
    valued = {**VALUED, **PROXY_VALUED} if proxy else VALUED
    switches = PROXY_SWITCHES if proxy else {}
    options, names = [], []
    rest = iter(words)
    for word in rest:
        flag, equals, value = word.partition("=")
        if word in ("-h", "--help"):
            options.append(("help", ""))
        elif word in switches:
            options.append((switches[word], ""))
        elif flag in valued and (equals or not flag.startswith("--")):
            options.append((valued[flag], value if equals else _next(rest, flag)))
        elif flag in valued:
            options.append((valued[flag], _next(rest, flag)))
        elif word.startswith("-"):
            raise AttachError("bad-request", f"unknown flag {word}; see --help")
        else:
            names.append(word)
    return options, names


def _next(rest: Iterator[str], flag: str) -> str:
    value = next(rest, None)
    if value is None:
        raise AttachError("bad-request", f"{flag} needs a value; see --help")
    return value


def _fields(options: list[tuple[str, str]], command: str) -> list[tuple[str, str]]:
    given = dict(options)
    url = given.get("url") or (f"https://{given['app']}.fly.dev/" if given.get("app") else "")
    if not url:
        wanted = "a server's name or --url" if command == "attach" else "--url or --app"
        raise AttachError(
            "bad-request", f"mcpctl {command} needs {wanted}; see mcpctl {command} --help"
        )
    transport = given.get("transport") or (
        "http-sse" if "sse" in given else "streamable-http" if "stream" in given else ""
    )
    fields = [("url", url)]
    fields += [("transport", transport)] if transport else []
    fields += [(key, value) for key, value in options if key in PASSED_ON]
    if authorization := _authorization(given):
        fields.append(("header", f"Authorization: {authorization}"))
    return fields


def _authorization(given: dict[str, str]) -> str:
    if user := given.get("user"):
        from binascii import b2a_base64

        password = given.get("password") or os.environ.get("MCPCTL_PASSWORD", "")
        return "Basic " + b2a_base64(f"{user}:{password}".encode(), newline=False).decode()
    token = given.get("bearer-token") or os.environ.get("MCPCTL_BEARER_TOKEN")
    return f"Bearer {token}" if token else ""


def _inspect(options: list[tuple[str, str]], argv: list[str]) -> "NoReturn":
    """Become the MCP Inspector on what these options name."""
    given = dict(options)
    variables = {
        "MCPCTL_BEARER_TOKEN": given.get("bearer-token"),
        "MCPCTL_PASSWORD": given.get("password"),
    }
    become_inspector([argv[0], *_open_flags(options)], variables)


def become_inspector(words: list[str], variables: dict[str, str | None]) -> "NoReturn":
    """Become the MCP Inspector, with `mcpctl WORDS` as the server that it starts.

    Secrets go to it in variables: they were given on our command line, and must not stand on another's.
    """
    import shutil
    import sys

    npx = shutil.which("npx")
    if npx is None:
        raise AttachError(
            "bad-request", "the MCP Inspector needs npx, which was not found; install Node.js"
        )
    environment = {**os.environ, **{key: value for key, value in variables.items() if value}}
    ourselves = [sys.executable, "-m", "mcpctl", *words]
    os.execve(npx, [npx, "-y", "@modelcontextprotocol/inspector", *ourselves], environment)  # noqa: S606


def _open_flags(options: list[tuple[str, str]]) -> list[str]:
    """The options again as flags, without the secrets and without the inspector."""
    hidden = ("bearer-token", "password", "inspector", "ignored", "ping", "help")
    return [
        word
        for key, value in options
        if key not in hidden
        for word in ((f"--{key}", value) if value else (f"--{key}",))
    ]
