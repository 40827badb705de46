"""The flags of `mcpctl launch`, and the wish that they are: what `mcpctld.launch.wish` describes."""

import argparse
import json
import shlex
from base64 import b64encode
from typing import Any

from mcpctl import secret_sources
from mcpctl.errors import UsageError

MAX_FILE_BYTES = 1024 * 1024
"""Files travel in the machine's configuration, which is small."""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add every flag that says what is to be made, and where."""
    _add_place(parser.add_argument_group("the app"))
    add_changes(parser)
    _add_speech(parser.add_argument_group("how it speaks"))
    _add_callers(parser.add_argument_group("who may call it"))
    parser.add_argument(
        "--secret",
        action="append",
        default=[],
        metavar="K[=V|=@FILE]",
        help="set a secret, which the server gets as variable K; may be repeated",
    )
    parser.add_argument(
        "-v",
        "--volume",
        action="append",
        default=[],
        metavar="NAME:/PATH[:K=V,...]",
        help="make a volume",
    )
    parser.add_argument("--host-dedication-id", metavar="ID", help="run on a host of your own")


def add_changes(parser: argparse.ArgumentParser) -> None:
    """Add the flags for what may also be changed later."""
    _add_program(parser.add_argument_group("what it runs"))
    _add_contents(parser.add_argument_group("what it holds"))
    add_size(parser.add_argument_group("its size"))


def add_size(group: argparse._ArgumentGroup) -> None:
    """Add the flags that say how large a machine is."""
    group.add_argument("--vm-size", metavar="SIZE", help="such as shared-cpu-1x or performance-2x")
    group.add_argument("--vm-cpus", "--cpus", type=int, metavar="N", help="how many CPUs")
    group.add_argument(
        "--vm-cpu-kind", "--vm-cpukind", metavar="KIND", help="shared or performance"
    )
    group.add_argument(
        "--vm-memory", "--memory", metavar="SIZE", help="512, 512mb or 1gb (default 1gb)"
    )


def size(args: argparse.Namespace) -> dict[str, Any]:
    """The fields of a wish that say how large a machine is, as far as they are given."""
    return given(
        {key: getattr(args, key) for key in ("vm_size", "vm_cpus", "vm_cpu_kind", "vm_memory")}
    )


def wish(args: argparse.Namespace, line: str | None) -> dict[str, Any]:
    """The wish; `line` is the command. What is not said is left out of it. It holds secrets. Raises `UsageError`."""
    names = (
        "server",
        "name",
        "org",
        "region",
        "port",
        "transport",
        "wrapper",
        "host_dedication_id",
    )
    made = {
        **changes(args, line),
        **given({key: getattr(args, key) for key in names}),
        "at": place(args),
        "bearer": args.bearer_token and args.user is None,
        "flycast": args.flycast,
        "secrets": secret_sources.read_secrets(args.secret),
        "policy": args.policy or ("always" if args.auto_stop == "off" else "attached"),
    }
    return made | _credentials(args) | _volume(args.volume)


def changes(args: argparse.Namespace, line: str | None) -> dict[str, Any]:
    """The fields of a wish that an update may change, as far as they are said."""
    local = pairs(args.file_local, "--file-local", "/PATH=FILE")
    lists = {
        "setup": args.setup,
        "env": pairs(args.env, "--env", "K=VALUE"),
        "file_local": {path: _contents(file) for path, file in local.items()},
        "file_literal": pairs(args.file_literal, "--file-literal", "/PATH=TEXT"),
        "file_secret": pairs(args.file_secret, "--file-secret", "/PATH=SECRET"),
        "machine_config": _json_object(args.machine_config) if args.machine_config else {},
    }
    single = {"command": line, "image": args.image, "auto_stop": args.auto_stop}
    return {**given(single), **size(args), **{key: value for key, value in lists.items() if value}}


def place(args: argparse.Namespace) -> str:
    """Which Fly is meant."""
    return "local" if args.local else "fly.io"


def command_line(args: argparse.Namespace) -> str | None:
    """The command: one word to be split, or the words behind `--`. Raises `UsageError` for both."""
    if args.command is None:
        return str(args.line) if args.line is not None else None
    if args.line is not None:
        raise UsageError(f"say the command once: {args.line!r}, or what stands behind --")
    return shlex.join(args.command)


def pairs(words: list[str], flag: str, form: str) -> dict[str, str]:
    """What flags of the form `K=V` say, cut at the first `=`. Raises `UsageError`."""
    found: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise UsageError(f"cannot read {flag} {key}: write it as {form}")
        if key in found:
            raise UsageError(f"{flag} {key} is given twice")
        found[key] = value
    return found


def given(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields that are not None."""
    return {key: value for key, value in fields.items() if value is not None}


def _add_place(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--server", metavar="NAME", help="the name to give the server here; found from the command"
    )
    group.add_argument(
        "--name", metavar="APP", help="the name of the app; that of the server, or one like it"
    )
    group.add_argument(
        "--local",
        action="store_true",
        help="on the local Fly ('mcpctl localfly') and not on Fly.io",
    )
    group.add_argument("--org", metavar="ORG", help="the organisation (default personal)")
    group.add_argument(
        "-r",
        "--region",
        metavar="CODE",
        help="such as iad or fra; where there is room, if not given",
    )
    group.add_argument(
        "--policy",
        choices=("attached", "always", "never"),
        help="attached wakes it ahead of need (default), always keeps it awake, never leaves it to Fly",
    )


def _add_program(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--image", metavar="IMAGE", help="the image (default flyio/mcp, which has npx and uvx)"
    )
    group.add_argument(
        "--setup",
        action="append",
        default=[],
        metavar="COMMAND",
        help="run this in the machine before the server, at each cold start; may be repeated",
    )
    group.add_argument(
        "--auto-stop",
        choices=("off", "stop", "suspend"),
        help="what becomes of it when nobody calls (default suspend)",
    )
    group.add_argument(
        "--machine-config",
        metavar="FILE",
        help="JSON: fields of a Machine's configuration that are laid over ours (RFC 7396)",
    )


def _add_speech(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--transport",
        choices=("stdio", "http", "sse"),
        help="what the server speaks by itself (default stdio, which is wrapped)",
    )
    group.add_argument(
        "--port", type=int, metavar="N", help="where a server that speaks HTTP itself listens"
    )
    group.add_argument(
        "--wrapper",
        choices=("mcpctl", "fly"),
        help="what speaks HTTP for a stdio server (default mcpctl)",
    )


def _add_callers(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--bearer-token",
        nargs="?",
        const=True,
        default=True,
        type=_switch,
        metavar="BOOL",
        help="make a token that clients must send (default true)",
    )
    group.add_argument(
        "--user", metavar="USER", help="have clients send a user and a password instead"
    )
    group.add_argument(
        "--password",
        nargs="?",
        const=secret_sources.PROMPT,
        metavar="P",
        help="the password; without P from FLY_MCP_PASSWORD, else asked for",
    )
    group.add_argument(
        "--flycast", action="store_true", help="give it a private address and no public one"
    )


def _add_contents(group: argparse._ArgumentGroup) -> None:
    for flag, metavar, text in (
        ("--env", "K=V", "set a variable"),
        ("--file-local", "/PATH=FILE", "put a local file there"),
        ("--file-literal", "/PATH=TEXT", "put a file with this text there"),
        ("--file-secret", "/PATH=SECRET", "put a secret, whose value is in Base64, there"),
    ):
        group.add_argument(
            flag, action="append", default=[], metavar=metavar, help=f"{text}; may be repeated"
        )


def _switch(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError("must be true or false")
    return text.lower() == "true"


def _credentials(args: argparse.Namespace) -> dict[str, str]:
    if args.user is None and args.password is None:
        return {}
    if args.user is None:
        raise UsageError("--password needs --user")
    asked = args.password if args.password is not None else secret_sources.PROMPT
    return {"user": args.user, "password": secret_sources.password(asked)}


def _volume(words: list[str]) -> dict[str, str]:
    if len(words) > 1:
        raise UsageError("a machine has one volume: give --volume once")
    return {"volume": words[0]} if words else {}


def _contents(path: str) -> str:
    return b64encode(_read(path)).decode()


def _json_object(path: str) -> dict[str, Any]:
    try:
        value = json.loads(_read(path))
    except ValueError as exc:
        raise UsageError(f"cannot read {path} as JSON: {exc}") from exc
    if not isinstance(value, dict):
        raise UsageError(
            f"cannot use {path}: it must hold a JSON object, fields of a Machine's configuration"
        )
    return value


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as exc:
        raise UsageError(f"cannot read {path}: {exc.strerror or exc}") from exc
    if len(data) > MAX_FILE_BYTES:
        raise UsageError(f"cannot send {path}: it is longer than {MAX_FILE_BYTES} bytes")
    return data
