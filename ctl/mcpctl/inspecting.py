"""The loop of `mcpctl inspect`: one command a line, from a terminal or a pipe."""

import contextlib
import json
import shlex
import sys
from collections.abc import Callable, Iterator
from typing import Any

from mcpctl import offer, output
from mcpctl.errors import CtlError, UsageError
from mcpctl.mcp_client import Session
from mcpctl.offer import Item, Offer

TOOL_FAILED = 1

HELP = """\
call TOOL [ARGUMENTS]     call a tool
prompt NAME [ARGUMENTS]   get a prompt
read URI                  read a resource
show [NAME]               what the server offers; with a name, all that it says of that
help, quit
ARGUMENTS are a JSON object, or words such as path=/tmp limit=3"""


class Loop:
    """What is asked of one server, a line at a time."""

    def __init__(self, session: Session, found: Offer, describe: Callable[[Item], str]) -> None:
        self._session = session
        self._offer = found
        self._describe = describe
        self.code = 0
        """The exit code: of the first command that failed."""

    def run(self, lines: Iterator[str]) -> int:
        """Do what the lines say, until they end or one says `quit`."""
        for line in lines:
            word, _, rest = line.strip().partition(" ")
            if word in ("quit", "exit"):
                break
            if word and not word.startswith("#"):
                self._try(word, rest.strip())
        return self.code

    def _try(self, word: str, rest: str) -> None:
        try:
            self._do(word, rest)
        except CtlError as exc:
            if exc.kind == "not-running":  # nothing else can work from here on
                raise
            output.note(str(exc))
            self.code = self.code or exc.exit_code

    def _do(self, word: str, rest: str) -> None:
        name, _, given = rest.partition(" ")
        match word:
            case "call" if name:
                self._call(name, given.strip())
            case "prompt" if name:
                said = self._session.prompt(name, arguments(given.strip(), {}))
                output.text_out(_messages(said, self._describe))
            case "read" if name:
                said = self._session.read(rest)
                output.text_out(self._describe({"content": _contents(said)}))
            case "show":
                self._show(rest)
            case "help":
                print(HELP)
            case "call" | "prompt" | "read":
                raise UsageError(f"say which: {word} NAME; 'show' lists all")
            case _:
                raise UsageError(f"there is no command {word!r}; 'help' shows them")

    def _call(self, name: str, given: str) -> None:
        tool = next((tool for tool in self._offer.tools if tool.get("name") == name), {})
        result = self._session.call(name, arguments(given, tool.get("inputSchema")))
        if result.get("isError") is True:
            output.note(f"tool {name} failed:")
            sys.stderr.write(output.harmless(self._describe(result), sys.stderr) + "\n")
            self.code = self.code or TOOL_FAILED
        else:
            output.text_out(self._describe(result))

    def _show(self, name: str) -> None:
        if not name:
            output.text_out("\n".join(offer.told(self._offer)))
            return
        lists = (
            self._offer.tools,
            self._offer.prompts,
            self._offer.resources,
            self._offer.templates,
        )
        found = [item for items in lists for item in items if name in _names(item)]
        if not found:
            raise CtlError(
                "not-found", f"the server offers nothing called {name!r}; 'show' lists all"
            )
        for item in found:
            output.text_out(json.dumps(item, indent=2, ensure_ascii=False))


def arguments(text: str, schema: Any) -> dict[str, Any]:
    """Arguments from a JSON object, or from words `K=V`: V as JSON, unless the schema says that K is a string."""
    if text.startswith("{"):
        try:
            value = json.loads(text)
        except ValueError as exc:
            raise UsageError(f"the arguments are not JSON: {exc}") from exc
        return dict(value)
    try:
        words = shlex.split(text)
    except ValueError as exc:
        raise UsageError(f"cannot read the arguments: {exc}") from exc
    return dict(_argument(word, schema) for word in words)


def typed_lines(prompt: str) -> Iterator[str]:
    """The lines that are typed at a terminal."""
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  (`input` uses it when it is loaded)
    while True:
        try:
            yield input(prompt)
        except EOFError:
            print()
            return


def _argument(word: str, schema: Any) -> tuple[str, Any]:
    key, equals, text = word.partition("=")
    if not equals:
        raise UsageError(f"{word!r} is neither K=V nor the beginning of a JSON object")
    known = schema.get("properties") if isinstance(schema, dict) else None
    kind = known.get(key) if isinstance(known, dict) else None
    if schema == {} or (isinstance(kind, dict) and kind.get("type") == "string"):
        return key, text
    try:
        return key, json.loads(text)
    except ValueError:
        return key, text


def _names(item: Item) -> list[Any]:
    return [item.get(key) for key in ("name", "uri", "uriTemplate")]


def _contents(said: Item) -> list[Item]:
    """The contents of a resource as a tool would answer them."""
    contents = said.get("contents")
    known = contents if isinstance(contents, list) else []
    return [{"type": "resource", "resource": one} for one in known if isinstance(one, dict)]


def _messages(said: Item, describe: Callable[[Item], str]) -> str:
    messages = said.get("messages")
    known = messages if isinstance(messages, list) else []
    lines = [str(said["description"])] if said.get("description") else []
    for one in known:
        content = one.get("content") if isinstance(one, dict) else None
        parts = content if isinstance(content, list) else [content]
        lines.append(f"{one.get('role')}: {describe({'content': parts})}" if content else "")
    return "\n".join(lines)
