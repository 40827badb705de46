"""A client that writes its file a hundred times a second, while we edit it: nobody's edit is lost without a word."""

import contextlib
import json
import subprocess
import sys

import pytest

from harness import FIXTURES
from mcpctl.editing import document
from mcpctl.storing.changing import change_file
from mcpctl.storing.problems import CannotChange

EDITS = 25


@contextlib.contextmanager
def storm(file, how):
    """The client at work; what it says at the end is put into the answered mapping."""
    words = [sys.executable, str(FIXTURES / "restless.py"), str(file), how]
    said = {}
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            yield said
        finally:
            said.update(json.loads(process.communicate()[0] or b"{}"))


@pytest.mark.slow
@pytest.mark.parametrize("how", ["atomic", "truncate"])
def test_every_edit_stands_or_is_reported_and_so_is_every_one_of_theirs(places, how):
    file = places / "client.json"
    file.write_text(json.dumps({"count": 0, "mine": 9007199254740993, "mcpServers": {}}, indent=2))
    refused = 0
    with storm(file, how) as said:
        for number in range(EDITS):
            path = ("mcpServers", f"n{number}")
            try:
                change_file(
                    str(file),
                    lambda data, path=path: document.merge(data, "json", path, {"command": "c"}),
                )
            except CannotChange:
                refused += 1
    found = json.loads(file.read_text())
    assert len(found["mcpServers"]) >= EDITS - refused
    assert refused < EDITS / 2
    assert found["mine"] == 9007199254740993
    # What it wrote last is there: nothing of ours put an older state in its place for good.
    assert found["count"] == said["count"] > 1
    assert said["broken"] == 0 or how == "truncate"
