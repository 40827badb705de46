"""What `add`, `remove` and `list` have to do with the entries in clients' files."""

import argparse

from mcpctl import output
from mcpctl.commands import client_flags


def put_in(args: argparse.Namespace, name: str, chosen: "list[client_flags.Target]") -> int:
    """Put an entry for server `name` into the chosen files: the exit code."""
    from mcpctl import client_edits
    from mcpctl.clients import Machine, is_installed

    edits = []
    for client, place in chosen:
        if not args.config and not args.project and not is_installed(client, Machine.this()):
            output.note(
                f"{client.title} was not found on this machine; its file is written all the same"
            )
        edits.append(client_edits.adding(client, place, name, overwrites=args.replace))
    return client_edits.perform(edits, f"add {name}", dry_run=args.dry_run)


def take_out(args: argparse.Namespace, name: str) -> int:
    """Take the entries of server `name` out of the files that were named, or of all: the exit code."""
    from mcpctl import client_edits

    edits = [
        client_edits.EntryEdit("remove", entry.client, entry.place, entry.path, name)
        for entry in client_flags.entries(args)
        if entry.server == name
    ]
    return client_edits.perform(edits, f"remove {name}", dry_run=args.dry_run)


def take_out_everywhere(name: str) -> int:
    """Take the entries of server `name` out of the clients' own files, and of any that we put one into: exit code."""
    from mcpctl import client_edits
    from mcpctl.clients import Machine, clients, examine, survey
    from mcpctl.storing import journal

    ours = {one.file for batch in journal.batches() for one in batch.records if one.server == name}
    found = survey(clients().values(), Machine.this())
    known = {one.place.path for one in found}
    found += [examine(*client_flags.recognised(path)) for path in sorted(ours - known)]
    edits = [
        client_edits.EntryEdit("remove", entry.client, entry.place, entry.path, name)
        for one in found
        if one.place.scope != "system"
        for entry in one.entries
        if entry.server == name
    ]
    return client_edits.perform(edits, f"remove {name}")


def by_server() -> dict[str, list[str]]:
    """The clients whose files name each server of ours."""
    from mcpctl.clients import Machine, clients, survey

    named: dict[str, list[str]] = {}
    for found in survey(clients().values(), Machine.this()):
        for entry in found.entries:
            known = named.setdefault(entry.server or "", [])
            if found.client.name not in known:
                known.append(found.client.name)
    return named
