"""`mcpctl clients`: the MCP clients of this machine and what stands in their files; undoing what was done to them."""

import argparse
import dataclasses
from typing import TYPE_CHECKING, Any

from mcpctl import output
from mcpctl.commands.common import Commands, command, json_flag, verbs
from mcpctl.errors import CtlError

if TYPE_CHECKING:
    from mcpctl.clients import Found, Machine
    from mcpctl.storing.journal import Batch, Detail, Record

HEAD = ("CLIENT", "INSTALLED", "FILE", "SERVERS", "OURS")
MOST_TEXT = 64 * 1024
"""Characters of an entry that is put back."""
NOTHING = "nothing to undo: no file of a client was changed"


def add_to(commands: Commands) -> None:
    """Add the parsers of this module."""
    parser = command(commands, "clients", show, "show the MCP clients and the servers they name")
    json_flag(parser)
    group = verbs(parser, required=False)
    parser = command(group, "undo", undo, "take back what the newest command did to clients' files")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="show as a diff what would change, and change nothing",
    )
    parser = command(group, "put-back", put_back, "write an entry again that its client has wiped")
    parser.add_argument("--client", required=True, metavar="NAME", help="the client")
    parser.add_argument("--file", required=True, metavar="PATH", help="its file")
    parser.add_argument(
        "entry", metavar="ENTRY", help="the entry's name; its text is read from stdin"
    )


def show(args: argparse.Namespace) -> int:
    """Print every client; on stderr what is wrong with files."""
    from mcpctl.clients import Machine, clients, survey

    machine = Machine.this()
    found = survey(clients().values(), machine)
    if args.json:
        output.as_json({"clients": [_as_json(name, found, machine) for name in clients()]})
        return 0
    rows = [row for name in clients() for row in _rows(name, found, machine)]
    output.table(HEAD, rows)
    for one in found:
        if one.problem:
            output.note(f"{one.client.title}: {one.problem}")
    return 0


def undo(args: argparse.Namespace) -> int:
    """Undo the newest batch, its last edit first."""
    from mcpctl.storing import journal

    known = journal.batches()
    if not known:
        print(NOTHING)
        return 0
    return take_back(known[0], journal.details_of(known[0].records), dry_run=args.dry_run)


def put_back(args: argparse.Namespace) -> int:
    """Write an entry as stdin has it; run by the daemon."""
    import sys

    from mcpctl import putting_back
    from mcpctl.clients import client_named

    text = sys.stdin.read(MOST_TEXT)
    change = putting_back.put_back(client_named(args.client), args.file, args.entry, text)
    print(f"{'put back' if change.is_made else 'is there'}: {args.entry} in {args.file}")
    return 0


def take_back(
    batch: "Batch", records: "list[tuple[Record, Detail]]", *, dry_run: bool = False
) -> int:
    """Undo some records of a batch, the last first: the exit code of the first that failed, else 0."""
    from mcpctl.storing import journal
    from mcpctl.storing.undoing import undo as undo_record

    code = 0
    for record, detail in reversed(records):
        try:
            if dry_run:
                _show(record, detail)
                continue
            undo_record(record, detail, locks=_locks(record.client))
            journal.forget(record)
            batch = dataclasses.replace(
                batch, records=tuple(kept for kept in batch.records if kept != record)
            )
            journal.write(batch)
            print(f"undid in {record.file}: {record.path[-1]}")
        except CtlError as exc:
            output.note(str(exc))
            code = code or exc.exit_code
    return code


def _locks(name: str) -> bool:
    """Whether the client holds a lock; one that is known no more holds none."""
    from mcpctl.clients import clients

    return name in clients() and clients()[name].locks


def _show(record: "Record", detail: "Detail") -> None:
    from mcpctl import client_edits
    from mcpctl.clients import Place
    from mcpctl.storing.undoing import plan_undo

    place = Place(record.file, tuple(record.path[:-1]), record.kind)
    client_edits.show(plan_undo(record, detail), place)


def _rows(name: str, found: "list[Found]", machine: "Machine") -> list[tuple[object, ...]]:
    """A line for each file of a client that is there; one without a file for a client that has none."""
    from mcpctl.clients import clients, is_installed

    installed = "yes" if is_installed(clients()[name], machine) else "no"
    own = [one for one in found if one.client.name == name]
    there = [one for one in own if one.exists and (one.entries or not one.place.why_not)]
    rows: list[tuple[object, ...]] = [
        (name, installed, one.place.path, _names(one, ours=False), _names(one, ours=True))
        for one in there
    ]
    return rows or [(name, installed, None, None, None)]


def _names(one: "Found", *, ours: bool) -> str | None:
    """The servers in a file, or of ours those that it attaches to."""
    names = [entry.server if ours else entry.name for entry in one.entries]
    return ", ".join(dict.fromkeys(filter(None, names))) or None


def _as_json(name: str, found: "list[Found]", machine: "Machine") -> dict[str, Any]:
    from mcpctl.clients import clients, is_installed

    client = clients()[name]
    own = [one for one in found if one.client.name == name]
    return {
        "name": name,
        "title": client.title,
        "installed": is_installed(client, machine),
        "files": [
            {
                "path": one.place.path,
                "key": list(one.place.section),
                "exists": one.exists,
                "problem": one.problem,
                "servers": [{"name": entry.name, "ours": entry.server} for entry in one.entries],
            }
            for one in own
        ],
    }
