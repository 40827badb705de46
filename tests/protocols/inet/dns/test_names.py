"""`mcpctld.protocols.inet.dns.names`: names on the wire."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpctld.protocols.inet.dns.names import (
    MAX_POINTERS,
    MalformedName,
    decode_name,
    encode_name,
)


@pytest.mark.parametrize(
    ("name", "wire"),
    [
        ("my-app.internal", b"\6my-app\x08internal\0"),
        ("my-app.internal.", b"\6my-app\x08internal\0"),
        ("_apps.internal", b"\5_apps\x08internal\0"),
        ("top1.nearest.of.App.internal", b"\4top1\7nearest\2of\3App\x08internal\0"),
        ("3d8d9.vm.app.internal", b"\x053d8d9\2vm\3app\x08internal\0"),
        ("x" * 63 + ".flycast", b"\x3f" + b"x" * 63 + b"\7flycast\0"),
    ],
)
def test_names_of_hosts_become_labels(name, wire):
    assert encode_name(name) == wire
    assert decode_name(wire, 0) == (name.lower().removesuffix("."), len(wire))


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "a..b",
        ".a",
        "a b",
        "a/b",
        "bücher.example",
        "-a",
        "a-",
        "x" * 64,
        "a\0b",
        "1.2.3.4:80",
    ],
)
def test_what_is_no_host_name_is_not_asked_for(name):
    with pytest.raises(ValueError, match="cannot look up"):
        encode_name(name)


def test_a_name_has_an_end():
    assert len(encode_name(".".join(["x" * 63] * 3 + ["y" * 61]))) == 255
    with pytest.raises(ValueError, match="longer than 255"):
        encode_name(".".join(["x" * 63] * 3 + ["y" * 62]))


def test_a_pointer_stands_for_what_came_before():
    message = b"\3app\x08internal\0" + b"\3www\xc0\0" + b"\xc0\x0e"
    assert decode_name(message, 14) == ("www.app.internal", 20)
    assert decode_name(message, 20) == ("www.app.internal", 22)


def test_the_root_is_empty():
    assert decode_name(b"\0", 0) == ("", 1)


def test_odd_bytes_look_like_no_other_label():
    names = [b"\3a.b\0", b"\1a\1b\0", b"\4a\\.b\0", b"\3a\xe4b\0", b"\3a\xc4b\0", b"\3A.B\0"]
    read = [decode_name(name, 0)[0] for name in names]
    assert read == ["a\\046b", "a.b", "a\\092\\046b", "a\\228b", "a\\196b", "a\\046b"]


MALFORMED = {
    "nothing": b"",
    "the end within a label": b"\3ab",
    "no end": b"\3abc",
    "a pointer to itself": b"\xc0\0",
    "a pointer onwards": b"\xc0\2\1a\0",
    "half a pointer": b"\xc0",
    "an unknown kind of label": b"\x40a\0",
    "another": b"\x80a\0",
    "more than 255 bytes": (b"\x3f" + b"x" * 63) * 4 + b"\0",
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED)
def test_what_is_no_name_is_told(data):
    with pytest.raises(MalformedName):
        decode_name(data, 0)


def test_two_pointers_do_not_make_a_loop():
    with pytest.raises(MalformedName):
        decode_name(b"\1a\xc0\4\1b\xc0\0", 0)
    with pytest.raises(MalformedName):
        decode_name(b"\1a\xc0\4\1b\xc0\0", 4)


def test_a_long_chain_of_pointers_is_cut_off():
    chain = b"\0" + b"".join((0xC000 | max(0, 2 * n - 1)).to_bytes(2, "big") for n in range(100))
    assert decode_name(chain, 2 * MAX_POINTERS - 1) == ("", 2 * MAX_POINTERS + 1)
    with pytest.raises(MalformedName):
        decode_name(chain, 2 * MAX_POINTERS + 1)


@given(st.binary(max_size=300), st.integers(0, 300))
@settings(deadline=None, derandomize=True, max_examples=500)
def test_any_bytes_are_a_name_or_none(data, at):
    try:
        name, after = decode_name(data, at)
    except MalformedName:
        return
    assert at < after <= len(data) + 1
    assert len(name) <= 4 * 255
