"""An entry of ours that its client has wiped is put back. The daemon, which sees it, runs this as a process of its own.

Only what we added and have not taken out since is put back, so that a removal by the user's own hand stays one.
"""

from mcpctl import server_files
from mcpctl.clients import Client, Machine, Place, attached_to, read_entry
from mcpctl.editing import document
from mcpctl.errors import CtlError
from mcpctl.storing import journal
from mcpctl.storing.changing import Change, change_file

_PUT_THERE = ("add", journal.ADOPT)


def put_back(client: Client, file: str, name: str, text: str) -> Change:
    """Write the entry `name` into a file of `client` as it was: `text`.

    Raises `CtlError` where that is not ours to do; nothing is changed then.
    """
    place = _place(client, file)
    path = (*place.section, name)
    server = _recorded(place, path)
    if server_files.read(server) is None:
        raise CtlError("not-found", f"server {server} was removed")

    def edit(data: bytes) -> bytes:
        if document.text_of(data, place.kind, path) is not None:
            return data
        after = document.put_text(data, place.kind, path, text)
        return _checked(after, place, path, server)

    return change_file(file, edit, locks=client.locks)


def _place(client: Client, file: str) -> Place:
    places = [one for one in client.places(Machine.this()) if one.path == file and not one.why_not]
    if not (client.wipes and places):
        raise CtlError("bad-request", f"{client.title} is not known to wipe entries from {file}")
    return places[0]


def _recorded(place: Place, path: document.Path) -> str:
    """The server of the newest edit of the entry, if that put it there."""
    records = [record for batch in journal.batches() for record in reversed(batch.records)]
    for record in records:
        if (record.file, tuple(record.path)) == (place.path, path):
            if record.verb in _PUT_THERE:
                return record.server
            raise CtlError("conflict", f"{path[-1]} was taken out by 'mcpctl {record.verb}'")
    raise CtlError("not-found", f"{path[-1]} was not put into {place.path} by mcpctl")


def _checked(data: bytes, place: Place, path: document.Path, server: str) -> bytes:
    entry = document.entries(document.meaning(data, place.kind), path[:-1]).get(path[-1])
    launch = read_entry(entry)
    if launch is None or attached_to(launch) != server:
        raise CtlError("bad-request", f"what was given for {path[-1]} does not attach to {server}")
    return data
