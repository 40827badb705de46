"""`mcpctl.editing.yaml_editor`: lines are put in, changed and cut out; PyYAML agrees."""

import pytest
import yaml

from mcpctl.editing import document, yaml_editor
from mcpctl.editing.problems import Uneditable, Unreadable

PATH = ("extensions", "new")
FIELDS = {"type": "stdio", "cmd": "/usr/bin/python3", "args": ["-I", "é: #\x7f"], "enabled": True}

GOOSE = """\
# of mine
GOOSE_MODEL: x   # best
extensions:
  dev:   # tail
    cmd: npx
    args:
      - a
      - b   # of b
    envs: {A: "1"}
    enabled: true
  # above two
  two:
    type: stdio
    description: |
      long

      text
    # of two

# the end
other: [1, 2]
"""

FILES = {
    "goose": GOOSE,
    "CRLF": GOOSE.replace("\n", "\r\n"),
    "four spaces": "extensions:\n    x:\n        cmd: a\n",
    "one space": "extensions:\n x:\n  cmd: a\n",
    "a marker": "%YAML 1.2\n---\nextensions:\n  x:\n    cmd: a\n",
    "empty values": "extensions:\n  x:\n  y: ~\n  z: {}\nend:\n",
    "a null section": "extensions:\na: 1\n",
    "a null section at the end": "a: 1\nextensions:   # none\n",
    "big numbers and dates": "n: 123456789012345678901234567890\nd: 2026-01-02\nextensions:\n  x: {cmd: a}\n",
    "quotes": "'extensions':\n  \"x\": {cmd: 'it''s'}\n",
    "folded": "extensions:\n  x:\n    description: >-\n      a\n      b\n  # after the block\n",
    "anchors elsewhere": "base: &b\n  a: 1\nother:\n  <<: *b\nextensions:\n  x:\n    cmd: a\n",
}  # fmt: skip
CREATED = {
    "empty": "",
    "a comment": "# mine\n",
    "no section": "a: 1\n",
    "an empty section": "extensions: {}  # none\na: 1\n",
    "null": "extensions: null\n",
    "no last line end": "extensions:\n  x:\n    cmd: a",
    "indented": "  a: 1\n  b: 2\n",
}
LIST = """\
name: x
mcpServers:
  - name: a
    command: npx # of a
  # above b
  - url: https://h/
    name: b
rules: []
"""


@pytest.mark.parametrize("text", FILES.values(), ids=FILES)
def test_a_new_entry_comes_last_and_goes_without_a_trace(text):
    after = check_added(text)
    assert yaml_editor.remove(after, PATH) == text


@pytest.mark.parametrize("text", CREATED.values(), ids=CREATED)
def test_a_section_is_made_where_there_is_none(text):
    check_added(text)


def check_added(text):
    after = yaml_editor.merge(text, PATH, FIELDS)
    wanted = yaml.safe_load(text) or {}
    wanted["extensions"] = {**(wanted.get("extensions") or {}), "new": FIELDS}
    assert yaml.safe_load(after) == wanted
    assert [line for line in text.splitlines() if "#" in line and "{}" not in line] == [
        line for line in after.splitlines() if "#" in line and "é" not in line and line in text
    ]
    return after


def test_new_lines_end_and_stand_as_the_others_do():
    after = yaml_editor.merge(FILES["CRLF"], PATH, FIELDS)
    assert after.count("\n") == after.count("\r\n")
    assert '\n    "new":\n' not in yaml_editor.merge(FILES["one space"], PATH, FIELDS)
    assert "\n        type: stdio\n" in yaml_editor.merge(FILES["four spaces"], PATH, FIELDS)


def test_a_change_leaves_the_keys_that_are_not_ours():
    after = yaml_editor.merge(GOOSE, ("extensions", "dev"), FIELDS, ["envs", "nothing"])
    assert after == GOOSE.replace("cmd: npx", "cmd: /usr/bin/python3").replace(
        '    args:\n      - a\n      - b   # of b\n    envs: {A: "1"}\n    enabled: true\n',
        '    args: ["-I", "é: #\\u007f"]   # of b\n    enabled: true\n    type: stdio\n',
    )
    assert yaml_editor.merge(after, ("extensions", "dev"), FIELDS) == after


def test_an_entry_in_braces_is_changed_in_its_braces():
    text = "extensions:\n  x: {cmd: a, keep: 1}  # mine\n"
    after = yaml_editor.merge(text, ("extensions", "x"), {"cmd": "b"}, ["none"])
    assert after == 'extensions:\n  x: {"cmd": "b", "keep": 1}  # mine\n'


def test_an_entry_goes_with_its_lines_and_not_with_the_comments_around():
    after = yaml_editor.remove(GOOSE, ("extensions", "two"))
    assert "two:" not in after
    assert all(comment in after for comment in ("# above two", "# of two", "# the end"))
    assert yaml_editor.remove("extensions:\n  x:\n", ("extensions", "y")) == "extensions:\n  x:\n"


def test_an_entry_goes_back_as_it_was_written():
    path = ("extensions", "dev")
    raw = yaml_editor.text_of(GOOSE, path)
    assert raw.startswith("  dev:   # tail\n")
    assert raw.endswith("enabled: true\n")
    changed = yaml_editor.merge(GOOSE, path, FIELDS, ["envs"])
    assert yaml_editor.put_text(changed, path, raw) == GOOSE
    gone = yaml_editor.remove(GOOSE, path)
    assert yaml_editor.text_of(yaml_editor.put_text(gone, path, raw), path) == raw
    assert yaml_editor.text_of(GOOSE, PATH) is None
    with pytest.raises(Uneditable, match="has gone"):
        yaml_editor.put_text("a: 1\n", path, raw)


def test_a_list_of_named_entries_is_one_of_entries():
    path = ("mcpServers", "new")
    after = yaml_editor.merge(LIST, path, {"command": "c", "args": []})
    wanted = yaml.safe_load(LIST)
    wanted["mcpServers"].append({"name": "new", "command": "c", "args": []})
    assert yaml.safe_load(after) == wanted
    assert yaml_editor.remove(after, path) == LIST
    changed = yaml_editor.merge(LIST, ("mcpServers", "a"), {"command": "c"}, [])
    assert changed == LIST.replace("npx", "c")
    with pytest.raises(Uneditable, match="behind the dash"):
        yaml_editor.merge(LIST, ("mcpServers", "b"), {"command": "c"}, ["url"])
    raw = yaml_editor.text_of(LIST, ("mcpServers", "b"))
    assert raw == "  - url: https://h/\n    name: b\n"
    assert yaml_editor.remove(LIST, ("mcpServers", "b")) == LIST.replace(raw, "")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("extensions: {x: {cmd: a}}\n", "in one line"),
        ("{extensions: {x: 1}}\n", "in one line"),
        ("extensions: text\n", "neither"),
        ("- a\n", "no mapping"),
        ("extensions:\n  new: text\n", "not a mapping"),
        ("extensions:\n  new: &n\n    cmd: a\n", "anchor"),
        ("base: &b {cmd: a}\nextensions:\n  new: *b\n", "anchor"),
    ],
)
def test_a_form_that_cannot_be_changed_by_lines_is_refused(text, what):
    with pytest.raises(Uneditable, match=what):
        yaml_editor.merge(text, PATH, FIELDS)


@pytest.mark.parametrize(
    "text",
    ["a:\n\t- b\n", "a: 1\na: 2\n", "a: [1\n", "a: 1\n---\nb: 2\n", "a: \x01\n", "a: b: c\n", "a: 2026-13-45\n"],
)  # fmt: skip
def test_what_is_not_one_document_of_yaml_is_refused(text):
    with pytest.raises(Unreadable):
        document.merge(text.encode(), "yaml", PATH, FIELDS)
