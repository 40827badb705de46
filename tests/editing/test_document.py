"""`mcpctl.editing.document` and `splices`: bytes, byte order marks, checks of the result, taking back."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpctl.editing import document, json_editor
from mcpctl.editing.problems import Uneditable, Unreadable
from mcpctl.editing.splices import difference

PATH = ("mcpServers", "new")
FIELDS = {"command": "/p", "args": ["attach", "new"], "timeout": 60}
KINDS = ("json", "toml", "yaml")


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.binary(max_size=40), st.binary(max_size=10), st.binary(max_size=10), st.integers(0, 40))
def test_a_difference_is_one_piece_that_makes_one_of_the_other(rest, old, new, at):
    before, after = rest[:at] + old + rest[at:], rest[:at] + new + rest[at:]
    made = difference(before, after)
    assert before[: made.start] + made.inserted + before[made.start + len(made.removed) :] == after
    assert len(made.removed) <= len(old)
    assert not (made.removed and made.inserted) or made.removed[0] != made.inserted[0]


@pytest.mark.parametrize("kind", KINDS)
def test_a_byte_order_mark_and_every_kind_of_line_end_stay(kind):
    text = {"json": '{"a": "é"}\r\n', "toml": 'a = "é"\r\n', "yaml": "a: é\r\n"}[kind]
    for mark in ("", "\ufeff"):
        before = (mark + text).encode()
        after = document.merge(before, kind, PATH, FIELDS)
        assert after.startswith(before[:-4])
        assert document.entries(document.meaning(after, kind), PATH[:1]).keys() == {"new"}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_utf8_is_refused(kind):
    with pytest.raises(Unreadable, match="not UTF-8: byte 2"):
        document.merge(b"# \xff", kind, PATH, FIELDS)


@pytest.mark.parametrize("kind", KINDS)
def test_an_equal_entry_is_no_edit(kind):
    once = document.merge(b"", kind, PATH, FIELDS)
    assert document.merge(once, kind, PATH, FIELDS) is once
    assert document.remove(once, kind, ("mcpServers", "other")) is once


def test_an_editor_that_does_something_else_is_not_believed(monkeypatch):
    before = b'{"mcpServers": {"new": {}}, "mine": 1}'
    for result in ('{"mcpServers": {"new": {}}}', '{"mine": 2}', '{"mine": 1', '{"mine": 1.0}'):
        monkeypatch.setattr(json_editor, "remove", lambda text, path, result=result: result)
        with pytest.raises(Uneditable, match="without changing something else"):
            document.remove(before, "json", PATH)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("empty", [b"", b"\n", b"\xef\xbb\xbf"])
def test_an_edit_that_made_a_section_is_taken_back_whole(kind, empty):
    after = document.merge(empty, kind, PATH, FIELDS)
    assert document.take_back(after, kind, PATH, difference(empty, after)) == empty


def test_an_edit_is_taken_back_from_a_file_that_has_changed_elsewhere():
    before = b'{\n  "a": 1\n}\n'
    after = document.merge(before, "json", PATH, FIELDS)
    made = difference(before, after)
    other = after.replace(b'"a": 1', b'"a": 2, // mine')
    assert document.take_back(other, "json", PATH, made) == b'{\n  "a": 2, // mine\n}\n'
    for changed in (after.replace(b"/p", b"/q"), after + after, after[:-3], before):
        assert document.take_back(changed, "json", PATH, made) is None


def test_entries_are_read_from_maps_and_from_lists():
    assert document.entries({"a": {"b": {"x": 1}}}, ("a", "b")) == {"x": 1}
    assert document.entries({"a": [{"name": "x", "url": 1}, {"url": 2}, 3]}, ("a",)) == {
        "x": {"name": "x", "url": 1}
    }
    assert document.entries({"a": 1}, ("a", "b")) == document.entries([], ("a",)) == {}


@pytest.mark.slow
def test_ten_megabytes_are_edited_without_being_written_anew():
    history = [{"display": f"line {n} \\u00e9", "pasted": {}} for n in range(1000)]
    projects = {f"/home/me/p{n}": {"history": history, "cost": 0.125} for n in range(180)}
    before = json.dumps({"projects": projects, "mcpServers": {"a": {}}}, indent=2).encode()
    assert len(before) > 10_000_000
    after = document.merge(before, "json", PATH, FIELDS)
    made = difference(before, after)
    assert (made.removed, made.inserted.count(b"\n")) == (b"", 8)
    assert document.remove(after, "json", PATH) == before
