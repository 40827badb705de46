"""The plan, rule by rule: what is to be done, after what."""

import math

import pytest

from mcpctld.wake.plan import (
    LAST_PAUSE_S,
    LOOK_EVERY_S,
    PROXY_GRACE_S,
    SETTLE_S,
    SILENCE_S,
    TRIES,
    WAKE_BOUND_S,
    Plan,
    Policy,
)
from mcpctld.wake.states import STATES, Action, Failure, State, state_of

IDLE_S = 300.0


def plan_of(state: State, policy: Policy = "attached", now: float = 0.0) -> Plan:
    """A plan that has just seen its machine in `state`, for a client that attached at 0."""
    plan = Plan(policy, "suspend", IDLE_S)
    plan.want(now)
    assert plan.next(now) in (Action.LOOK, None)
    plan.seen(state, now)
    return plan


def wake(plan: Plan, now: float = 0.0) -> None:
    """From asleep to awake."""
    assert plan.next(now) is Action.START
    plan.done(Action.START, now)
    assert plan.next(now) is Action.WAIT
    plan.seen(State.AWAKE, now)


@pytest.mark.parametrize("word", sorted(STATES))
def test_every_word_of_the_api_means_something(word: str) -> None:
    assert state_of(word) is not State.UNKNOWN
    assert state_of(word.upper()) is State.UNKNOWN


@pytest.mark.parametrize(
    ("state", "action"),
    [
        (State.ASLEEP, Action.START),
        (State.STARTING, Action.WAIT),
        (State.AWAKE, None),
        (State.FALLING_ASLEEP, Action.START),
        (State.UNKNOWN, Action.LOOK),
        (State.GONE, Action.LOOK),
    ],
)
def test_what_a_machine_that_is_needed_calls_for(state: State, action: Action | None) -> None:
    plan = plan_of(state)
    assert plan.next(max(0.0, plan.deadline(0.0)) if plan._not_before > 0 else 0.0) is action


def test_nothing_is_asked_before_anybody_needs_it() -> None:
    plan = Plan("attached", "suspend", IDLE_S)
    assert plan.next(0) is None
    assert plan.deadline(0) == math.inf
    assert Plan("always", "suspend", IDLE_S).next(0) is Action.LOOK


def test_one_start_however_many_wait() -> None:
    plan = plan_of(State.ASLEEP)
    for _ in range(30):
        plan.want(0)
        plan.call_began(0)
    assert plan.next(0) is Action.START
    assert [plan.next(now) for now in range(100)] == [None] * 100  # while that is under way
    plan.done(Action.START, 1)
    assert plan.next(1) is Action.WAIT


def test_messages_wait_until_it_has_started() -> None:
    plan = Plan("attached", "suspend", IDLE_S)
    assert plan.holds
    plan.want(0)
    plan.next(0)
    plan.seen(State.ASLEEP, 0)
    assert plan.holds
    plan.next(0)
    plan.done(Action.START, 0)
    assert plan.holds
    plan.next(0)
    plan.seen(State.AWAKE, 3)
    assert not plan.holds


@pytest.mark.parametrize("policy", ["attached", "always", "never"])
def test_policies(policy: Policy) -> None:
    plan = Plan(policy, "suspend", IDLE_S)
    plan.want(0)
    assert plan.next(0) is (None if policy == "never" else Action.LOOK)
    assert plan.holds is (policy != "never")


def test_idle_clients_do_not_keep_it_awake() -> None:
    plan = plan_of(State.ASLEEP)
    wake(plan)
    plan.call_began(10)
    plan.call_ended(20)
    assert plan.next(20 + IDLE_S - 1) is Action.LOOK  # nothing but looking
    plan.seen(State.AWAKE, 20 + IDLE_S - 1)
    assert plan.deadline(20 + IDLE_S - 1) == 20 + IDLE_S
    now = 20 + IDLE_S
    assert plan.next(now) is Action.REST  # first what would keep it awake is let go
    plan.done(Action.REST, now)
    assert plan.next(now) is Action.SUSPEND
    plan.done(Action.SUSPEND, now)
    assert plan.next(now) is None
    assert plan.next(now + SETTLE_S) is Action.LOOK
    plan.seen(State.ASLEEP, now + SETTLE_S)
    assert plan.next(now + 1e6) is None
    assert plan.deadline(now + 1e6) == math.inf


def test_a_call_under_way_keeps_it_awake_for_hours() -> None:
    plan = plan_of(State.AWAKE)
    plan.call_began(0)
    for hour in range(1, 10):
        assert plan.next(hour * 3600) is Action.LOOK
        plan.seen(State.AWAKE, hour * 3600)
    assert plan.next(9 * 3600 + 1) is None


def test_what_cannot_be_suspended_is_stopped() -> None:
    plan = plan_of(State.AWAKE)
    plan.rested = True
    assert plan.next(IDLE_S) is Action.SUSPEND
    plan.failed(Action.SUSPEND, Failure.REFUSED, IDLE_S, 0)
    assert plan.next(IDLE_S) is Action.STOP


def test_who_comes_while_it_falls_asleep_waits_and_wakes_it_again() -> None:
    plan = plan_of(State.AWAKE)
    plan.rested = True
    assert plan.next(IDLE_S) is Action.SUSPEND
    plan.call_began(IDLE_S)
    assert plan.holds
    assert plan.next(IDLE_S) is None
    plan.done(Action.SUSPEND, IDLE_S + 1)
    assert plan.next(IDLE_S + 2) is Action.START
    plan.failed(Action.START, Failure.STILL_ACTIVE, IDLE_S + 2, 0)
    assert plan.holds
    assert plan.next(IDLE_S + 2.5) is Action.START


def test_a_call_during_the_rest_undoes_it() -> None:
    plan = plan_of(State.AWAKE)
    assert plan.next(IDLE_S) is Action.REST
    plan.call_began(IDLE_S)
    plan.done(Action.REST, IDLE_S)
    assert not plan.rested
    assert plan.next(IDLE_S) in (None, Action.LOOK)


def test_never_only_lets_go() -> None:
    plan = Plan("never", "suspend", IDLE_S)
    plan.call_began(0)
    plan.call_ended(1)
    assert plan.next(2) is None
    assert plan.deadline(2) == 1 + IDLE_S
    assert plan.next(1 + IDLE_S) is Action.REST
    plan.done(Action.REST, 1 + IDLE_S)
    assert plan.next(1e6) is None


def test_never_can_be_woken_by_name_and_is_left_alone_again() -> None:
    plan = Plan("never", "suspend", IDLE_S)
    plan.ask(0)
    assert plan.next(0) is Action.LOOK
    plan.seen(State.ASLEEP, 0)
    wake(plan)
    assert plan.next(IDLE_S) is Action.REST
    plan.done(Action.REST, IDLE_S)
    assert plan.next(IDLE_S) is None


def test_a_machine_that_somebody_else_woke_is_not_put_to_sleep() -> None:
    plan = plan_of(State.ASLEEP, now=0)
    plan.next(0)
    plan.done(Action.START, 0, already=True)
    plan.next(0)
    plan.seen(State.AWAKE, 0)
    assert plan.foreign
    assert plan.next(IDLE_S) is Action.REST
    plan.done(Action.REST, IDLE_S)
    assert plan.next(IDLE_S) is Action.LOOK
    plan.seen(State.AWAKE, IDLE_S)
    assert plan.next(IDLE_S + LOOK_EVERY_S) is Action.LOOK
    plan.seen(State.ASLEEP, IDLE_S + LOOK_EVERY_S)
    assert not plan.foreign


def test_what_the_proxy_holds_it_starts_itself() -> None:
    """Believed awake, it was asleep: the proxy has the call, and its start counts against the same limit."""
    plan = plan_of(State.AWAKE)
    plan.call_began(100)
    assert not plan.holds
    assert plan.next(100 + SILENCE_S) is Action.LOOK
    plan.seen(State.ASLEEP, 100 + SILENCE_S)
    assert plan.next(100 + SILENCE_S) is None
    assert plan.next(100 + SILENCE_S + SETTLE_S) is Action.LOOK
    plan.seen(State.STARTING, 100 + SILENCE_S + SETTLE_S)
    assert plan.next(104) is Action.WAIT
    plan.seen(State.AWAKE, 106)
    assert not plan.foreign


def test_what_the_proxy_does_not_start_we_do() -> None:
    plan = plan_of(State.AWAKE)
    plan.call_began(100)
    assert plan.next(100 + PROXY_GRACE_S) is Action.LOOK
    plan.seen(State.ASLEEP, 100 + PROXY_GRACE_S)
    assert plan.next(100 + PROXY_GRACE_S) is Action.START


def test_without_a_proxy_there_is_no_grace() -> None:
    plan = Plan("attached", "suspend", IDLE_S, proxy_grace_s=0.0)
    plan.want(0)
    plan.next(0)
    plan.seen(State.AWAKE, 0)
    plan.call_began(10)
    assert plan.next(10 + SILENCE_S) is Action.LOOK
    plan.seen(State.ASLEEP, 10 + SILENCE_S)
    assert plan.next(10 + SILENCE_S) is Action.START


@pytest.mark.parametrize(
    ("failure", "pause", "then"),
    [
        (Failure.STILL_ACTIVE, 0.5, Action.START),
        (Failure.RATE_LIMITED, 1.0, Action.START),
        (Failure.LEASE_HELD, 1.0, Action.START),
        (Failure.CAPACITY, 2.0, Action.START),
        (Failure.DENIED, 60.0, Action.START),
        (Failure.REFUSED, 5.0, Action.LOOK),
        (Failure.UNAVAILABLE, 1.0, Action.LOOK),
        (Failure.NOT_FOUND, 30.0, Action.LOOK),
        (Failure.TIMED_OUT, 0.1, Action.LOOK),
    ],
)
def test_after_a_start_that_failed(failure: Failure, pause: float, then: Action) -> None:
    """What is not known is looked at first: a start whose answer got lost may have worked."""
    plan = plan_of(State.ASLEEP)
    plan.call_began(0)
    assert plan.next(0) is Action.START
    plan.failed(Action.START, failure, 0, jitter=0)
    assert plan.next(pause * 0.99) is None
    assert plan.deadline(0) == pause
    assert plan.next(pause) is then


def test_jitter_and_the_servers_wish_lengthen_the_pause() -> None:
    plan = plan_of(State.ASLEEP)
    plan.next(0)
    plan.failed(Action.START, Failure.RATE_LIMITED, 0, jitter=1.0, retry_after_s=20)
    assert plan.deadline(0) == 30


def test_pauses_grow_to_a_bound() -> None:
    plan, now, pauses = plan_of(State.ASLEEP), 0.0, []
    plan.call_began(0)
    for _ in range(12):
        assert plan.next(now) is Action.START
        plan.failed(Action.START, Failure.CAPACITY, now, jitter=0)
        pauses.append(plan.deadline(now) - now)
        now = plan.deadline(now)
        plan.wakes_since = now  # else the wake as a whole has its bound
    assert pauses[:4] == [2, 4, 8, 16]
    assert max(pauses) == pauses[-1] == LAST_PAUSE_S


@pytest.mark.parametrize("failure", [*Failure])
def test_after_so_many_failures_nobody_is_held_up(failure: Failure) -> None:
    plan, now, count = plan_of(State.ASLEEP), 0.0, 0
    plan.call_began(0)
    while plan.holds:
        action = plan.next(now)
        assert action is not None
        if action is Action.LOOK:
            plan.seen(State.ASLEEP, now)
            continue
        plan.failed(action, failure, now, jitter=0)
        count += 1
        now = max(plan.deadline(now), now)
    assert count == TRIES[failure]
    assert now <= WAKE_BOUND_S * 2
    plan.answered(now)  # Fly's proxy has done better
    assert plan.state is State.AWAKE
    assert not plan.helpless


def test_a_machine_that_never_comes_up_holds_nobody_for_ever() -> None:
    plan, now = plan_of(State.ASLEEP), 0.0
    plan.call_began(0)
    while plan.holds and now < 10 * WAKE_BOUND_S:
        match plan.next(now):
            case Action.START:
                plan.done(Action.START, now)
            case Action.LOOK:
                plan.seen(State.STARTING, now)
            case Action.WAIT:
                now += 30
                plan.failed(Action.WAIT, Failure.TIMED_OUT, now, jitter=0)
            case None:
                now = plan.deadline(now)
    assert not plan.holds
    assert now < WAKE_BOUND_S + 60


def test_asking_by_name_tries_at_once_what_has_failed() -> None:
    plan = plan_of(State.ASLEEP)
    plan.next(0)
    plan.failed(Action.START, Failure.DENIED, 0, jitter=0)
    assert not plan.holds
    assert plan.next(1) is None
    plan.ask(1)
    assert plan.next(1) is Action.START


def test_the_first_answer_ends_the_wake() -> None:
    plan = plan_of(State.ASLEEP)
    plan.call_began(0)
    plan.next(0)
    plan.done(Action.START, 0)
    plan.next(0)
    plan.seen(State.AWAKE, 2)
    assert plan.wakes_since == 0
    assert plan.answered(5) == 5
    assert plan.answered(6) is None


def test_a_wake_that_nobody_waits_for_teaches_nothing() -> None:
    plan = plan_of(State.ASLEEP)
    wake(plan)
    plan.call_began(200)
    assert plan.answered(201) is None


def test_an_hour_that_is_near_wakes_ahead_and_lasts_past_it() -> None:
    plan = Plan("attached", "suspend", IDLE_S)
    plan.want(0, ahead_s=20)
    assert plan.next(0) is Action.LOOK
    plan.seen(State.ASLEEP, 0)
    wake(plan)
    assert plan.needed(20 + IDLE_S - 1)
    assert not plan.needed(20 + IDLE_S)


def test_other_settings_hold_at_once() -> None:
    plan = plan_of(State.AWAKE)
    plan.rested = True
    plan.configure("always", "stop", 10.0)
    assert plan.next(IDLE_S) is Action.LOOK
    plan.seen(State.AWAKE, IDLE_S)
    plan.configure("attached", "stop", 10.0)
    assert plan.next(IDLE_S) is Action.STOP


def test_another_idle_time_counts_from_the_same_call() -> None:
    plan = plan_of(State.AWAKE)
    plan.call_began(0)
    plan.call_ended(10)
    assert plan.needed(10 + IDLE_S - 1)
    plan.configure("attached", "suspend", 5)
    assert plan.needed(14.9)
    assert not plan.needed(15)
