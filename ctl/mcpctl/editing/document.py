"""A configuration file as bytes: entries are read, put in, changed and taken out, in whatever format it is.

Every result is read back and compared with what it must mean; one that says anything else is never answered.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, Protocol

from mcpctl.editing.problems import Uneditable, Unreadable
from mcpctl.editing.splices import Difference

Path = tuple[str, ...]
"""The keys that lead to an entry; the last one is its name."""

Format = Literal["json", "toml", "yaml"]
"""`json` is JSON with comments and trailing commas, where the file has any."""

_BOM = "\ufeff"


class Editor(Protocol):
    """What each format can do; texts have no byte order mark."""

    def meaning(self, text: str) -> Any:
        """What the text says. Raises `Unreadable`."""

    def text_of(self, text: str, path: Path) -> str | None:
        """The entry as it is written; None when there is none."""

    def put_text(self, text: str, path: Path, raw: str) -> str:
        """Set the entry to what is written in `raw`."""

    def merge(
        self, text: str, path: Path, fields: Mapping[str, object], drop: Iterable[str] = ()
    ) -> str:
        """Set some fields of the entry, take others out, leave the rest."""

    def remove(self, text: str, path: Path) -> str:
        """Take the entry out."""


def editor(kind: Format) -> Editor:
    """The editor of a format; what it needs is loaded now."""
    if kind == "toml":
        from mcpctl.editing import toml_editor

        return toml_editor
    if kind == "yaml":
        from mcpctl.editing import yaml_editor

        return yaml_editor
    from mcpctl.editing import json_editor

    return json_editor


def meaning(data: bytes, kind: Format) -> Any:
    """What the file says. Raises `Unreadable`."""
    return editor(kind).meaning(_decoded(data)[1])


def forget() -> None:
    """Give back the text that was read last, which is kept for the edit that follows as a rule."""
    import sys

    if layout := sys.modules.get("mcpctl.editing.json_layout"):
        layout.parse.cache_clear()


def entries(value: Any, section: Path) -> dict[str, Any]:
    """The entries below `section` by name, of what a file says; empty when there are none."""
    found = _at(value, section)
    if isinstance(found, list):  # each item says its name
        named = [item for item in found if isinstance(item, dict)]
        return {str(item["name"]): item for item in named if "name" in item}
    return found if isinstance(found, dict) else {}


def text_of(data: bytes, kind: Format, path: Path) -> str | None:
    """The entry as it is written; None when there is none."""
    return editor(kind).text_of(_decoded(data)[1], path)


def merge(
    data: bytes, kind: Format, path: Path, fields: Mapping[str, object], drop: Iterable[str] = ()
) -> bytes:
    """Set some fields of an entry, take others out, leave the rest; a new entry comes last.

    The bytes answered differ in the entry only. Raises `Unreadable`, and `Uneditable` where that cannot be had.
    """
    taken = frozenset(drop) - fields.keys()
    edit = editor(kind)

    def expected(old: Any) -> Any:
        kept = old if isinstance(old, dict) else {}
        return {**{key: kept[key] for key in kept if key not in taken}, **_plain(edit, fields)}

    return _edited(data, kind, path, expected, lambda t: edit.merge(t, path, fields, taken))


def put_text(data: bytes, kind: Format, path: Path, raw: str) -> bytes:
    """Set an entry to what `text_of` once answered."""
    edit = editor(kind)

    def back(text: str) -> str:
        return edit.put_text(text, path, raw)

    changed = _edited(data, kind, path, lambda _: _ANY, back)
    if edit.text_of(_decoded(changed)[1], path) != raw:
        raise Uneditable(f"{path[-1]} would not be written as it was")
    return changed


def remove(data: bytes, kind: Format, path: Path) -> bytes:
    """Take an entry out; the same bytes when there is none."""
    edit = editor(kind)
    return _edited(data, kind, path, lambda _: _GONE, lambda text: edit.remove(text, path))


def take_back(data: bytes, kind: Format, path: Path, made: Difference) -> bytes | None:
    """Undo an edit in a file that has changed elsewhere since: None where its very text is no longer there once.

    What else the edit made, such as the section around the entry, goes too.
    """
    if not made.inserted or data.count(made.inserted) != 1:
        return None
    undone = data.replace(made.inserted, made.removed)
    try:
        before, after = meaning(data, kind), meaning(undone, kind)
    except Unreadable:
        return None
    return undone if _without(before, path) == _without(after, path) else None


# ---------------------------------------------------------------- inside

_GONE = object()
_ANY = object()


def _edited(
    data: bytes,
    kind: Format,
    path: Path,
    expected: Callable[[Any], Any],
    change: Callable[[str], str],
) -> bytes:
    mark, text = _decoded(data)
    edit = editor(kind)
    before = edit.meaning(text)
    changed = change(text)
    if changed == text:
        return data
    try:
        if not _is_as_meant(before, edit.meaning(changed), path, expected):
            raise _refused(path)
    except Unreadable as exc:
        raise _refused(path) from exc
    return (mark + changed).encode()


def _is_as_meant(before: Any, after: Any, path: Path, expected: Callable[[Any], Any]) -> bool:
    wanted = expected(entries(before, path[:-1]).get(path[-1]))
    found = entries(after, path[:-1]).get(path[-1], _GONE)
    if wanted is not _ANY and not _is_same(wanted, found):
        return False
    return bool(_without(before, path) == _without(after, path))


def _is_same(wanted: Any, found: Any) -> bool:
    if isinstance(wanted, dict) and isinstance(found, dict) and "name" not in wanted:
        found = {key: value for key, value in found.items() if key != "name"}  # of a list's item
    return wanted is found or bool(wanted == found)


def _without(value: Any, path: Path) -> Any:
    """What is said beside one entry; sections that hold nothing are left out."""
    if not isinstance(value, dict):
        if isinstance(value, list):
            return [item for item in value if not _is_called(item, path[-1])]
        return value
    key = path[0]
    if len(path) == 1:
        return {name: item for name, item in value.items() if name != key}
    if key not in value:
        return value
    inner = _without(value[key], path[1:])
    rest = {name: item for name, item in value.items() if name != key}
    return rest if inner in ({}, [], None) else {**rest, key: inner}


def _is_called(item: Any, name: str) -> bool:
    return isinstance(item, dict) and item.get("name") == name


def _at(value: Any, path: Path) -> Any:
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _plain(edit: Editor, fields: Mapping[str, object]) -> dict[str, Any]:
    """The fields as the format reads them back: numbers of JSON are kept as they are written."""
    from mcpctl.editing import json_editor

    if edit is not json_editor:
        return dict(fields)
    import json

    found: dict[str, Any] = json_editor.meaning(json.dumps(dict(fields)))
    return found


def _refused(path: Path) -> Uneditable:
    return Uneditable(f"cannot change {path[-1]} without changing something else with it")


def _decoded(data: bytes) -> tuple[str, str]:
    """The byte order mark, if there is one, and the text behind it."""
    try:
        text = data.decode()
    except UnicodeDecodeError as exc:
        raise Unreadable(f"it is not UTF-8: byte {exc.start}") from exc
    return (_BOM, text[1:]) if text.startswith(_BOM) else ("", text)
