"""`mcpctl.editing.toml_editor`: a table is appended, changed and cut out; `tomllib` agrees."""

import tomllib

import pytest

from mcpctl.editing import document, toml_editor
from mcpctl.editing.problems import Uneditable, Unreadable
from mcpctl.editing.toml_layout import tables

PATH = ("mcp_servers", "new")
FIELDS = {"command": "/usr/bin/python3", "args": ["-I", 'a "b" \\ é\x7f'], "enabled": True}

FILES = {
    "empty": "",
    "a comment": "# mine\n",
    "no final newline's worth": 'model = "o3"\n',
    "others": (
        'model = "o3" # best\n\n[mcp_servers.a]\ncommand = "npx"\nargs = [\n  "-y", # yes\n  "x",\n]\n\n'
        '[mcp_servers.a.env]\nT = "1"\n\n# about b\n[mcp_servers.b]\nurl = "https://h/"\n\n[tui]\ntheme = "x"\n'
    ),
    "CRLF": 'a = 1\r\n\r\n[mcp_servers.q]\r\ncommand = "x"\r\n',
    "headers in strings":
        'x = """\n[mcp_servers.new]\n"""\ny = \'\'\'\n[mcp_servers.new]\'\'\'\n[t]\nz = "[mcp_servers.new]"\n',
    "arrays and inline tables": 'x = [\n  [1, 2], # [a]\n  { a = "]" },\n]\n[t]\n"quoted key".b = { c = [1] }\n',
    "numbers": "big = 123456789012345678901234567890\nf = 1.10\nd = 2026-01-02T03:04:05Z\n",
    "indented": '  [mcp_servers]\n  [mcp_servers.x]\n    command = "y"\n',
    "quoted names": '[mcp_servers."a.b"]\ncommand = "x"\n[ mcp_servers . \'c d\' ]\ncommand = "y"\n',
    "a list of tables": '[[profiles]]\nname = "a"\n[[profiles]]\nname = "b"\n',
}  # fmt: skip


def added(text):
    return toml_editor.merge(text, PATH, FIELDS)


@pytest.mark.parametrize("text", FILES.values(), ids=FILES)
def test_a_new_table_comes_last_and_goes_without_a_trace(text):
    after = added(text)
    assert after.startswith(text)
    wanted = tomllib.loads(text)
    wanted.setdefault("mcp_servers", {})["new"] = FIELDS
    assert tomllib.loads(after) == wanted
    assert toml_editor.remove(after, PATH) == text


def test_new_lines_end_as_the_others_do():
    assert added(FILES["CRLF"]).count("\n") == added(FILES["CRLF"]).count("\r\n")


def test_a_byte_order_mark_stays():
    data = b"\xef\xbb\xbfa = 1\n"
    after = document.merge(data, "toml", PATH, FIELDS)
    assert after.startswith(data)
    assert document.remove(after, "toml", PATH) == data


def test_a_table_goes_with_its_subtables_and_not_with_the_next_ones_comment():
    after = toml_editor.remove(FILES["others"], ("mcp_servers", "a"))
    assert after == (
        'model = "o3" # best\n\n# about b\n[mcp_servers.b]\nurl = "https://h/"\n\n[tui]\ntheme = "x"\n'
    )


def test_a_change_leaves_the_pairs_that_are_not_ours():
    before = (
        '[mcp_servers.x]\nurl = "https://h/" # there\ncommand   =   "npx"   # mine\nstartup_timeout_sec = 20.0\n'
        '[mcp_servers.x.env]\nT = "1"\n[mcp_servers.x.tools]\na = 1\n'
    )
    after = toml_editor.merge(before, ("mcp_servers", "x"), FIELDS, ["env", "url", "nothing"])
    assert after == (
        '[mcp_servers.x]\ncommand   =   "/usr/bin/python3"   # mine\nstartup_timeout_sec = 20.0\n'
        'args = ["-I", "a \\"b\\" \\\\ é\\u007f"]\nenabled = true\n[mcp_servers.x.tools]\na = 1\n'
    )
    assert toml_editor.merge(after, ("mcp_servers", "x"), FIELDS) == after


def test_an_entry_on_one_line_is_changed_on_its_line():
    before = '[mcp_servers]\nx = { url = "https://h/", keep = [1] } # mine\n'
    path = ("mcp_servers", "x")
    after = toml_editor.merge(before, path, {"command": "c"}, ["url"])
    assert after == '[mcp_servers]\nx = { keep = [1], command = "c" } # mine\n'
    raw = toml_editor.text_of(before, path)
    assert toml_editor.put_text(after, path, raw) == before
    assert toml_editor.remove(before, path) == "[mcp_servers]\n"


def test_an_entry_goes_back_as_it_was_written():
    text, path = FILES["others"], ("mcp_servers", "a")
    raw = toml_editor.text_of(text, path)
    assert raw.startswith("[mcp_servers.a]\n")
    assert raw.endswith('T = "1"\n')
    changed = toml_editor.merge(text, path, FIELDS, ["env"])
    assert toml_editor.put_text(changed, path, raw) == text
    assert toml_editor.text_of(toml_editor.put_text("a = 1\n", path, raw), path) == raw
    assert toml_editor.text_of(text, PATH) is None


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("mcp_servers = {}\n", "in one line"),
        ("mcp_servers.b = { command = 'x' }\n[mcp_servers.new.env]\n", "no header"),
        ("[mcp_servers]\nnew.command = 'x'\nnew.args = []\n", "dotted keys"),
        ("[mcp_servers]\nnew.command = 'x'\n", "dotted keys"),
        ("[[mcp_servers]]\na = 1\n", "list of tables"),
        ("[mcp_servers.new.env]\na = 1\n", "no header"),
        ("[[mcp_servers.new]]\na = 1\n", "no header"),
    ],
)
def test_a_form_that_cannot_be_changed_by_lines_is_refused(text, what):
    with pytest.raises(Uneditable, match=what):
        added(text)


def test_tables_that_lie_apart_are_cut_but_not_kept_as_one_text():
    text = "[s.x]\na = 1\n[t]\nb = 1\n[s.x.env]\nc = 1\n"
    assert toml_editor.remove(text, ("s", "x")) == "[t]\nb = 1\n"
    with pytest.raises(Uneditable, match="together"):
        toml_editor.text_of(text, ("s", "x"))


@pytest.mark.parametrize(
    "text", ["a = ", "[a\n", "a = 1\na = 2\n", "[a]\n[a]\n", "a = \x01", "\ta b = 1", 'a = "x']
)
def test_what_is_not_toml_is_refused(text):
    with pytest.raises(Unreadable, match="at "):
        document.merge(text.encode(), "toml", PATH, FIELDS)


def test_every_table_and_pair_is_found_where_it_stands():
    for text in FILES.values():
        known = tables(text)
        for table in known:
            assert not table.key or text[table.start : table.body].strip().startswith("[")
            for pair in table.pairs:
                alone = tomllib.loads(f"value = {text[pair.value : pair.end]}")["value"]
                found = tomllib.loads(text)
                for key in (*table.key, *pair.key):
                    found = found[-1][key] if isinstance(found, list) else found[key]
                assert table.is_list or found == alone
