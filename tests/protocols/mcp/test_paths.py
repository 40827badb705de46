"""Values deep in a JSON text; all that is not on the way keeps its bytes."""

import json

from hypothesis import given
from hypothesis import strategies as st

from mcpctld.protocols.mcp.paths import replace_at, value_at

TEXT = b'{"a": {"b":1.50, "c":[1e2]} ,"d":"\\ud800"}'


def test_a_value_is_read_as_it_stands():
    assert value_at(TEXT, ("a", "b")) == b"1.50"
    assert value_at(TEXT, ("d",)) == b'"\\ud800"'
    assert value_at(TEXT, ()) == TEXT


def test_what_is_not_there_is_empty():
    for path in (("x",), ("a", "x"), ("a", "b", "x"), ("d", "x")):
        assert value_at(TEXT, path) == b""


def test_one_value_is_replaced_and_the_others_keep_their_bytes():
    assert replace_at(TEXT, ("a", "c"), b"7") == b'{"a":{"b":1.50,"c":7},"d":"\\ud800"}'


def test_where_there_is_none_nothing_changes():
    for path in (("x",), ("x", "y")):
        assert replace_at(TEXT, path, b"7") == TEXT
    assert json.loads(replace_at(TEXT, ("a", "x"), b"7")) == json.loads(TEXT)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=10,
)
objects = st.dictionaries(st.text(max_size=3), json_values, min_size=1)


@given(objects, st.data())
def test_what_was_replaced_is_read_back(value: dict[str, object], data: st.DataObject):
    path, inner = [], value
    while isinstance(inner, dict) and inner:
        name = data.draw(st.sampled_from(sorted(inner)))
        path.append(name)
        inner = inner[name]
    text = json.dumps(value).encode()
    replaced = replace_at(text, tuple(path), b'"new"')
    assert value_at(replaced, tuple(path)) == b'"new"'
    assert json.loads(replace_at(replaced, tuple(path), json.dumps(inner).encode())) == value
