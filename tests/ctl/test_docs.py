import argparse
import re
from pathlib import Path

import pytest

from mcpctl import attach_flags, cli, wire
from mcpctl.commands import servers

DOCS = Path(__file__).parent.parent.parent / "docs" / "cli.md"


def sections():
    """Each heading `mcpctl ...` of the documentation and what stands below it."""
    parts = re.split(r"^#+ (mcpctl.*)\n", DOCS.read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def commands(parser, name="mcpctl"):
    """Every parser of the tree with the words that lead to it."""
    yield name, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for word, below in action.choices.items():
                yield from commands(below, f"{name} {word}")


TREE = dict(commands(cli.make_parser()))


def test_the_documentation_has_the_commands_that_there_are():
    assert set(sections()) == set(TREE)


@pytest.mark.parametrize("name", TREE)
def test_every_flag_and_argument_is_documented_where_its_command_is(name):
    text = sections()[name]
    for action in TREE[name]._actions:
        if isinstance(action, argparse._HelpAction) and name != "mcpctl":
            continue
        for flag in action.option_strings:
            assert re.search(rf"(?<![\w-]){re.escape(flag)}(?![\w-])", text), flag
        if not action.option_strings and not isinstance(action, argparse._SubParsersAction):
            metavar = action.metavar
            assert all(word in text for word in re.findall("[A-Z]+", metavar)), metavar


@pytest.mark.parametrize("name", TREE)
def test_every_command_and_every_flag_has_a_help_text(name):
    parser = TREE[name]
    if name.split()[-1] in cli.FAST:
        return
    assert parser.description
    for action in parser._actions:
        assert action.help or not action.option_strings, action
        assert action.help is not argparse.SUPPRESS


def test_every_exit_code_is_in_the_table():
    text = DOCS.read_text()
    for kind, (_, code, meaning) in wire.KINDS.items():
        assert f"| {code} | `{kind}` | {meaning.split(';')[0]}" in text


def test_every_transport_is_named():
    assert all(f"`{transport}`" in DOCS.read_text() for transport in servers.TRANSPORTS)


def test_every_era_is_named():
    assert all(f"`{era}`" in DOCS.read_text() for era in servers.ERAS)


def test_no_flag_of_the_documentation_is_invented():
    known = {flag for parser in TREE.values() for flag in parser._option_string_actions}
    # Not argparse's: these stand on the way of every attach.
    known |= {*attach_flags.VALUED, *attach_flags.PROXY_VALUED, *attach_flags.PROXY_SWITCHES}
    text = re.sub(r"^```.*?^```", "", DOCS.read_text(), flags=re.MULTILINE | re.DOTALL)
    assert set(re.findall(r"`(--?[a-z][a-z-]*)", text)) <= known
