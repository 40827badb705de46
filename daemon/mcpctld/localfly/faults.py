"""Failures that are wanted: of requests, and of machines. Pure: others let them happen."""

import fnmatch
from collections.abc import Callable
from typing import Literal

import msgspec

from mcpctld.localfly.errors import ApiError

RequestFault = Literal[
    "error", "hang", "lost", "insufficient_capacity", "name_taken", "lease_held", "unauthorized"
]
MachineFault = Literal[
    "fails_to_start", "never_answers", "slow_start", "stuck_created", "unreachable"
]
Kind = RequestFault | MachineFault

_OF_MACHINES = ("fails_to_start", "never_answers", "slow_start", "stuck_created", "unreachable")
_ANSWERS: dict[str, ApiError] = {
    "insufficient_capacity": ApiError(
        412,
        "failed_precondition: insufficient resources to create new machine in this region",
        "insufficient_capacity",
    ),
    "name_taken": ApiError(422, "Name has already been taken", "name_taken"),
    "lease_held": ApiError(
        409,
        "lease currently held by somebody@tokens.fly.io, expires at 2038-01-19T03:14:07Z",
    ),
    "unauthorized": ApiError(401, "Authenticate: token validation error"),
}
_TEXTS = {429: "rate limit exceeded", 503: "service unavailable", 502: "bad gateway"}


class Fault(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """One failure.

    kind           what happens
    `error`        the request is answered with `status`
    `hang`         it is not carried out and never answered
    `lost`         it is carried out and never answered
    `fails_to_start`  the machine's process does not start
    `never_answers`   it starts, but nothing listens
    `slow_start`      it takes `seconds` more
    `stuck_created`   nothing happens after it was made
    `unreachable`     its host is

    The others are named after what the API answers.
    """

    kind: Kind
    request: str = "*"
    """Method and path with `*` for any text: `POST /v1/apps/*/machines`. Of request faults only."""
    app: str = "*"
    """Name of the app, likewise. Of machine faults only."""
    status: int = 500
    seconds: float = 0.0
    times: int | None = None
    """How often; None for ever."""
    skip: int = 0
    """How many that fit are spared first."""


class Faults:
    """Those that are set."""

    def __init__(self) -> None:
        self.all: list[Fault] = []

    def of_request(self, method: str, path: str) -> Fault | None:
        """The first that fits a request; it is counted."""
        target = f"{method} {path}"
        return self._take(
            lambda fault: (
                fault.kind not in _OF_MACHINES and fnmatch.fnmatchcase(target, fault.request)
            )
        )

    def of_machine(self, app: str, *kinds: MachineFault) -> Fault | None:
        """The first of these kinds that fits a machine of an app; it is counted."""
        return self._take(lambda fault: fault.kind in kinds and fnmatch.fnmatchcase(app, fault.app))

    def _take(self, fits: Callable[[Fault], bool]) -> Fault | None:
        for fault in self.all:
            if not fits(fault) or fault.times == 0:
                continue
            if fault.skip:
                fault.skip -= 1
                return None
            if fault.times is not None:
                fault.times -= 1
            return fault
        return None


def answer(fault: Fault) -> ApiError:
    """What a request that is to fail is answered with."""
    found = _ANSWERS.get(fault.kind)
    if found is not None:
        return found
    return ApiError(fault.status, _TEXTS.get(fault.status, "internal server error"))


def parse_fault(text: str) -> Fault:
    """`KIND[,FIELD=VALUE]...`, as on the command line. Raises `ValueError`."""
    kind, *fields = text.split(",")
    given: dict[str, str] = {"kind": kind}
    for each in fields:
        name, equals, value = each.partition("=")
        if not equals:
            raise ValueError(f"{each!r} is no FIELD=VALUE")
        given[name] = value
    return msgspec.convert(given, Fault, strict=False)
