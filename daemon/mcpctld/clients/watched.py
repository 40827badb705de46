"""One file of one or more clients: what it said last, and what a new look at it means."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from mcpctl import shapes
from mcpctl.clients import Client, Judgement, Known, Place, Sight, judge

GONE = ""
"""The digest of a file that is not there, and not because it is being replaced."""

EXHAUSTED = (
    "it loses {names} again and again: {title} writes it from memory; end it, then add them again"
)


@dataclass(frozen=True, slots=True)
class Named:
    """What is kept of an entry.

    `server`: the one of ours that it attaches to. `is_read`: by the client, which some files are not. `text`: an entry
    of ours as it is written, where it may have to be put back; it holds no secret.
    """

    name: str
    server: str | None
    digest: str
    client: str
    file: str
    is_read: bool = True
    text: str | None = None


@dataclass(frozen=True, slots=True)
class Look:
    """One look: the digest of the bytes (None: no file, or it cannot be opened), the entries (None: unreadable).

    `problem` says why it cannot be read, or why its client cannot.
    """

    digest: str | None
    entries: Mapping[str, Named] | None = None
    problem: str | None = None
    is_large: bool = False

    @property
    def is_missing(self) -> bool:
        """Whether there is no file."""
        return self.digest is None and self.problem is None

    @property
    def sight(self) -> Sight:
        """As the judge wants it."""
        return Sight(
            self.digest,
            None
            if self.entries is None
            else {key: entry.digest for key, entry in self.entries.items()},
        )


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a look means. `before`: the entries until then; `lost`: those to put back."""

    judgement: Judgement
    before: Mapping[str, Named] = field(default_factory=dict)
    lost: tuple[Named, ...] = ()


class Watched:
    """The state of one file; `owners` are the places in it."""

    def __init__(self, path: str, owners: tuple[tuple[Client, Place], ...]) -> None:
        self.path = path
        self.owners = owners
        self.known = Known()
        self._entries: Mapping[str, Named] = {}
        self._state: shapes.ClientFileState = "gone"
        self._problem: str | None = None
        self._changed_at: float | None = None
        self._has_been = False
        self._put_back = 0

    @property
    def wipes(self) -> bool:
        """Whether a client of the file is known to write it from memory."""
        return any(client.wipes for client, _ in self.owners)

    @property
    def counts(self) -> bool:
        """Whether a server that stands in it is wanted: a project's file is somebody else's word."""
        return all(place.scope != "project" for _, place in self.owners)

    @property
    def was_there(self) -> bool:
        """Whether there was a file when last looked at."""
        return self.known.digest not in (None, GONE)

    def is_whole(self, look: Look) -> bool:
        """Whether a look says what the file means."""
        return look.entries is not None or self.known.digest == look.digest is not None

    def client_names(self) -> list[str]:
        """The clients that read it."""
        return list(dict.fromkeys(client.name for client, _ in self.owners))

    def named(self) -> frozenset[str]:
        """The servers of ours that the file attaches to, where its client reads it."""
        if not self.counts:
            return frozenset()
        return frozenset(
            entry.server
            for entry in self._entries.values()
            if entry.server is not None and entry.is_read
        )

    def judge(self, look: Look, *, running: bool, now: float) -> Verdict:
        """What a look means; nothing is kept of it until `accept`. `now` is in seconds."""
        ours = [key for key, entry in self._entries.items() if entry.server is not None]
        told = judge(
            self.known,
            look.sight,
            ours,
            wipes=self.wipes and look.digest != GONE,
            running=running,
            now=now,
        )
        gone = [] if told.exhausted else [self._entries[key] for key in told.lost]
        lost = tuple(entry for entry in gone if entry.text is not None)
        return Verdict(told, self._entries, lost)

    def accept(self, look: Look, verdict: Verdict) -> None:
        """Keep what a look has shown."""
        told = verdict.judgement
        self.known = told.known
        if look.entries is not None:
            self._entries = look.entries
        self._state = "gone" if look.digest == GONE else "read"
        self._problem = look.problem
        self._has_been |= look.digest != GONE
        self._changed_at = time.time()
        if told.exhausted:
            names = ", ".join(verdict.before[key].name for key in told.lost)
            self._problem = EXHAUSTED.format(names=names, title=self.owners[0][0].title)

    def report(self, problem: str) -> bool:
        """Keep that the file cannot be read; what it said before stands. False when that is no news."""
        if (self._state, self._problem) == ("unreadable", problem):
            return False
        self._state, self._problem, self._has_been = "unreadable", problem, True
        self._changed_at = time.time()
        return True

    def recover(self) -> bool:
        """The file is what it was before it could not be read; False when it always could."""
        if self._state != "unreadable":
            return False
        self._state, self._problem = "gone" if self.known.digest == GONE else "read", None
        return True

    def count_put_back(self, entries: int) -> None:
        """Count the entries that were put back; where none was, what was judged does not count."""
        self._put_back += entries
        if not entries:
            self.known = replace(self.known, put_back=self.known.put_back[:-1])

    def shown(self) -> shapes.ClientFile | None:
        """For the status; None for a file that never was there."""
        if not self._has_been:
            return None
        return {
            "file": self.path,
            "clients": self.client_names(),
            "scope": self.owners[0][1].scope,
            "state": self._state,
            "problem": self._problem,
            "changed_at": self._changed_at,
            "put_back": self._put_back,
            "servers": [
                {"name": entry.name, "server": entry.server} for entry in self._entries.values()
            ],
        }
