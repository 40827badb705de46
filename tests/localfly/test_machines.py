"""The life of one machine, in virtual time."""

import contextlib
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpctld.localfly.errors import ApiError
from mcpctld.localfly.machines import (
    ALIVE,
    RESTING,
    Boot,
    Freeze,
    Halt,
    Life,
    Machine,
    Remove,
    Thaw,
    why_not_suspend,
)  # fmt: skip

NOW = 1_800_000_000.0
CONFIG = {"image": "debian"}
STATES = (
    "created", "starting", "started", "stopping", "stopped", "suspending", "suspended", "replacing",
    "restarting", "destroying", "destroyed", "failed",
)  # fmt: skip


def make(state="created", config=None, race=0.0, **more):
    counter = itertools.count()
    machine = Machine(
        id="0123456789abcd", name="m", region="iad", version="01A", config=config or dict(CONFIG),
        created_at=NOW, updated_at=NOW, state=state, **more,
    )  # fmt: skip
    return Life(machine, lambda now: f"01{int(now):012d}{next(counter):06d}", race)


def refused(do, *given, **named):
    with pytest.raises(ApiError) as caught:
        do(*given, **named)
    return caught.value


# ---------------------------------------------------------------- from which state what is allowed

START = {
    "started": "machine still active, refusing to start",
    "starting": "machine still attempting to start",
    "replacing": "machine getting replaced, refusing to start",
    **{
        state: f"unable to start machine from current state: '{state}'"
        for state in ("created", "stopping", "restarting", "destroying", "destroyed")
    },
}


@pytest.mark.parametrize("state", STATES)
def test_start(state):
    life = make(state)
    if state in START:
        error = refused(life.start, NOW)
        assert (error.status, error.text) == (412, f"failed_precondition: {START[state]}")
        assert life.machine.state == state
        return
    wanted = Thaw() if state in ("suspended", "suspending") else Boot()
    assert life.start(NOW) == wanted
    assert life.machine.state == "starting"


@pytest.mark.parametrize("state", STATES)
def test_stop(state):
    life = make(state)
    if state in ("stopped", "stopping"):
        assert life.stop(NOW) is None
        assert life.machine.state == state
    elif state in ("started", "starting"):
        assert life.stop(NOW, "SIGTERM", 3.0) == Halt("SIGTERM", 3.0)
        assert life.machine.state == "stopping"
    elif state == "suspended":
        assert life.stop(NOW) == Halt(timeout_s=0.0), "the snapshot is lost"
    else:
        assert refused(life.stop, NOW).text.endswith(f"from current state: '{state}'")


@pytest.mark.parametrize("state", STATES)
def test_suspend(state):
    life = make(state)
    if state == "started":
        assert life.suspend(NOW) == Freeze()
        assert life.machine.state == "suspending"
    elif state in ("suspended", "suspending"):
        assert life.suspend(NOW) is None
    else:
        assert refused(life.suspend, NOW).status == 412


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"guest": {"memory_mb": 2048}}, ""),
        ({"guest": {"memory_mb": 4096}}, "memory"),
        ({"init": {"swap_size_mb": 1}}, "swap"),
        ({"schedule": "daily"}, "schedule"),
        ({"guest": {"gpu_kind": "a10"}}, "GPU"),
    ],
)
def test_what_cannot_be_suspended(config, why):
    assert why in why_not_suspend(config)
    assert bool(why_not_suspend(config)) == bool(why)
    if why:
        assert why in refused(make("started", config).suspend, NOW).text


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("force", [False, True])
def test_destroy(state, force):
    life = make(state)
    if state in ("destroying", "destroyed"):
        assert life.destroy(NOW, force=force) is None
    elif state in RESTING - {"suspended"}:
        assert life.destroy(NOW, force=force) == Remove()
        assert life.machine.state == "destroyed"
    elif state == "suspended" or force:
        assert life.destroy(NOW, force=force) == Halt(timeout_s=0.0)
        assert life.machine.state == "destroying"
        assert life.exited(NOW, 137, 9) == Remove()
        assert life.machine.state == "destroyed"
    else:
        text = refused(life.destroy, NOW, force=force).text
        assert text == (
            "failed_precondition: unable to destroy machine, not currently stopped, suspended, failed or created"
        )


@pytest.mark.parametrize("state", STATES)
def test_update(state):
    life = make(state)
    before = life.machine.version
    new = {"image": "debian", "env": {"A": "1"}}
    if state in ("destroying", "destroyed"):
        assert refused(life.update, NOW, new, 1).status == 412
        return
    effect = life.update(NOW, new, 7)
    machine = life.machine
    assert machine.version != before
    assert (machine.config, machine.secrets_version) == (new, 7)
    assert machine.versions[0].user_config == new
    if state == "created":
        assert (effect, machine.state) == (None, "created"), "it is about to boot"
        return
    if state not in ALIVE:
        assert (effect, machine.state) == (None, "stopped"), "what does not run is left stopped"
        return
    assert machine.state == "replacing"
    assert refused(life.start, NOW).text.endswith("machine getting replaced, refusing to start")
    rests = state in ("suspended", "suspending", "stopping")
    assert life.exited(NOW, 0) == (None if rests else Boot())
    assert machine.state == ("stopped" if rests else "replacing")


# ---------------------------------------------------------------- whole stories


def test_a_machine_is_made_and_boots():
    life = make()
    assert life.create(NOW, launch=True) == Boot()
    assert life.machine.state == "created"
    life.boot_begun(NOW)
    life.booted(NOW + 1)
    assert life.machine.state == "started"
    assert [event.type for event in life.machine.events] == ["start", "start", "launch"]
    assert len({event.id for event in life.machine.events}) == 3


def test_one_that_is_not_launched_waits_for_its_start():
    life = make()
    assert life.create(NOW, launch=False) is None
    assert life.start(NOW) == Boot()


def test_a_start_while_it_is_being_suspended_lets_it_go_on():
    life = make("started")
    life.suspend(NOW)
    assert life.start(NOW) == Thaw()
    life.frozen(NOW)
    assert life.machine.state == "starting", "the news of its suspension comes too late"
    life.thawed(NOW)
    assert life.machine.state == "started"


def test_a_machine_that_has_stopped_is_still_active_for_a_while():
    life = make("started", race=1.0)
    life.stop(NOW)
    assert life.exited(NOW, 0) is None
    assert life.machine.state == "stopped"
    assert refused(life.start, NOW + 0.9).text.endswith("machine still active, refusing to start")
    assert life.start(NOW + 1.0) == Boot()


def test_what_could_not_be_started_has_failed_and_says_why():
    life = make()
    life.create(NOW, launch=True)
    life.boot_begun(NOW)
    life.boot_failed(NOW, "no such program")
    assert life.machine.state == "failed"
    assert life.machine.events[0].request == {"error": "failed to launch: no such program"}


# ---------------------------------------------------------------- the end of a process


@pytest.mark.parametrize(
    ("policy", "code", "again"),
    [
        (None, 0, False), (None, 1, True), ("on-failure", 0, False), ("on-failure", 2, True),
        ("always", 0, True), ("always", 1, True), ("no", 0, False), ("no", 1, False),
    ],
)  # fmt: skip
def test_whether_it_is_started_again(policy, code, again):
    config = CONFIG | ({"restart": {"policy": policy}} if policy else {})
    life = make("started", config)
    effect = life.exited(NOW, code)
    assert isinstance(effect, Boot) == again
    exit_event = life.machine.events[0].request["exit_event"]
    assert exit_event["exit_code"] == code
    assert exit_event["restarting"] == again
    assert exit_event["requested_stop"] is False
    if not again:
        assert life.machine.state == "stopped"


@pytest.mark.parametrize("config", [CONFIG, CONFIG | {"restart": {"max_retries": 3}}])
def test_it_is_not_started_again_for_ever(config):
    most = config.get("restart", {}).get("max_retries", 10)
    life = make("started", config)
    for number in range(most):
        life.machine.state = "started"
        assert isinstance(life.exited(NOW + number, 1), Boot)
    life.machine.state = "started"
    assert life.exited(NOW + most, 1) is None
    assert life.machine.state == "stopped"


def test_failures_of_long_ago_do_not_count():
    life = make("started")
    for number in range(50):
        life.machine.state = "started"
        assert isinstance(life.exited(NOW + number * 60, 1), Boot)


def test_a_stop_is_no_crash():
    life = make("started")
    life.stop(NOW)
    assert life.exited(NOW, 130, 2) is None
    assert life.machine.events[0].request["exit_event"]["requested_stop"] is True
    assert not life.machine.crashes


def test_auto_destroy():
    life = make("started", CONFIG | {"auto_destroy": True, "restart": {"policy": "no"}})
    assert life.exited(NOW, 0) == Remove()


def test_a_suspended_process_that_is_killed_leaves_a_stopped_machine():
    assert make("suspended").exited(NOW, 137, 9) is None


@pytest.mark.parametrize("state", STATES)
def test_what_follows_when_the_host_was_lost(state):
    life = make(state, held=False)
    effect = life.host_lost(NOW)
    boots = ("starting", "started", "restarting", "created")
    wanted = Boot() if state in boots else Remove() if state == "destroying" else None
    assert effect == wanted
    if state in ("suspended", "suspending", "stopping"):
        assert life.machine.state == "stopped", "the snapshot is lost"


# ---------------------------------------------------------------- leases


def lease(life, now, nonce=None, new="n1", ttl=10):
    return life.take_lease(now, nonce, new, "me@tokens.fly.io", ttl, "")


def test_a_lease_keeps_others_away_until_it_runs_out():
    life = make("stopped")
    taken = lease(life, NOW)
    assert taken.expires_at == int(NOW) + 10
    error = refused(life.check_lease, NOW, None)
    assert error.status == 409
    assert error.text.startswith(
        "machine ID 0123456789abcd lease currently held by me@tokens.fly.io, expires at "
    )
    assert refused(lease, life, NOW, "wrong").status == 409
    life.check_lease(NOW, "n1")
    life.check_lease(NOW + 10, None)
    assert lease(life, NOW + 10, new="n2").nonce == "n2"


def test_a_lease_is_made_longer_and_given_back():
    life = make("stopped")
    lease(life, NOW)
    assert lease(life, NOW + 5, "n1", new="n2").nonce == "n1"
    assert refused(life.release, NOW, None).status == 409
    life.release(NOW + 6, "n1")
    error = refused(life.release, NOW + 6, "n1")
    assert (error.status, error.text) == (404, "lease not found")


# ---------------------------------------------------------------- whatever happens

ACTIONS = st.sampled_from(
    ["start", "stop", "suspend", "restart", "update", "destroy", "kill", "end", "crash", "settle"]
)


class Driver:
    """Does what a life asks for: it has at most one process, and each effect has to fit what there is."""

    def __init__(self):
        self.life = make()
        self.now = NOW
        self.alive = self.frozen = False
        self.pending = [self.life.create(NOW, launch=True)]

    def ask(self, action):
        life = self.life
        asked = {
            "update": lambda: life.update(self.now, dict(CONFIG), 0),
            "destroy": lambda: life.destroy(self.now, force=False),
            "kill": lambda: life.destroy(self.now, force=True),
        }
        do = asked.get(action) or (lambda: getattr(life, action)(self.now))
        with contextlib.suppress(ApiError):
            self.pending.append(do())

    def end(self, code):
        if self.alive and not self.pending and not self.frozen:
            self.alive = False
            self.pending.append(self.life.exited(self.now, code))

    def settle(self):
        waiting, self.pending = self.pending, []
        for effect in waiting:
            if effect is not None:
                getattr(self, type(effect).__name__.lower())()
        self.pending = [effect for effect in self.pending if effect is not None]

    def boot(self):
        assert not self.alive, "a second process"
        if not self.life.boot_begun(self.now):
            assert self.life.machine.state == "destroyed"
            return
        if not self.life.machine.then:
            self.life.booted(self.now)
        self.alive = True

    def halt(self):
        assert self.alive
        self.alive = self.frozen = False
        self.pending.append(self.life.exited(self.now, 0))

    def freeze(self):
        assert self.alive
        assert not self.frozen
        self.frozen = True
        self.life.frozen(self.now)

    def thaw(self):
        assert self.alive
        self.frozen = False
        self.life.thawed(self.now)

    def remove(self):
        assert self.life.machine.state == "destroyed"
        assert not self.alive


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.lists(ACTIONS, max_size=30))
def test_whatever_is_asked_there_is_one_process_at_most(actions):
    driver = Driver()
    machine = driver.life.machine
    for action in actions:
        driver.now += 1
        if action in ("end", "crash"):
            driver.end(action == "crash")
        elif action != "settle":
            driver.ask(action)
        driver.settle()
        assert machine.state in STATES
        assert driver.alive or machine.state != "suspended"
    ids = [event.id for event in machine.events]
    assert ids == sorted(ids, reverse=True)
