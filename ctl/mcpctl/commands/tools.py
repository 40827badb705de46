"""`mcpctl tools` and `mcpctl call`: what a server offers, and using it."""

import argparse
import json
import sys
from typing import Any

from mcpctl import mcp_client, output
from mcpctl.commands.common import Commands, command, json_flag
from mcpctl.errors import UsageError

TIMEOUT_S = 300.0
TOOL_FAILED = 1
"""The exit code when the tool itself says that it failed."""

MAX_ARGUMENT_BYTES = 64 * 1024 * 1024


def add_to(commands: Commands) -> None:
    """Add the parsers of this module."""
    parser = command(commands, "tools", tools, "list the tools of a server")
    parser.add_argument("name", nargs="?", metavar="NAME")
    parser.add_argument("--url", metavar="URL", help="a server that was not added")
    timeout_flag(parser, TIMEOUT_S)
    json_flag(parser)
    parser = command(commands, "call", call, "call a tool of a server")
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("tool", metavar="TOOL")
    parser.add_argument(
        "arguments",
        nargs="?",
        metavar="JSON|@FILE|-",
        help="the arguments as a JSON object: given here, in a file, or on stdin; {} when left out",
    )
    timeout_flag(parser, TIMEOUT_S)
    json_flag(parser)


def tools(args: argparse.Namespace) -> int:
    """Print the tools of a server."""
    if (args.name is None) == (args.url is None):
        raise UsageError("say which server: mcpctl tools NAME, or --url URL")
    fields = [("server", args.name)] if args.name else [("url", args.url)]
    with mcp_client.session(fields, args.timeout, tell) as session:
        found = session.tools()
    if args.json:
        output.as_json({"tools": found})
    else:
        output.table(
            ("TOOL", "DESCRIPTION"), [(tool.get("name"), _summary(tool)) for tool in found]
        )
    return 0


def call(args: argparse.Namespace) -> int:
    """Call a tool and print what it answers; its failure goes to stderr."""
    arguments = read_arguments(args.arguments)
    with mcp_client.session([("server", args.name)], args.timeout, tell) as session:
        result = session.call(args.tool, arguments)
    failed = result.get("isError") is True
    if args.json:
        output.as_json(result)
    elif failed:
        output.note(f"tool {args.tool} failed:")
        sys.stderr.write(output.harmless(describe(result), sys.stderr) + "\n")
    else:
        output.text_out(describe(result))
    return TOOL_FAILED if failed else 0


def tell(method: str, params: dict[str, Any]) -> None:
    """Say a notification of the server on stderr; those without news for the user are left out."""
    if method == "notifications/progress":
        total = params.get("total")
        done = f"{params.get('progress')}/{total}" if total is not None else params.get("progress")
        output.note(f"progress {done} {params.get('message') or ''}".rstrip())
    elif method == "notifications/message":
        data = params.get("data")
        text = data if isinstance(data, str) else json.dumps(data)
        output.note(f"{params.get('level')} {params.get('logger') or 'server'}: {text}")


def read_arguments(given: str | None) -> dict[str, Any]:
    """The arguments of a call from JSON, `@FILE` or `-` (stdin)."""
    text = _source(given)
    try:
        arguments = json.loads(text)
    except ValueError as exc:
        raise UsageError(f"the arguments are not JSON: {exc}") from exc
    if not isinstance(arguments, dict):
        raise UsageError('the arguments must be a JSON object such as {"name": "value"}')
    return arguments


def describe(result: dict[str, Any]) -> str:
    """What a result says as text: its text, a word on other content, else what is structured."""
    content = result.get("content")
    parts = [_part(item) for item in content if isinstance(item, dict)] if content else []
    if not any(item.get("type") == "text" for item in content or () if isinstance(item, dict)):
        structured = result.get("structuredContent")
        parts += [json.dumps(structured, indent=2)] if structured is not None else []
    return "\n".join(parts)


def _part(item: dict[str, Any]) -> str:
    kind = item.get("type")
    if kind == "text":
        return str(item.get("text", ""))
    if kind in ("image", "audio"):
        size = len(str(item.get("data", ""))) * 3 // 4
        return f"[{kind}: {item.get('mimeType')}, about {size} bytes; --json has them]"
    if kind == "resource_link":
        return f"[link: {item.get('uri')} {item.get('name') or ''}]"
    if kind == "resource":
        resource = item.get("resource")
        return _resource(resource if isinstance(resource, dict) else {})
    return f"[{kind}; --json has it]"


def _resource(resource: dict[str, Any]) -> str:
    if "text" in resource:
        return str(resource["text"])
    return f"[resource: {resource.get('uri')}, {resource.get('mimeType')}; --json has it]"


def _summary(tool: dict[str, Any]) -> str:
    """The first line of a tool's description, or its title."""
    lines = str(tool.get("description") or tool.get("title") or "").strip().splitlines()
    return lines[0] if lines else ""


def _source(given: str | None) -> str:
    if given is None:
        return "{}"
    if given == "-":
        return sys.stdin.read(MAX_ARGUMENT_BYTES)
    if not given.startswith("@"):
        return given
    try:
        with open(given[1:], encoding="utf-8") as file:
            return file.read(MAX_ARGUMENT_BYTES)
    except OSError as exc:
        raise UsageError(f"cannot read the arguments from {given[1:]}: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise UsageError(f"cannot read the arguments: {given[1:]} is not UTF-8 text") from exc


def timeout_flag(parser: argparse.ArgumentParser, default: float | None) -> None:
    """Add `--timeout`; what is taken without it is for whoever reads it to know, when it is no `default`."""
    parser.add_argument(
        "--timeout",
        type=_seconds,
        default=default,
        metavar="S",
        help="seconds to wait for each answer (default 300)",
    )


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < 1e9:
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds above 0")
    return seconds
