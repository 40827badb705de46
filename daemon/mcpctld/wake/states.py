"""The words of the plan: what a machine does, what can be done about it, and how that may fail."""

import enum


class State(enum.Enum):
    """What is known of a machine."""

    UNKNOWN = "unknown"
    ASLEEP = "asleep"
    STARTING = "starting"
    AWAKE = "awake"
    FALLING_ASLEEP = "falling asleep"
    GONE = "gone"


class Action(enum.Enum):
    """What the plan wants done. All but `REST` are requests to the Machines API."""

    LOOK = "look"
    """Ask for its state; wakes nothing."""
    START = "start"
    WAIT = "wait"
    """Until it has started."""
    REST = "rest"
    """Let go of the streams and idle connections that would keep it awake."""
    SUSPEND = "suspend"
    STOP = "stop"


class Failure(enum.Enum):
    """Why an action did not succeed."""

    STILL_ACTIVE = "still active"
    """412 to a start: the machine has not come to rest yet, or is being replaced. It passes within seconds."""
    REFUSED = "refused"
    """Another 412, or a validation error: the same request will be refused again."""
    RATE_LIMITED = "rate limited"
    LEASE_HELD = "lease held"
    CAPACITY = "no capacity"
    NOT_FOUND = "not found"
    DENIED = "denied"
    TIMED_OUT = "timed out"
    """A wait has ended without the state it was for (408)."""
    UNAVAILABLE = "unavailable"
    """No usable answer: whether the request was carried out is not known."""


STATES = {
    "created": State.STARTING,  # it boots by itself; to start it is refused with 412
    "creating": State.STARTING,
    "starting": State.STARTING,
    "restarting": State.STARTING,
    "replacing": State.STARTING,
    "updating": State.STARTING,
    "started": State.AWAKE,
    "stopped": State.ASLEEP,
    "suspended": State.ASLEEP,
    "failed": State.ASLEEP,
    "stopping": State.FALLING_ASLEEP,
    "suspending": State.FALLING_ASLEEP,
    "destroying": State.GONE,
    "destroyed": State.GONE,
    "replaced": State.GONE,
    "migrated": State.GONE,
    "launch_failed": State.GONE,
}
"""By the Machines API's word (docs, "Machine states"); another word is `UNKNOWN`."""


def state_of(word: str) -> State:
    """What a state of the Machines API means here."""
    return STATES.get(word, State.UNKNOWN)
