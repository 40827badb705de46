"""`mcpctl.editing.json_editor`: what is put in looks at home, and nothing else moves."""

import json
import re

import json5
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures import jsonc
from fixtures.jsonc import ENTRY, SECTION, Writer
from mcpctl.editing import json_editor
from mcpctl.editing.json_layout import parse
from mcpctl.editing.problems import Uneditable, Unreadable
from mcpctl.editing.splices import difference

PATH = (SECTION, "new")
EMPTY = re.compile(r"\{[ \t]+\}")
"""The space in an empty object gives way to the lines of its first member."""
BLOCK_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
SEEDS = st.integers(0, 2**48)


def kept(before, after):
    """Whether `after` is `before` with text put in: at one place, or around one kept piece."""
    made = difference(before.encode(), after.encode())
    return made.removed in made.inserted


PLACES = [
    (
        "tabs, comments and trailing commas",
        '{\n\t"servers": {\n\t\t"a": {}, // of a\n\t\t// at the end\n\t},\n}\n',
        '{\n\t"servers": {\n\t\t"a": {}, // of a\n\t\t"new": 1,\n\t\t// at the end\n\t},\n}\n',
    ),
    (
        "the comma goes before the comment",
        '{\n  "servers": {\n    "a": {} /* of a */ // too\n  }\n}',
        '{\n  "servers": {\n    "a": {}, /* of a */ // too\n    "new": 1\n  }\n}',
    ),
    ("one line", '{"servers":{"a":{}}}', '{"servers":{"a":{},"new":1}}'),
    ("one line with air", '{ "servers": { "a": 1 } }', '{ "servers": { "a": 1, "new": 1 } }'),
    ("an empty section", '{\n  "servers": {}\n}', '{\n  "servers": {\n    "new": 1\n  }\n}'),
    ("an empty section on a line", '{"servers":{}}', '{"servers":{"new":1}}'),
    (
        "a section with a comment only",
        '{\n  "servers": {\n    // none yet\n  }\n}',
        '{\n  "servers": {\n    "new": 1\n    // none yet\n  }\n}',
    ),
    ("CRLF", '{\r\n "servers": {\r\n  "a": 1\r\n }\r\n}', '{\r\n "servers": {\r\n  "a": 1,\r\n  "new": 1\r\n }\r\n}'),
    ("a brace that hugs", '{\n "servers": {\n  "a": 1}}', '{\n "servers": {\n  "a": 1,\n  "new": 1}}'),
    ("no section", '{\n    "x": 1\n}\n', '{\n    "x": 1,\n    "servers": {\n        "new": 1\n    }\n}\n'),
    ("no section, trailing comma", '{\n  "x": 1,\n}', '{\n  "x": 1,\n  "servers": {\n    "new": 1\n  },\n}'),
    ("a null section", '{\n  "servers": null // yet\n}', '{\n  "servers": {\n    "new": 1\n  } // yet\n}'),
    ("nothing", "", '{\n  "servers": {\n    "new": 1\n  }\n}\n'),
    ("white space", "\n", '\n{\n  "servers": {\n    "new": 1\n  }\n}\n'),
    ("a comment", "// mine", '// mine\n{\n  "servers": {\n    "new": 1\n  }\n}\n'),
    ("braces", "{}\n", '{\n  "servers": {\n    "new": 1\n  }\n}\n'),
    ("the last of two sections", '{"servers":{},"servers":{}}', '{"servers":{},"servers":{"new":1}}'),
]  # fmt: skip


@pytest.mark.parametrize(
    ("before", "after"), [row[1:] for row in PLACES], ids=[r[0] for r in PLACES]
)
def test_a_new_member_looks_like_its_siblings(before, after):
    assert json_editor.put(before, PATH, 1) == after


@pytest.mark.parametrize(
    "before", [row[1] for row in PLACES[:9]], ids=[row[0] for row in PLACES[:9]]
)
def test_what_was_put_in_comes_out_without_a_trace(before):
    for value in (1, ENTRY, [], "x"):
        assert json_editor.remove(json_editor.put(before, PATH, value), PATH) == before


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('{"s":{"x":1,"y":2}}', '{"s":{"y":2}}'),
        ('{"s":{"y":2,"x":1}}', '{"s":{"y":2}}'),
        ('{"s": {"x": 1, "y": 2}}', '{"s": {"y": 2}}'),
        ('{"s":{"x":1}}', '{"s":{}}'),
        ('{"s":{ "x":1, }}', '{"s":{}}'),
        ('{"s":{"x":1,"y":2,"x":3}}', '{"s":{"y":2}}'),
        ('{"s":{\n "x":1, // of x\n "y":2\n}}', '{"s":{\n "y":2\n}}'),
        ('{"s":{\n // above\n "x":1,\n "y":2\n}}', '{"s":{\n // above\n "y":2\n}}'),
        ('{"s":{\n "y":2, // of y\n "x":1 // of x\n}}', '{"s":{\n "y":2 // of y\n}}'),
        ('{"s":{\n "y":2, // of y\n "x":1}}', '{"s":{\n "y":2 // of y\n}}'),
        ('{"s":{\n "y":2,\n "x":1, // of x\n}}', '{"s":{\n "y":2,\n}}'),
        ('{"s":{\n "x":1, "y":2\n}}', '{"s":{\n "y":2\n}}'),
        ('{"s":{\n "x":1\n // below\n ,"y":2\n}}', '{"s":{\n // below\n "y":2\n}}'),
        ('{"s":{\n "x":1\n}}', '{"s":{}}'),
        ('{"s":{\n // kept\n "x":1\n}}', '{"s":{\n // kept\n}}'),
        ('{"s":{"y":2}}', '{"s":{"y":2}}'),
        ('{"s":[]}', '{"s":[]}'),
        ("{}", "{}"),
        ("// only", "// only"),
    ],
)
def test_a_member_is_taken_out_with_its_comma_and_its_lines(before, after):
    assert json_editor.remove(before, ("s", "x")) == after


def test_a_change_touches_the_fields_that_differ():
    before = (
        '{"s": {\n  "x": { // mine\n    "command": "npx", "args": [ "a" ], // why\n'
        '    "env": {"T": "1"},\n    "timeout": 9007199254740993,\n  },\n}}'
    )
    after = (
        '{"s": {\n  "x": { // mine\n    "command": "/p", "args": [ "a" ], // why\n'
        '    "timeout": 9007199254740993,\n    "type": "stdio",\n  },\n}}'
    )
    fields = {"command": "/p", "args": ["a"], "type": "stdio"}
    assert json_editor.merge(before, ("s", "x"), fields, ["env"]) == after


def test_an_equal_value_is_not_written_again():
    text = '{"s":{"x" : { "a" : [ 1 , 2 ] }}}'
    assert json_editor.merge(text, ("s", "x"), {"a": [1, 2]}) == text
    assert json_editor.put(text, ("s", "x", "a"), [1, 2]) == text


@pytest.mark.parametrize("raw", ['{ "a" : 1, /* c */ }', "{\n\t\t}", "7"])
def test_an_entry_goes_back_as_it_was_written(raw):
    before = '{\n "s": {\n  "x": ' + raw + " // mine\n }\n}"
    path = ("s", "x")
    assert json_editor.text_of(before, path) == raw
    changed = json_editor.put(before, path, ENTRY)
    assert json_editor.put_text(changed, path, raw) == before
    assert json_editor.text_of("{}", path) is None


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("{", "line 1, column 2"),
        ('{"a":1,\n "b" 2}', "line 2, column 6"),
        ('{"a":[,]}', "line 1"),
        ('{"a":{,}}', "line 1"),
        ('{"a":{/* */,}}', "line 1"),
        ('{"a":[1,,]}', "line 1"),
        ("{},", "line 1"),
        ('{"a":NaN}', "NaN"),
        ('{"a":nu/**/ll}', "line 1"),
        ("{'a':1}", "line 1"),
        ("{a:1}", "line 1"),
        ('{"a":"x\ny"}', "line 1"),
        ('{"a":1} /* open', "line 1"),
        ('{"a":01}', "line 1"),
        ('{"a":1}{"b":2}', "line 1"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_what_is_not_json_is_refused_with_its_place(text, where):
    with pytest.raises(Unreadable, match=where):
        json_editor.put(text, PATH, 1)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("[]", "the whole is a list"),
        ('"x"', "the whole is a string"),
        ('{"servers": []}', "servers is a list"),
        ('{"servers": "x"}', "servers is a string"),
        ('{"servers": 1}', "servers is a plain value"),
    ],
)
def test_a_section_that_is_no_object_is_left_alone(text, what):
    with pytest.raises(Uneditable, match=what):
        json_editor.put(text, PATH, 1)


def check(document):
    """Put an entry in and take it out again; compare with what the writer knows."""
    text, value = document.text, document.value
    after = json_editor.put(text, PATH, ENTRY)
    wanted = {**value, SECTION: {**value.get(SECTION, {}), "new": ENTRY}}
    assert json.loads(parse(after).plain) == wanted
    assert all(comment in after for comment in document.comments)
    assert kept(text, after) or kept(*(EMPTY.sub("{}", side) for side in (text, after)))
    assert json.loads(parse(json_editor.remove(after, PATH)).plain) == without(wanted)
    return after


def without(value):
    return {**value, SECTION: {k: v for k, v in value[SECTION].items() if k != "new"}}


COMMENTS = re.compile(r'"(?:[^"\\]|\\.)*"|(?P<comment>//[^\r\n]*|/\*.*?\*/)', re.DOTALL)


def comments(text):
    """All comments of a text, in order."""
    return [match[0] for match in COMMENTS.finditer(text) if match["comment"] is not None]


def check_removal(document):
    """What goes with an entry stands on its own lines."""
    after = json_editor.remove(document.text, PATH)
    assert json.loads(parse(after).plain) == without(document.value)
    start, end = document.span
    lost = [comment for comment in document.comments if comment not in after]
    for comment in lost:
        at = document.text.index(comment)
        line_of_end = document.text[end:at].replace(",", "")
        assert at >= start, comment
        assert at < end or not set("\r\n") & set(BLOCK_COMMENT.sub("", line_of_end)), comment
    assert [c.rstrip() for c in comments(after)] == [c for c in document.comments if c not in lost]


@settings(max_examples=150, deadline=None, derandomize=True)
@given(SEEDS)
def test_random_documents_keep_every_byte_and_comment(seed):
    document = Writer(seed).document()
    check(document)
    check_removal(Writer(seed).document(target="new"))


def test_another_parser_reads_the_same_in_edited_documents():
    for seed in range(40):
        after = check(Writer(seed).document())
        assert json5.loads(after) == json.loads(parse(after).plain)


@pytest.mark.slow
@settings(max_examples=20_000, deadline=None, derandomize=True)
@given(SEEDS)
def test_twenty_thousand_random_documents_keep_every_byte_and_comment(seed):
    if seed % 2:
        check(Writer(seed).document())
    else:
        check_removal(Writer(seed).document(target="new"))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(SEEDS)
def test_a_broken_document_is_refused_or_edited_right(seed):
    text = jsonc.broken(Writer(seed).document().text, seed)
    try:
        before = json.loads(parse(text).plain or "{}") if parse(text).value is not None else {}
        after = json_editor.put(text, PATH, ENTRY)
    except (Unreadable, Uneditable):
        return
    section = before.get(SECTION) or {}
    assert json.loads(parse(after).plain) == {**before, SECTION: {**section, "new": ENTRY}}


def test_strict_json_stays_strict_json():
    for seed in range(300):
        text = json.dumps(Writer(seed).document().value, indent=seed % 5 or None)
        json.loads(json_editor.put(text, PATH, ENTRY))
