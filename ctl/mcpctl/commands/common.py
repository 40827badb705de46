"""What several commands share: flags, and how a parser is made."""

import argparse
from collections.abc import Callable
from typing import Any

Run = Callable[[argparse.Namespace], int]
Commands = Any
"""What `add_subparsers` answers; argparse has no public name for it."""


def command(
    commands: Commands, name: str, run: Run | None, help_text: str, **options: Any
) -> argparse.ArgumentParser:
    """A parser for one command; `run` gets the parsed arguments and answers the exit code."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=help_text,
        description=help_text[0].upper() + help_text[1:] + ".",
        allow_abbrev=False,
        **options,
    )
    if run is not None:
        parser.set_defaults(run=run)
    return parser


def verbs(parser: argparse.ArgumentParser, *, required: bool = True) -> Commands:
    """The place for the verbs of a noun; not `required` when the noun alone does something."""
    return parser.add_subparsers(metavar="VERB", required=required)


def json_flag(parser: argparse.ArgumentParser) -> None:
    """Add `--json`."""
    parser.add_argument(
        "--json", action="store_true", help="print JSON; fields are only ever added"
    )
