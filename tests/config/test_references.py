"""References in text: replaced, escaped, counted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpctld.config import references

PIECES = st.lists(st.sampled_from(["$", "{", "}", "${", "$${", "${secret:a}", "secret:", "a", " "]))


def test_several_references_in_one_value_are_replaced():
    text = "${secret:user}:${secret:pass-1}@${secret:user}"
    assert references.substitute(text, {"user": "ann", "pass-1": "p"}) == "ann:p@ann"


def test_a_value_that_looks_like_a_reference_is_not_replaced_again():
    assert references.substitute("${secret:a}", {"a": "${secret:b}$${"}) == "${secret:b}$${"


def test_an_escape_becomes_a_literal():
    assert references.substitute("$${secret:a} $${HOME}", {}) == "${secret:a} ${HOME}"


def test_a_missing_secret_is_a_key_error():
    with pytest.raises(KeyError):
        references.substitute("${secret:a}", {})


def test_keys_come_once_each_in_order():
    assert references.keys_in(["${secret:b}${secret:a}", "x", "${secret:b} $${secret:c}"]) == [
        "b",
        "a",
    ]


@pytest.mark.parametrize("text", ["${", "${a}", "${secret:}", "${secret:a b}", "$${x} ${y}"])
def test_a_stray_opening_is_seen(text):
    assert references.is_stray(text)


@pytest.mark.parametrize("text", ["", "$", "{}", "$5", "$${", "${secret:a}", "$$${x}"])
def test_what_means_something_is_not_stray(text):
    assert not references.is_stray(text)


@given(PIECES.map("".join) | st.text())
def test_escaped_text_comes_back_as_it_was(text):
    escaped = references.escape(text)
    assert references.substitute(escaped, {}) == text
    assert references.keys_in([escaped]) == []
    assert not references.is_stray(escaped)


@given(PIECES.map("".join))
def test_text_that_is_not_stray_can_be_filled(text):
    if not references.is_stray(text):
        references.substitute(text, dict.fromkeys(references.keys_in([text]), "v"))
