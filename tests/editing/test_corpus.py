"""Every file of the corpus: put in, change, take out, give back: nothing else moves, and other parsers agree."""

import json
import tomllib

import json5
import pytest
import yaml

from fixtures.client_files import SAMPLES
from mcpctl import client_edits
from mcpctl.clients import OWN_FIELDS, Place, client_named, our_words, read_entry
from mcpctl.editing import document
from mcpctl.editing.splices import difference
from mcpctl.storing import journal
from mcpctl.storing.changing import Change
from mcpctl.storing.undoing import taken_back

EVERY = pytest.mark.parametrize(
    "sample", SAMPLES, ids=lambda sample: f"{sample.client}: {sample.name}"
)
WITH_ENTRY = pytest.mark.parametrize(
    "sample",
    [sample for sample in SAMPLES if sample.entry],
    ids=lambda sample: f"{sample.client}: {sample.name}",
)


def parsed(data, kind):
    """What a parser that is not ours makes of it."""
    text = data.decode().removeprefix("\ufeff")
    if kind == "toml":
        return tomllib.loads(text)
    if kind == "yaml":
        return yaml.safe_load(text) or {}
    try:
        return json.loads(text) if text.strip() else {}
    except ValueError:
        return json5.loads(text) if json5_can(text) else {}


def json5_can(text):
    return any(not line.strip().startswith("//") for line in text.splitlines() if line.strip())


def with_entry(value, path, fields):
    """The same with an entry set; None takes it out."""
    if isinstance(value, list):
        kept = [item for item in value if item["name"] != path[0]]
        old = [item for item in value if item["name"] == path[0]]
        return kept + (
            [] if fields is None else [{**(old[0] if old else {"name": path[0]}), **fields}]
        )
    value = dict(value or {})
    if len(path) == 1:
        if fields is None:
            value.pop(path[0], None)
        else:
            value[path[0]] = fields
        return value
    value[path[0]] = with_entry(value.get(path[0]), path[1:], fields)
    return value


def fields_of(sample, name):
    return client_named(sample.client).write(name, our_words("notes", for_project=False))


def test_the_corpus_is_large_and_has_every_client():
    from mcpctl.clients import clients

    assert len(SAMPLES) >= 60
    assert {sample.client for sample in SAMPLES} == set(clients())


@EVERY
def test_an_entry_is_put_in_and_comes_out_without_a_trace(sample):
    path, fields = (*sample.section, "new"), fields_of(sample, "new")
    after = document.merge(sample.data, sample.kind, path, fields)
    before = parsed(sample.data, sample.kind)
    assert parsed(after, sample.kind) == with_entry(before, path, fields)
    made = difference(sample.data, after)
    assert made.removed.strip() in (b"", b"null", b"{}") or made.removed in made.inserted
    assert document.merge(after, sample.kind, path, fields) is after
    assert document.take_back(after, sample.kind, path, made) == sample.data
    removed = document.remove(after, sample.kind, path)
    wanted = {} if sample.kind == "yaml" and not removed.strip() else before
    assert document._without(parsed(removed, sample.kind), path) == document._without(wanted, path)
    if sample.entry and sample.section != ("mcp",):
        assert removed == sample.data


@WITH_ENTRY
def test_a_changed_entry_keeps_what_is_its_owners_and_goes_back_as_it_was(sample):
    path, fields = (*sample.section, sample.entry), fields_of(sample, sample.entry)
    raw = document.text_of(sample.data, sample.kind, path)
    after = document.merge(sample.data, sample.kind, path, fields, OWN_FIELDS)
    before = parsed(sample.data, sample.kind)
    old = document.entries(before, sample.section)[sample.entry]
    kept = {key: value for key, value in old.items() if key not in OWN_FIELDS}
    wanted = with_entry(before, path, {**kept, **fields})
    if isinstance(before.get(sample.section[0]), list):
        wanted = before | {sample.section[0]: [{**kept, **fields}]}
    assert parsed(after, sample.kind) == wanted
    launch = read_entry(document.entries(parsed(after, sample.kind), sample.section)[sample.entry])
    assert list(launch.words) == our_words("notes", for_project=False)
    assert document.put_text(after, sample.kind, path, raw) == sample.data


@WITH_ENTRY
def test_an_entry_that_is_taken_out_leaves_the_others(sample):
    path = (*sample.section, sample.entry)
    after = document.remove(sample.data, sample.kind, path)
    found = parsed(after, sample.kind)
    wanted = with_entry(parsed(sample.data, sample.kind), path, None)
    assert document._without(found, path) == document._without(wanted, path)
    assert document.text_of(after, sample.kind, path) is None


def adopted(sample):
    """The file with its entry adopted, and what is recorded of that."""
    client = client_named(sample.client)
    place = Place("/file", sample.section, sample.kind)
    edit = client_edits.adding(
        client, place, "notes", name=sample.entry, overwrites=True, known=True
    )
    after = edit.apply(sample.data)
    change = Change("/file", sample.data, after)
    record = journal.Record(
        "adopt", client.name, "/file", sample.kind, list(edit.path), "notes",
        journal.digest(sample.data), journal.digest(after),
    )  # fmt: skip
    return after, record, journal.make_detail(sample.kind, edit.path, change)


@WITH_ENTRY
def test_an_adopted_entry_is_released_byte_for_byte(sample):
    after, record, detail = adopted(sample)
    assert after != sample.data
    assert taken_back(after, record, detail) == sample.data
    assert taken_back(sample.data, record, detail) == sample.data


@WITH_ENTRY
def test_an_adopted_entry_is_released_from_a_file_that_was_written_since(sample):
    after, record, detail = adopted(sample)
    path = (*sample.section, "another")
    written = document.merge(after, sample.kind, path, {"command": "theirs"})
    released = taken_back(written, record, detail)
    entry = (*sample.section, sample.entry)
    assert document.text_of(released, sample.kind, entry).rstrip() == (
        document.text_of(sample.data, sample.kind, entry).rstrip()
    )
    assert document.text_of(released, sample.kind, path) is not None
    assert document.remove(released, sample.kind, path) == sample.data
