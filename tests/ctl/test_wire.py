"""The greeting and the places: what stub and daemon must agree on."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpctl import wire

TEXT = st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]))
KEYS = st.text(st.characters(blacklist_characters="\0=", blacklist_categories=["Cs"]), min_size=1)


@given(st.lists(st.tuples(KEYS, TEXT), min_size=1))
def test_a_greeting_reads_back_as_it_was_written(fields):
    greeting = wire.encode_hello(fields)
    length = wire.hello_length(greeting[: wire.HELLO_HEADER])
    assert length == len(greeting) - wire.HELLO_HEADER
    assert wire.decode_hello(greeting[wire.HELLO_HEADER :]) == fields


def test_bytes_that_are_no_text_survive_as_file_names_do():
    fields = [("cwd", os.fsdecode(b"/tmp/\xff"))]
    assert wire.decode_hello(wire.encode_hello(fields)[wire.HELLO_HEADER :]) == fields


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"GET / HTTP/1.1\n",
        b"mcpctl/2 000010\n",
        b"mcpctl/1 0000xx\n",
        b"mcpctl/1 999999\n",
        b"mcpctl/1 -00001\n",
    ],
)
def test_what_is_no_greeting_is_refused(header):
    with pytest.raises(ValueError):
        wire.hello_length(header)


@pytest.mark.parametrize("body", [b"", b"server=x", b"server\0", b"a=b\0c"])
def test_a_greeting_cut_short_or_without_values_is_refused(body):
    with pytest.raises(ValueError):
        wire.decode_hello(body)


@given(st.binary())
def test_no_body_raises_anything_but_a_value_error(body):
    try:
        wire.decode_hello(body)
    except ValueError:
        pass


def test_each_error_kind_has_its_own_exit_code():
    codes = [code for _, code, _ in wire.KINDS.values()]
    assert len(set(codes)) == len(codes)
    assert 0 not in codes
    assert wire.exit_code("no such kind") == wire.exit_code("internal")


@pytest.mark.parametrize(
    ("function", "own", "xdg"),
    [
        (wire.config_dir, "MCPCTL_CONFIG_DIR", "XDG_CONFIG_HOME"),
        (wire.state_dir, "MCPCTL_STATE_DIR", "XDG_STATE_HOME"),
        (wire.runtime_dir, "MCPCTL_RUNTIME_DIR", "XDG_RUNTIME_DIR"),
    ],
)
def test_our_own_variable_beats_the_desktops_which_beats_the_default(
    function, own, xdg, monkeypatch
):
    monkeypatch.delenv(own, raising=False)
    monkeypatch.setenv("HOME", "/home/ann")
    monkeypatch.setenv(xdg, "/xdg")
    assert function() == "/xdg/mcpctl"
    monkeypatch.setenv(own, "/own")
    assert function() == "/own"
    monkeypatch.delenv(own)
    monkeypatch.delenv(xdg)
    assert function().startswith(("/home/ann/", "/run/user/"))


def test_without_the_variable_the_login_sessions_folder_is_still_found(monkeypatch):
    """MCP clients start servers with a handful of variables; XDG_RUNTIME_DIR is not among them."""
    monkeypatch.delenv("MCPCTL_RUNTIME_DIR", raising=False)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    login = f"/run/user/{os.getuid()}"
    monkeypatch.setattr(os, "access", lambda path, mode: path == login)
    assert wire.runtime_dir() == f"{login}/mcpctl"
