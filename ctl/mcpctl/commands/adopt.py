"""`mcpctl adopt` and `release`: servers of clients are moved behind the agent, and given back as they were."""

import argparse
import os
import sys
import tomllib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from mcpctl import output, server_files
from mcpctl.commands import client_flags
from mcpctl.commands.common import Commands, command
from mcpctl.daemon_process import running_client
from mcpctl.errors import CtlError, UsageError

if TYPE_CHECKING:
    from mcpctl.adoption.plan import Adoption, Candidate
    from mcpctl.client_edits import EntryEdit
    from mcpctl.clients import Entry
    from mcpctl.storing.journal import Record

NOTHING = "nothing to adopt: every entry that was found is ours already, or there is none"
HOW = "'mcpctl adopt NAME...' or 'mcpctl adopt --all' moves them behind the agent"


def add_to(commands: Commands) -> None:
    """Add the parsers of this module."""
    text = "move servers that clients start or reach themselves behind the agent"
    parser = command(commands, "adopt", adopt, text)
    parser.add_argument("names", nargs="*", metavar="NAME", help="an entry, by its name")
    _common(parser, "every one that can be, but those of projects")
    client_flags.add_flags(parser, "adopt what their files name")
    text = "give adopted entries back to their files as they were"
    parser = command(commands, "release", release, text)
    parser.add_argument("names", nargs="*", metavar="NAME", help="a server, or an entry")
    _common(parser, "every one")
    parser.add_argument("--dry-run", action="store_true", help="show as a diff what would change")


def adopt(args: argparse.Namespace) -> int:
    """Show what would change, ask, and do it; without names, show what could be adopted."""
    from mcpctl.adoption import plan

    if args.all and (args.names or args.project):
        raise UsageError("--all takes no names, and leaves projects out: name their entries")
    entries = client_flags.entries(args)
    found = plan.candidates(entries, os.environ, private=server_files.has_tunnels())
    if not args.names and not args.all:
        return _list(found)
    chosen = found if args.all else _named(found, args.names)
    code = _tell_left([one for one in chosen if one.found is None], strict=not args.all)
    made = plan.adoptions([one for one in chosen if one.found is not None], _existing())
    if not made:
        print(NOTHING)
        return code
    planned = [(one, _edits(one, entries)) for one in made]
    _show(edit for _, edits in planned for edit in edits)
    if args.dry_run or not _agreed(args):
        return code
    return max([code, *(_adopt_one(one, edits) for one, edits in planned)])


def release(args: argparse.Namespace) -> int:
    """Give entries back, then remove the servers that nothing refers to any more."""
    from mcpctl.commands.clients import take_back
    from mcpctl.storing import journal

    if args.all == bool(args.names):
        raise UsageError("say what to release: NAME..., or --all")
    batches = journal.batches()
    wanted = [[one for one in batch.records if _is_wanted(one, args)] for batch in batches]
    known = iter(journal.details_of(record for records in wanted for record in records))
    work = [
        (batch, [next(known) for _ in records])
        for batch, records in zip(batches, wanted, strict=True)
        if records
    ]
    if not work:
        raise CtlError("not-found", "nothing was adopted under that name; see 'mcpctl clients'")
    if args.dry_run or (sys.stdin.isatty() and not args.yes):
        for batch, records in work:
            take_back(batch, records, dry_run=True)
    if args.dry_run or not _agreed(args):
        return 0
    codes = [take_back(batch, records) for batch, records in work]
    for server in dict.fromkeys(one.server for _, records in work for one, _ in records):
        _remove_unused(server)
    return max(codes)


def _common(parser: argparse.ArgumentParser, everything: str) -> None:
    parser.add_argument("--all", action="store_true", help=everything)
    parser.add_argument("--yes", action="store_true", help="do not ask at the terminal")


def _list(found: "list[Candidate]") -> int:
    rows = [
        (
            one.entry.name,
            one.entry.client.name,
            one.found.kind if one.found else None,
            one.why_not or one.entry.place.path,
        )
        for one in found
    ]
    output.table(("ENTRY", "CLIENT", "KIND", "FILE, OR WHY IT STAYS"), rows, NOTHING)
    if any(one.found for one in found):
        output.note(HOW)
    return 0


def _named(found: "list[Candidate]", names: list[str]) -> "list[Candidate]":
    for name in names:
        if all(one.entry.name != name for one in found):
            raise CtlError(
                "not-found", f"no client has an entry {name!r} to adopt; see 'mcpctl adopt'"
            )
    return [one for one in found if one.entry.name in names]


def _tell_left(left: "list[Candidate]", *, strict: bool) -> int:
    for one in left:
        output.note(f"{one.entry.name} of {one.entry.client.title} stays as it is: {one.why_not}")
    return 2 if left and strict else 0


def _existing() -> dict[str, dict[str, Any]]:
    """The servers that there are, with what their files say."""
    found: dict[str, dict[str, Any]] = {}
    for name in server_files.names():
        try:
            found[name] = tomllib.loads((server_files.read(name) or b"").decode())
        except ValueError:
            found[name] = {}
    return found


def _edits(adoption: "Adoption", entries: "list[Entry]") -> "list[EntryEdit]":
    from mcpctl.adoption import plan
    from mcpctl.clients import Machine

    return plan.edits(adoption, entries, Machine.this())


def _show(edits: "Iterable[EntryEdit]") -> None:
    """The change of each file as one diff, without secrets."""
    from mcpctl import client_edits
    from mcpctl.storing.changing import plan_change

    by_file: dict[str, list[EntryEdit]] = {}
    for edit in edits:
        by_file.setdefault(edit.place.path, []).append(edit)
    for path, group in by_file.items():
        try:
            change = plan_change(path, lambda data, group=group: _applied(data, group))  # type: ignore[misc]
            client_edits.show(change, *(edit.place for edit in group))
        except CtlError as exc:
            output.note(str(exc))


def _applied(data: bytes, edits: "list[EntryEdit]") -> bytes:
    for edit in edits:
        data = edit.apply(data)
    return data


def _agreed(args: argparse.Namespace) -> bool:
    """Whether to go on: asked at a terminal, taken for granted in a script."""
    if args.yes or not sys.stdin.isatty():
        return True
    sys.stderr.write("go on? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _adopt_one(adoption: "Adoption", edits: "list[EntryEdit]") -> int:
    """Make the server, then change the entries: the exit code."""
    from mcpctl import client_edits
    from mcpctl.commands.servers import put

    try:
        if not adoption.exists:
            put(running_client(), adoption.server, adoption.draft, replace=False)
    except CtlError as exc:
        output.note(f"{adoption.server} stays as it is: {exc}")
        return exc.exit_code
    print(f"added {adoption.server}")
    if adoption.may_log_in:
        output.note(
            f"{adoption.server} has no credentials; if its server wants a login, calls will say so: "
            f"'mcpctl add --server {adoption.server} --replace --url URL --bearer-token' gives it a token"
        )
    return client_edits.perform(edits, f"adopt {adoption.server}")


def _is_wanted(record: "Record", args: argparse.Namespace) -> bool:
    from mcpctl.storing import journal

    named = args.all or record.server in args.names or record.path[-1] in args.names
    return record.verb == journal.ADOPT and named


def _remove_unused(server: str) -> None:
    """Remove a server that was adopted, unless an entry still attaches to it."""
    from mcpctl.clients import Machine, clients, survey
    from mcpctl.storing import journal

    found = survey(clients().values(), Machine.this())
    if any(entry.server == server for one in found for entry in one.entries):
        return
    if any(
        one.server == server
        for batch in journal.batches()
        for one in batch.records
        if one.verb == journal.ADOPT
    ):
        return
    if server_files.read(server) is None:
        return
    server_files.remove(server)
    client = running_client()
    client.reload()
    client.delete_secrets(server)
    print(f"removed {server}")
