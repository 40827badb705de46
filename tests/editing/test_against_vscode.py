"""Our reading of JSONC against that of VS Code: `jsonc-parser`, which its settings are read with."""

import json
import subprocess

from e2e import real
from fixtures import jsonc
from fixtures.jsonc import ENTRY, SECTION, Writer
from mcpctl.editing import json_editor
from mcpctl.editing.json_layout import parse
from mcpctl.editing.problems import Unreadable

DOCUMENTS = 1000


def asked(texts):
    """What `jsonc-parser` says of each text."""
    words = [real.node(), str(real.NODE_TESTS / "jsonc.mjs")]
    done = subprocess.run(words, input=json.dumps(texts).encode(), capture_output=True, check=True)
    return json.loads(done.stdout, parse_int=float)


def read(text):
    """What we say of it, in the same form; numbers as Node has them."""
    try:
        parsed = parse(text)
    except Unreadable:
        return {"error": None}
    return {"value": None if parsed.empty else json.loads(parsed.plain, parse_int=float)}


def test_both_understand_every_edited_document_alike():
    texts = [
        json_editor.put(Writer(seed).document().text, (SECTION, "new"), ENTRY)
        for seed in range(DOCUMENTS)
    ]
    texts += [json_editor.remove(text, (SECTION, "new")) for text in texts]
    assert [read(text) for text in texts] == asked(texts)


def test_what_vscode_cannot_read_is_refused_here_and_nothing_else():
    texts = [jsonc.broken(Writer(seed).document().text, seed) for seed in range(DOCUMENTS)]
    answers = asked(texts)
    refused = [text for text, answer in zip(texts, answers, strict=True) if "error" in answer]
    assert len(refused) > DOCUMENTS / 10
    for text, answer in zip(texts, answers, strict=True):
        ours = read(text)
        assert ours.keys() == answer.keys(), text
        assert "error" in ours or ours == answer, text
