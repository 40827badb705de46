"""What a server offers, asked for and told: tools, prompts, resources, with arguments and annotations."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mcpctl.mcp_client import PREFIX, RpcError, Session
from mcpctl.output import one_line

Item = dict[str, Any]

_NO_SUCH_METHOD = -32601
_HINTS = {
    "readOnlyHint": ("read-only", "writes"),
    "destructiveHint": ("destructive", "only adds"),
    "idempotentHint": ("idempotent", "not idempotent"),
    "openWorldHint": ("open world", "closed world"),
}
"""The annotations of a tool, set and not set; one that is missing says nothing."""


@dataclass(frozen=True, slots=True)
class Offer:
    """All lists of a server, each whole."""

    revision: str
    about: Item
    tools: list[Item]
    prompts: list[Item]
    resources: list[Item]
    templates: list[Item]

    def as_json(self) -> Item:
        """For `--json`: every item as the server described it."""
        return {
            "revision": self.revision,
            "server": self.about,
            "tools": self.tools,
            "prompts": self.prompts,
            "resources": self.resources,
            "resourceTemplates": self.templates,
        }


def ask(session: Session) -> Offer:
    """Ask for everything that the server says it has."""
    can = session.about.get("capabilities")
    can = can if isinstance(can, dict) else {}
    return Offer(
        session.revision,
        session.about,
        _listed(session, "tools/list", "tools"),
        _listed(session, "prompts/list", "prompts") if "prompts" in can else [],
        _listed(session, "resources/list", "resources") if "resources" in can else [],
        _listed(session, "resources/templates/list", "resourceTemplates")
        if "resources" in can
        else [],
    )


def told(offer: Offer) -> Iterator[str]:
    """The offer as lines."""
    yield from told_server(offer)
    for title, items, tell in (
        ("TOOLS", offer.tools, told_tool),
        ("PROMPTS", offer.prompts, told_prompt),
        ("RESOURCES", offer.resources, told_resource),
        ("RESOURCE TEMPLATES", offer.templates, told_resource),
    ):
        if items:
            yield ""
            yield title
            for item in items:
                yield from tell(item)


def told_server(offer: Offer) -> Iterator[str]:
    """Who it is, which revision of MCP is spoken, and its instructions."""
    info = offer.about.get("serverInfo") or _in(offer.about, "_meta").get(PREFIX + "serverInfo")
    info = info if isinstance(info, dict) else {}
    name = " ".join(str(info[key]) for key in ("name", "version") if info.get(key))
    yield one_line(f"{name or 'a server without a name'}, MCP {offer.revision}")
    yield from _indented(offer.about.get("instructions"))


def told_tool(tool: Item) -> Iterator[str]:
    """A tool with its arguments and annotations."""
    schema = _in(tool, "inputSchema")
    required = schema.get("required")
    wanted = required if isinstance(required, list) else []
    arguments = ", ".join(
        f"{name}{'' if name in wanted else '?'}: {_type(value)}"
        for name, value in _in(schema, "properties").items()
    )
    yield one_line(f"  {tool.get('name')}({arguments}){_hints(tool)}")
    yield from _described(tool)


def told_prompt(prompt: Item) -> Iterator[str]:
    """A prompt with its arguments."""
    arguments = prompt.get("arguments")
    known = [item for item in arguments if isinstance(item, dict)] if arguments else []
    names = ", ".join(f"{one.get('name')}{'' if one.get('required') else '?'}" for one in known)
    yield one_line(f"  {prompt.get('name')}({names})")
    yield from _described(prompt)
    for one in known:
        if one.get("description"):
            yield one_line(f"      {one.get('name')}: {one['description']}")


def told_resource(resource: Item) -> Iterator[str]:
    """A resource, or a template of some, with what is said about it."""
    notes = _in(resource, "annotations")
    audience = notes.get("audience")
    facts = [
        resource.get("mimeType"),
        f"{resource['size']} bytes" if "size" in resource else None,
        f"for {', '.join(map(str, audience))}" if isinstance(audience, list) else None,
        f"priority {notes['priority']}" if "priority" in notes else None,
        f"modified {notes['lastModified']}" if "lastModified" in notes else None,
    ]
    said = ", ".join(str(fact) for fact in facts if fact)
    yield one_line(
        f"  {resource.get('uri') or resource.get('uriTemplate')}{f' [{said}]' if said else ''}"
    )
    yield from _described(resource, name=True)


def _listed(session: Session, method: str, key: str) -> list[Item]:
    try:
        return session.listed(method, key)
    except RpcError as exc:
        if exc.code != _NO_SUCH_METHOD:
            raise
        return []


def _type(schema: Any) -> str:
    """The type of an argument, in a word."""
    if not isinstance(schema, dict):
        return "any"
    if isinstance(schema.get("enum"), list):
        return " | ".join(map(repr, schema["enum"]))
    kind = schema.get("type")
    if isinstance(kind, list):
        return " | ".join(map(str, kind))
    if kind == "array" and isinstance(schema.get("items"), dict):
        return f"{_type(schema['items'])}[]"
    variants = schema.get("anyOf") or schema.get("oneOf")
    if not kind and isinstance(variants, list):
        return " | ".join(map(_type, variants))
    return str(kind or "any")


def _hints(tool: Item) -> str:
    notes = _in(tool, "annotations")
    words = [yes if notes[hint] else no for hint, (yes, no) in _HINTS.items() if hint in notes]
    return f" [{', '.join(words)}]" if words else ""


def _described(item: Item, *, name: bool = False) -> Iterator[str]:
    title = item.get("title") or (item.get("name") if name else None)
    if title:
        yield one_line(f"      {title}")
    if item.get("description") not in (title, item.get("name")):
        yield from _indented(item.get("description"))


def _indented(text: Any) -> Iterator[str]:
    for line in str(text or "").strip().splitlines():
        yield one_line(f"      {line}".rstrip())


def _in(item: Item, key: str) -> Item:
    value = item.get(key)
    return value if isinstance(value, dict) else {}
