"""`python -P -m mcpctld.launch.offline OPERATION`: what is told without asking Fly, or anybody.

| operation | on stdin | result |
|---|---|---|
| `plan` | a `Wish` | `calls`, `server`, `app`, `transport`, `notes` |
| `eject` | a `Wish` | `files`: names and texts; the others as for `plan` |
| `review` | `{"text": a fly.toml}` or `{"config": a Machine's, "machines": how many}` | `findings` |

The answer is one line of JSON: `{"event": "result", ...}`, or `{"event": "error", "kind", "message",
"problems"}` and exit code 1.
"""

import sys
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from mcpctld.errors import McpctlError, UserError
from mcpctld.launch import eject, plan, review
from mcpctld.launch.resolve import Resolved, WishRefused, resolve
from mcpctld.launch.wish import Wish

Answer = dict[str, Any]


class Review(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is to be looked over: one of the two."""

    text: str | None = None
    config: dict[str, Any] | None = None
    machines: int = 1


def run(operation: str, request: bytes) -> Answer:
    """The answer to one request, as an event."""
    try:
        return {"event": "result", **_operation(operation)(request)}
    except McpctlError as exc:
        problems = exc.problems if isinstance(exc, WishRefused) else ()
        return {
            "event": "error",
            "kind": exc.kind,
            "message": exc.message,
            "problems": list(problems),
        }


def main() -> int:
    """Answer the request on stdin: the exit code."""
    answer = run(sys.argv[1] if len(sys.argv) > 1 else "", sys.stdin.buffer.read())
    sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")
    return int(answer["event"] == "error")


def _operation(name: str) -> Callable[[bytes], Answer]:
    known = {"plan": _plan, "eject": _eject, "review": _review}
    if name not in known:
        raise UserError(f"there is no operation {name!r}: {', '.join(known)}")
    return known[name]


def _plan(request: bytes) -> Answer:
    resolved = resolve(_decoded(request, Wish))
    return {**_names(resolved), "calls": msgspec.to_builtins(plan.plan(resolved))}


def _eject(request: bytes) -> Answer:
    resolved = resolve(_decoded(request, Wish), builder=True)
    return {**_names(resolved), "files": eject.eject(resolved)}


def _review(request: bytes) -> Answer:
    asked = _decoded(request, Review)
    if asked.text is not None:
        findings = review.review_fly_toml(asked.text)
    else:
        findings = review.review_machine(asked.config or {}, machines=asked.machines)
    return {"findings": msgspec.to_builtins(findings)}


def _names(resolved: Resolved) -> Answer:
    return {
        "server": resolved.server,
        "app": resolved.app,
        "transport": resolved.transport,
        "notes": resolved.notes,
    }


T = TypeVar("T")


def _decoded(request: bytes, shape: type[T]) -> T:
    try:
        return msgspec.json.decode(request, type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:  # its text names fields, and no values
        raise UserError(f"cannot read the request: {exc}") from exc


if __name__ == "__main__":
    sys.exit(main())
