"""What a launch has made so far, on disk: read again after a crash, so that nothing is made twice and nothing is left.

One JSON file per server, mode 0600, in `launch/` of the state folder. Before each request that changes something its
name is written down, and after it what it made. No token and no secret's value is ever in it.
"""

import os
from typing import Any, Literal

import msgspec

from mcpctld.config.files import read_regular, write_private
from mcpctld.config.places import check_name, make_private_folder
from mcpctld.errors import UserError

FOLDER = "launch"
MOST_VERSIONS = 5
"""How many former versions of a machine are kept to go back to."""


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """What a machine was before it was changed."""

    version: str
    config: dict[str, Any]
    wish: dict[str, Any] = {}

    def __repr__(self) -> str:
        return f"<Version {self.version}>"


class Record(msgspec.Struct, kw_only=True):
    """One launch. What is empty, None or false has not come to pass yet."""

    server: str
    launch_id: str
    """Our own id of it: in the metadata of the machine, and the key by which the app is made once only."""
    digest: str
    """Of what was wished for, secrets left out: another wish cannot go on with this launch."""
    app: str
    at: Literal["fly.io", "local"]
    wish: dict[str, Any] = {}
    """What was wished for, without secrets: a change is a change of this."""
    org: str = ""
    region: str = ""
    app_state: Literal["free", "asked", "made"] = "free"
    """`asked`: the request may or may not have reached Fly."""
    token_kept: bool = False
    """The bearer token is in our secret store."""
    secrets_version: int | None = None
    volume_id: str | None = None
    machine_id: str | None = None
    pending: str = ""
    """The request that was under way when this was written."""
    finished: bool = False
    result: dict[str, Any] = {}
    versions: list[Version] = []
    """Former versions, the oldest first."""

    def keep(self, version: str, config: dict[str, Any]) -> None:
        """Remember a version of the machine, to go back to."""
        former = [kept for kept in self.versions if kept.version != version]
        kept = Version(version=version, config=config, wish=self.wish)
        self.versions = [*former, kept][-MOST_VERSIONS:]


class Journal:
    """The records in a state folder. Every method blocks."""

    def __init__(self, state_dir: str) -> None:
        self._folder = os.path.join(state_dir, FOLDER)

    def read(self, server: str) -> Record | None:
        """The record of `server`; None when there is none. Raises `UserError` for a damaged one."""
        path = self._path(server)
        found = read_regular(path, follow=False)
        if found is None:
            return None
        try:
            return msgspec.json.decode(found.data, type=Record)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise UserError(
                f"cannot read {path}: it is damaged; look at what is on Fly (`fly apps list`), then move it away"
            ) from None

    def write(self, record: Record) -> None:
        """Put a record in place of the one that is there: whole, or not at all."""
        make_private_folder(self._folder)
        text = msgspec.json.format(msgspec.json.encode(record), indent=2)
        write_private(self._path(record.server), text + b"\n")

    def remove(self, server: str) -> None:
        """Forget a record; nothing happens when there is none."""
        try:
            os.unlink(self._path(server))
        except FileNotFoundError:
            pass

    def _path(self, server: str) -> str:
        return os.path.join(self._folder, check_name(server, "server") + ".json")
