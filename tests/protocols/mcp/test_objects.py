"""`mcpctld.protocols.mcp.objects`: objects opened by one level, changed, and closed again."""

import json
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpctld.protocols.jsonrpc import Message, parse
from mcpctld.protocols.mcp.objects import (
    close_array,
    close_object,
    close_text,
    open_array,
    open_object,
    open_text,
    read_object,
    read_part,
)

# Lone surrogates included, which `st.text()` leaves out.
TEXTS = st.text(st.characters(codec=None, categories=None)) | st.sampled_from(["\ud800", "a\udfff"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
PARTS: tuple[Literal["params", "result", "error"], ...] = ("params", "result", "error")
DEEP = b"[" * 100_000 + b"]" * 100_000


def text_of(value: Any) -> bytes:
    return json.dumps(value).encode()


# ---------------------------------------------------------------- objects


@pytest.mark.parametrize("value", [b"1.0", b"1e400", b"-0", b'"\\u0061"', b"[1, 2 ]", b'{"b" : 1}'])
def test_values_keep_their_text(value: bytes):
    text = b' { "a" : %b , "z":null}\r\n' % value
    assert open_object(text) == {"a": value, "z": b"null"}
    assert close_object(open_object(text)) == b'{"a":%b,"z":null}' % value


@pytest.mark.parametrize(
    ("text", "members"),
    [
        (rb'{"a":"\ud800"}', {"a": rb'"\ud800"'}),
        (rb' {"a" : [1.0 ,"\udc00x"] , "b": 1e400 } ', {"a": rb'[1.0 ,"\udc00x"]', "b": b"1e400"}),
        (rb'{"\ud800":1,"\ud800":2}', {"\ud800": b"2"}),
        (b'{"\\ud800":"\xc3\xbc"}', {"\ud800": b'"\xc3\xbc"'}),
        (rb'{"a":{"b":"\ud800"},"n":%b}' % (b"9" * 5000), {"a": rb'{"b":"\ud800"}', "n": b"9" * 5000}),
    ],
)  # fmt: skip
def test_lone_surrogates_are_carried(text: bytes, members: dict[str, bytes]):
    assert open_object(text) == members
    assert open_object(close_object(members)) == members
    # (ints of Python have at most 4300 digits)
    assert json.loads(close_object(members), parse_int=str) == json.loads(text, parse_int=str)


def test_of_members_with_one_name_the_last_counts():
    assert open_object(b'{"a":1,"b":2,"\\u0061":3}') == {"a": b"3", "b": b"2"}


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"5",
        b"null",
        b"[]",
        b'"{}"',
        b"{",
        b"{}x",
        b"\xff",
        b'{"\xff":1}',
        b'{"a":NaN}',
        rb'"\ud800"',
        rb'["\ud800"]',
        rb'{"a":"\ud800"',
        rb'{"a":"\ud800"}x',
        rb'{"a":"\ud800",',
        rb'{"a":"\ud800",}',
        rb'{"a":"\ud800" "b":1}',
        rb'{"\ud800" 1}',
        rb'{"\ud800"',
        rb'{1:"\ud800"}',
        rb'{"a":"\ud800","b":NaN}',
        b'{"a":"\\ud800\xff"}',
        b'{"a":' + DEEP + b"}",
        b'{"b":"\\ud800","a":' + DEEP + b"}",
    ],
)
def test_anything_else_opens_as_empty(text: bytes):
    assert open_object(text) == {}
    assert read_object(text) is None


def test_an_empty_object_can_be_told_from_what_is_none():
    assert read_object(b" { } ") == {}


@given(st.dictionaries(TEXTS, VALUES, max_size=4))
def test_objects_are_the_same_after_opening_and_closing(value: dict[str, Any]):
    members = open_object(text_of(value))
    assert list(members) == list(value)
    assert {name: json.loads(member) for name, member in members.items()} == value
    assert json.loads(close_object(members)) == value


# ---------------------------------------------------------------- parts of messages


@pytest.mark.parametrize("value", [rb'"\ud800"', rb'"\ufffd"', rb'"\ufffd\udc00"', b'"a"'])
def test_a_part_of_a_message_keeps_its_text(value: bytes):
    for name in PARTS:
        method = b'"method":"m",' if name == "params" else b""
        message = parse(b'{"id":1,%b"%b":[ %b ]}' % (method, name.encode(), value))
        assert isinstance(message, Message)
        assert read_part(message, name) == b"[ %b ]" % value
        assert all(read_part(message, other) == b"" for other in PARTS if other != name)


# ---------------------------------------------------------------- arrays and texts


@given(st.lists(VALUES, max_size=4))
def test_arrays_are_the_same_after_opening_and_closing(value: list[Any]):
    items = open_array(text_of(value))
    assert [json.loads(item) for item in items] == value
    assert json.loads(close_array(items)) == value


@pytest.mark.parametrize(
    "text", [b"", b"{}", b"5", b"[1", b"[1]x", rb'{"a":"\ud800"}', rb'["\ud800"', DEEP[:-1]]
)
def test_anything_else_opens_as_an_empty_array(text: bytes):
    assert open_array(text) == []


@given(TEXTS)
def test_texts_are_the_same_after_closing_and_opening(value: str):
    assert open_text(close_text(value)) == value
    assert open_text(text_of(value)) == value


@pytest.mark.parametrize(
    "text", [b"", b"5", b"null", b"[]", b'"a', rb'"\ud800', b'"\xff"', rb'["\ud800"]', b"\xff" * 3]
)
def test_anything_else_opens_as_no_text(text: bytes):
    assert open_text(text) is None


@given(st.binary())
def test_nothing_raises(text: bytes):
    open_object(text), open_array(text), open_text(text)
