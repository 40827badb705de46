"""The life of one machine: its states, versions, leases and events. Sans-IO: what is to be done is answered.

    created ─> starting ─> started ─> stopping ─> stopped ─> starting ...
                              ├─> suspending ─> suspended ─> starting
                              ├─> replacing ─> starting            (a new version)
                              └─> restarting ─> starting
    stopped, suspended, failed, created ─> destroying ─> destroyed       (any, by force)

Times are Unix times in seconds. The texts of refusals are those that the real API was seen to give.
"""

import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec

from mcpctld.localfly.errors import ApiError, precondition

MOST_EVENTS = 50
RETRY_WINDOW_S = 300.0
DEFAULT_RETRIES = 10
MOST_SUSPENDED_MB = 2048
DEFAULT_MEMORY_MB = 256
DEFAULT_LEASE_S = 60

SETTLED = frozenset({"started", "stopped", "suspended", "failed", "destroyed"})
RESTING = frozenset({"stopped", "suspended", "failed", "created"})
"""What may be destroyed without force."""
ALIVE = frozenset({
    "starting", "started", "stopping", "suspending", "suspended", "replacing", "restarting",
})  # fmt: skip
"""There is a process, or is about to be."""


class Boot(msgspec.Struct, frozen=True):
    """Start its process; then `boot_begun`, and `booted` or `boot_failed`, are to be called."""

    after_s: float = 0.0


class Halt(msgspec.Struct, frozen=True):
    """Signal its process, and kill it if it is still there later; then `exited` is to be called.

    `signal` None: that of the configuration. `timeout_s` 0: kill at once.
    """

    signal: str | None = None
    timeout_s: float | None = None


class Freeze(msgspec.Struct, frozen=True):
    """Stop the process where it stands; then `frozen` is to be called."""


class Thaw(msgspec.Struct, frozen=True):
    """Let the process go on; then `thawed` is to be called."""


class Remove(msgspec.Struct, frozen=True):
    """It is destroyed: forget it after a while."""


Effect = Boot | Halt | Freeze | Thaw | Remove | None


class Event(msgspec.Struct, kw_only=True):
    """Something that happened. `timestamp` in milliseconds."""

    id: str
    type: str
    status: str
    source: str
    timestamp: int
    request: dict[str, Any] | None = None


class Lease(msgspec.Struct, kw_only=True):
    """The right to change a machine, for a while."""

    nonce: str
    owner: str
    description: str
    expires_at: int
    version: str


class Version(msgspec.Struct, kw_only=True):
    """A configuration that it has, or had."""

    version: str
    user_config: dict[str, Any]


class Machine(msgspec.Struct, kw_only=True):
    """What is kept of a machine."""

    id: str
    name: str
    region: str
    state: str = "created"
    version: str
    config: dict[str, Any]
    private_ip: str = ""
    created_at: float
    updated_at: float
    cordoned: bool = False
    held: bool = False
    """It was made with `skip_launch` and has not been started yet."""
    then: Literal["", "stop", "boot", "destroy"] = ""
    """What follows when the process has ended."""
    secrets_version: int = 0
    """Of the secrets that this version runs with."""
    skip_secrets: bool = False
    started_at: float = 0.0
    active_until: float = 0.0
    """Until then a start is refused although it has stopped."""
    crashes: list[float] = []
    reason: str = ""
    """Why it failed."""
    lease: Lease | None = None
    events: list[Event] = []
    versions: list[Version] = []

    @property
    def volume(self) -> str:
        """The id of the volume it has; empty for none."""
        mounts = self.config.get("mounts") or [{}]
        return str(mounts[0].get("volume") or "")

    @property
    def memory_mb(self) -> int:
        """As the guest says."""
        return int((self.config.get("guest") or {}).get("memory_mb") or DEFAULT_MEMORY_MB)


def why_not_suspend(config: Mapping[str, Any]) -> str:
    """What keeps a machine from being suspended; empty when nothing does."""
    guest = config.get("guest") or {}
    if int(guest.get("memory_mb") or DEFAULT_MEMORY_MB) > MOST_SUSPENDED_MB:
        return f"it has more than {MOST_SUSPENDED_MB} MB of memory"
    if (config.get("init") or {}).get("swap_size_mb"):
        return "it has swap"
    if config.get("schedule"):
        return "it has a schedule"
    if guest.get("gpu_kind") or guest.get("gpus"):
        return "it has a GPU"
    return ""


class Life:
    """What may happen to a machine. `make_id` gives a ULID for a time; `start_race_s`: see `Machine.active_until`."""

    def __init__(
        self, machine: Machine, make_id: Callable[[float], str], start_race_s: float = 0.0
    ) -> None:
        self.machine = machine
        self._make_id = make_id
        self._race = start_race_s

    # ---------------------------------------------------------------- what is asked of it

    def create(self, now: float, *, launch: bool) -> Effect:
        """It has just been made."""
        machine = self.machine
        machine.held = not launch
        machine.versions = [Version(version=machine.version, user_config=machine.config)]
        self._event(now, "launch", "created", "user")
        return Boot() if launch else None

    def start(self, now: float, source: str = "user") -> Effect:
        """Start or resume it. Raises 412."""
        machine = self.machine
        self._check_start(now)
        if machine.state in ("suspended", "suspending"):
            self._enter(now, "starting", "start", source)
            return Thaw()
        machine.held = False
        self._enter(now, "starting", "start", source)
        return Boot()

    def _check_start(self, now: float) -> None:
        machine = self.machine
        if machine.state == "replacing":
            raise precondition("machine getting replaced, refusing to start")
        if machine.state == "starting":
            raise precondition("machine still attempting to start")
        if machine.state == "started" or (
            machine.state == "stopped" and now < machine.active_until
        ):
            raise precondition("machine still active, refusing to start")
        if machine.state in ("stopped", "suspended", "suspending", "failed"):
            return
        if machine.state != "created" or not machine.held:
            raise self._impossible("start")

    def stop(
        self,
        now: float,
        signal: str | None = None,
        timeout_s: float | None = None,
        source: str = "user",
    ) -> Effect:
        """End its process; a suspended one loses its snapshot. Raises 412."""
        state = self.machine.state
        if state in ("stopped", "stopping"):
            return None
        if state not in ("started", "suspended", "starting"):
            raise self._impossible("stop")
        self.machine.then = "stop"
        self._enter(now, "stopping", "stop", source)
        return Halt(timeout_s=0.0) if state == "suspended" else Halt(signal, timeout_s)

    def suspend(self, now: float, source: str = "user") -> Effect:
        """Keep it where it stands. Raises 412."""
        if self.machine.state in ("suspended", "suspending"):
            return None
        if self.machine.state != "started":
            raise self._impossible("suspend")
        if why := why_not_suspend(self.machine.config):
            raise precondition(f"machine cannot be suspended: {why}")
        self._enter(now, "suspending", "suspend", source)
        return Freeze()

    def restart(
        self, now: float, signal: str | None = None, timeout_s: float | None = None
    ) -> Effect:
        """End its process and start it again, in the same version. Raises 412."""
        if self.machine.state != "started":
            raise self._impossible("restart")
        self.machine.then = "boot"
        self._enter(now, "restarting", "restart", "user")
        return Halt(signal, timeout_s)

    def update(
        self, now: float, config: dict[str, Any], secrets_version: int, *, launch: bool = True
    ) -> Effect:
        """A new version with another configuration; one that does not run is left stopped. Raises 412."""
        machine = self.machine
        if machine.state in ("destroying", "destroyed"):
            raise self._impossible("update")
        runs = machine.state in ALIVE
        again = machine.state not in ("suspended", "stopping", "suspending")
        machine.version = self._make_id(now)
        machine.config = config
        machine.secrets_version = secrets_version
        machine.versions.insert(0, Version(version=machine.version, user_config=config))
        machine.crashes.clear()
        machine.reason = ""
        if machine.state == "created" and not machine.held:  # it is about to boot
            self._event(now, "update", "created", "user")
            return None
        if not runs:
            machine.held = False
            self._enter(now, "stopped", "update", "user")
            return None
        halting = machine.state in ("stopping", "replacing", "restarting")
        kill = machine.state in ("suspended", "suspending")
        machine.then = "boot" if again and launch else "stop"
        self._enter(now, "replacing", "update", "user")
        return None if halting else Halt(timeout_s=0.0) if kill else Halt()

    def destroy(self, now: float, *, force: bool) -> Effect:
        """End it for good. Raises 412."""
        machine = self.machine
        if machine.state in ("destroying", "destroyed"):
            return None
        if machine.state not in RESTING and not force:
            raise precondition(
                "unable to destroy machine, not currently stopped, suspended, failed or created"
            )
        runs = machine.state in ALIVE
        self._enter(now, "destroying", "destroy", "user")
        if runs:
            machine.then = "destroy"
            return Halt(timeout_s=0.0)
        return self._gone(now)

    def cordon(self, now: float, *, cordoned: bool) -> None:
        """Take it out of routing, or back in."""
        self.machine.cordoned = cordoned
        self._event(now, "cordon" if cordoned else "uncordon", self.machine.state, "user")

    # ---------------------------------------------------------------- what happened to it

    def boot_begun(self, now: float) -> bool:
        """Its process is about to be started; False when it was destroyed before it came to that."""
        if self.machine.state == "destroyed":
            return False
        if self.machine.state != "starting" and not self.machine.then:
            self._enter(now, "starting", "start", "flyd")
        return True

    def booted(self, now: float) -> None:
        """Its process runs."""
        self.machine.started_at = now
        self._enter(now, "started", "start", "flyd")

    def boot_failed(self, now: float, reason: str) -> None:
        """It could not be started at all."""
        self.machine.reason = reason
        self.machine.state = "failed"
        self.machine.updated_at = now
        self._event(now, "launch", "failed", "flyd", {"error": f"failed to launch: {reason}"})

    def frozen(self, now: float) -> Effect:
        """It stands still, unless it was started meanwhile."""
        if self.machine.state == "suspending":
            self._enter(now, "suspended", "suspend", "flyd")
        return None

    def thawed(self, now: float) -> None:
        """It goes on."""
        if self.machine.state == "starting":
            self._enter(now, "started", "start", "flyd")

    def exited(self, now: float, code: int, signal: int = 0, *, oom: bool = False) -> Effect:
        """Its process has ended."""
        machine = self.machine
        then, machine.then = machine.then, ""
        stood = machine.state in ("suspending", "suspended")
        again = then == "boot" or (not then and not stood and self._retries(now, code))
        self._exit_event(now, code, signal, oom, requested=bool(then), restarting=again)
        if then == "destroy":
            return self._gone(now)
        if again:
            if not then:  # nobody may suspend what does not run
                machine.state = "starting"
            delay = 0.0 if then else min(0.1 * 2 ** len(machine.crashes), 5.0)
            return Boot(delay)
        if not then and machine.config.get("auto_destroy"):
            return self._gone(now)
        machine.active_until = now + self._race
        machine.state = "stopped"
        machine.updated_at = now
        return None

    def _retries(self, now: float, code: int) -> bool:
        """Whether a process that ended by itself is started again (`restart`; unset means on failure)."""
        machine = self.machine
        restart = machine.config.get("restart") or {}
        policy = restart.get("policy") or "on-failure"
        if policy == "no" or (policy == "on-failure" and code == 0):
            return False
        if policy == "on-failure":
            machine.crashes = [at for at in machine.crashes if now - at < RETRY_WINDOW_S]
            if len(machine.crashes) >= int(restart.get("max_retries") or DEFAULT_RETRIES):
                return False
        machine.crashes.append(now)
        return True

    def host_lost(self, now: float) -> Effect:
        """The process is gone with the program that ran it: what ran is started again, a snapshot is lost."""
        machine = self.machine
        then, machine.then = machine.then, ""
        if machine.state == "destroying" or then == "destroy":
            return self._gone(now)
        if machine.state in ("starting", "started", "restarting") or then == "boot":
            self._event(now, "restart", "starting", "flyd", {"reason": "the host was restarted"})
            return Boot()
        if machine.state == "created" and not machine.held:
            return Boot()
        if machine.state in ALIVE:
            self._enter(now, "stopped", "exit", "flyd")
        return None

    # ---------------------------------------------------------------- leases

    def take_lease(
        self,
        now: float,
        nonce: str | None,
        new_nonce: str,
        owner: str,
        ttl_s: int,
        description: str,
    ) -> Lease:
        """Get one, or with the nonce of the present one a longer one. Raises 409."""
        self.check_lease(now, nonce)
        held = self.live_lease(now)
        lease = Lease(
            nonce=held.nonce if held else new_nonce,
            owner=owner,
            description=description or (held.description if held else ""),
            expires_at=int(now) + ttl_s,
            version=self._make_id(now),
        )
        self.machine.lease = lease
        return lease

    def release(self, now: float, nonce: str | None) -> None:
        """Give it back. Raises 404 and 409."""
        if self.live_lease(now) is None:
            raise ApiError(404, "lease not found")
        self.check_lease(now, nonce)
        self.machine.lease = None

    def live_lease(self, now: float) -> Lease | None:
        """The lease, unless it has run out."""
        lease = self.machine.lease
        return lease if lease is not None and now < lease.expires_at else None

    def check_lease(self, now: float, nonce: str | None) -> None:
        """Raise 409 unless nobody else has a lease."""
        lease = self.live_lease(now)
        if lease is not None and nonce != lease.nonce:
            raise lease_held(self.machine.id, lease)

    # ---------------------------------------------------------------- events

    def _impossible(self, verb: str) -> ApiError:
        return precondition(f"unable to {verb} machine from current state: '{self.machine.state}'")

    def _gone(self, now: float) -> Effect:
        self._enter(now, "destroyed", "destroy", "flyd")
        return Remove()

    def _enter(self, now: float, state: str, kind: str, source: str) -> None:
        self.machine.state = state
        self.machine.updated_at = now
        self._event(now, kind, state, source)

    def _exit_event(
        self, now: float, code: int, signal: int, oom: bool, *, requested: bool, restarting: bool
    ) -> None:
        exit_event = {
            "exit_code": code,
            "guest_exit_code": code,
            "guest_signal": signal or -1,
            "signal": signal or -1,
            "oom_killed": oom,
            "requested_stop": requested,
            "restarting": restarting,
            "exited_at": rfc3339(now),
        }
        request = {"exit_event": exit_event, "restart_count": len(self.machine.crashes)}
        self._event(now, "exit", "stopped", "flyd", request)

    def _event(
        self, now: float, kind: str, status: str, source: str, request: dict[str, Any] | None = None
    ) -> None:
        event = Event(
            id=self._make_id(now),
            type=kind,
            status=status,
            source=source,
            timestamp=int(now * 1000),
            request=request,
        )
        self.machine.events.insert(0, event)
        del self.machine.events[MOST_EVENTS:]


def lease_held(machine: str, lease: Lease) -> ApiError:
    """409: somebody else may change the machine."""
    until = rfc3339(lease.expires_at)
    return ApiError(
        409, f"machine ID {machine} lease currently held by {lease.owner}, expires at {until}"
    )


def rfc3339(at: float) -> str:
    """A time as the API writes it."""
    moment = dt.datetime.fromtimestamp(at, dt.UTC)
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
