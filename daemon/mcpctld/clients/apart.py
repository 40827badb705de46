"""A large file is looked at by a process of its own, so that its memory goes with it.

`python -P -m mcpctld.clients.apart`: the question is a JSON object on stdin, the look one on stdout. Neither has
anything of what may be secret in the file.
"""

import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from typing import Any

from mcpctl.clients import Place, clients
from mcpctld.clients.places import Owners
from mcpctld.clients.watched import Look, Named

BOUND_S = 30.0


@dataclass(frozen=True, slots=True)
class Question:
    """Which file, whose, and what is known of it: the digest it had, and whether it had entries."""

    path: str
    owners: Owners
    known: str | None
    has_entries: bool


def look(question: Question) -> Look:
    """Have the file looked at; a process that fails is a file that cannot be read."""
    words = [sys.executable, "-P", "-m", "mcpctld.clients.apart"]
    try:
        done = subprocess.run(  # noqa: S603
            words, input=_asked(question), capture_output=True, timeout=BOUND_S, check=True
        )
        return _looked(json.loads(done.stdout))
    except (OSError, subprocess.SubprocessError, ValueError) as exc:
        return Look(None, problem=f"it is large, and the process that was to read it failed: {exc}")


def main() -> None:
    """Be that process."""
    from mcpctld.clients.looking import answer

    json.dump(asdict(answer(_question(json.load(sys.stdin)))), sys.stdout)


def _asked(question: Question) -> bytes:
    owners = [[client.name, asdict(place)] for client, place in question.owners]
    known = {"known": question.known, "has_entries": question.has_entries}
    return json.dumps({"path": question.path, "owners": owners, **known}).encode()


def _question(asked: dict[str, Any]) -> Question:
    owners = tuple(
        (clients()[name], Place(**{**place, "section": tuple(place["section"])}))
        for name, place in asked.pop("owners")
    )
    return Question(owners=owners, **asked)


def _looked(said: dict[str, Any]) -> Look:
    entries = said.pop("entries")
    named = None if entries is None else {key: Named(**entry) for key, entry in entries.items()}
    return Look(entries=named, **said)


if __name__ == "__main__":
    main()
