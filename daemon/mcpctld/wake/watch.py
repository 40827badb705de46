"""The machine of one server: its plan carried out, by one task that waits for the next thing to do.

Sessions tell what they do (`attached`, `begin`, `end`, `answered`) and ask whether a message is to wait (`holds`).
"""

import math
import random
import time
from collections.abc import Awaitable, Callable

import trio

from mcpctl import shapes
from mcpctld.errors import McpctlError, TimedOut, Unreachable
from mcpctld.model import FlySpec
from mcpctld.wake import schedule
from mcpctld.wake.chronicle import Chronicle, Publish
from mcpctld.wake.machines import Failed, Machine, Machines, choose
from mcpctld.wake.plan import PROXY_GRACE_S, WAKE_BOUND_S, Plan, Policy
from mcpctld.wake.records import Records
from mcpctld.wake.states import Action, Failure, State, state_of

REQUEST_BOUND_S = 30.0
WAIT_S = 30.0
"""What the API is asked to wait for a machine at a time; it takes 1 to 60 (docs, "Wait for a Machine")."""
CLOCK_EVERY_S = 60.0
"""How often the clock is looked at for the next hour of `wake_at`: it may be set, and this computer may sleep."""


class Watch:
    """One server with `[fly]`. `rest` lets go of what sessions hold open; `clock` tells the Unix time."""

    def __init__(
        self,
        name: str,
        fly: FlySpec,
        machines: Callable[[FlySpec], Awaitable[Machines]],
        records: Records,
        publish: Publish,
        rest: Callable[[str], None],
        *,
        proxied: bool = True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`proxied`: Fly's proxy stands before the machine, and may start it too."""
        self.name = name
        self.fly = fly
        self._proxied = proxied
        self._named = True
        """Whether some client's configuration names it, as far as is known."""
        self.plan = Plan(fly.policy, fly.sleep, fly.idle_timeout_s, _grace_s(proxied))
        self._chronicle = Chronicle(name, records, publish, clock)
        self._machines = machines
        self._rest = rest
        self._clock = clock
        self._id = fly.machine
        self._hours = [schedule.parse(text) for text in fly.wake_at]
        self._served = -math.inf  # the hour that it was last woken for
        self._listeners: dict[Callable[[], None], None] = {}
        self._poked = trio.Event()
        self._changed = trio.Event()
        if self._chronicle.doubts:
            self.plan.wonder(trio.current_time())

    def configure(self, fly: FlySpec, *, proxied: bool) -> None:
        """Its table has changed: go by this one. Sessions go on as they are."""
        same = (self.fly.at, self.fly.app, self.fly.machine) == (fly.at, fly.app, fly.machine)
        self.fly = fly
        self._proxied = proxied
        self._hours = [schedule.parse(text) for text in fly.wake_at]
        if not same:
            self._id = fly.machine
            self._chronicle.forget()
            self.plan.state = State.UNKNOWN
        self._configure_plan()

    def name_it(self, named: bool) -> None:
        """A client's configuration names it now, or none does any more: then nothing keeps it warm but who calls."""
        self._named = named
        self._configure_plan()

    def _configure_plan(self) -> None:
        fly = self.fly
        self.plan.configure(self._policy, fly.sleep, fly.idle_timeout_s, _grace_s(self._proxied))
        self.poke()

    @property
    def _policy(self) -> Policy:
        kept = self.fly.policy == "always" and not self._named
        return "attached" if kept else self.fly.policy

    @property
    def trouble(self) -> Failed | None:
        """Why the last request did not succeed; None once one has."""
        return self._chronicle.trouble

    # ------------------------------------------------------------ what sessions do

    @property
    def holds(self) -> bool:
        """Whether a message has to wait until the machine has been started."""
        return self.plan.holds

    @property
    def rested(self) -> bool:
        """Whether nothing is to be said to the server for its own sake: it may sleep, and is to be let."""
        return self.plan.rested or self.plan.state in (State.ASLEEP, State.FALLING_ASLEEP)

    @property
    def warming(self) -> bool:
        """Whether the machine has been started, and its server has not answered yet."""
        since = self.plan.wakes_since
        return since is not None and trio.current_time() - since < WAKE_BOUND_S

    def attached(self, who: str) -> None:
        """A client of this name is there."""
        self.plan.want(trio.current_time())
        self._chronicle.charge(who)
        self.poke()

    def begin(self, who: str) -> None:
        """A request for a client of this name is about to be sent, or held."""
        self.plan.call_began(trio.current_time())
        if self.plan.calls == 1 or who != self._chronicle.who:
            self._chronicle.charge(who)
            self.poke()

    def end(self) -> None:
        """A request is over, in whatever way."""
        self.plan.call_ended(trio.current_time())
        if not self.plan.calls:
            self._chronicle.charge("always" if self._policy == "always" else "")
            self.poke()

    def answered(self) -> None:
        """The server has answered a request."""
        if self.plan.wakes_since is None and self.plan.state is State.AWAKE:
            return
        took = self.plan.answered(trio.current_time())
        if took is not None:
            self._chronicle.learn(took)
        self._note()

    def on_release(self, listener: Callable[[], None]) -> None:
        """Have `listener` called whenever messages need not wait any more."""
        self._listeners[listener] = None

    def off_release(self, listener: Callable[[], None]) -> None:
        """Not any more."""
        self._listeners.pop(listener, None)

    def poke(self) -> None:
        """Something has happened: see what is to be done."""
        self._poked.set()

    # ------------------------------------------------------------ by name

    async def wake(self, bound_s: float) -> None:
        """Have it awake, whatever its policy, and wait for that. Raises why it is not."""
        self.plan.ask(trio.current_time())
        self._chronicle.charge("mcpctl wake")
        self._chronicle.trouble = None
        self.poke()
        await trio.lowlevel.checkpoint()
        with trio.move_on_after(bound_s):
            while self.plan.state is not State.AWAKE and not self._gave_up:
                await self._changed.wait()
        if self.plan.state is not State.AWAKE:
            raise self._not_awake(bound_s)

    @property
    def _gave_up(self) -> bool:
        return self.trouble is not None and (self.plan.helpless or self.plan.state is State.GONE)

    def _not_awake(self, bound_s: float) -> McpctlError:
        if self.trouble is not None:
            return Unreachable(f"cannot wake {self.name}: {self.trouble}")
        return TimedOut(
            f"the machine of {self.name} has not started within {bound_s:g} s; "
            f"see mcpctl status, or ask again"
        )

    # ------------------------------------------------------------ the task

    async def run(self) -> None:
        """Do what is to be done, until cancelled."""
        try:
            await self._run()
        finally:  # nobody may wait for what is not watched any more
            self.plan.helpless = True
            self._release()

    async def _run(self) -> None:
        while True:
            self._mind_hours()
            action = self.plan.next(trio.current_time())
            if action is not None:
                await self._carry_out(action)
                self._note()
                continue
            self._poked = trio.Event()
            with trio.move_on_at(self._deadline()):
                await self._poked.wait()

    def _deadline(self) -> float:
        now = trio.current_time()
        due = self._next_hour()
        if due is None:
            return self.plan.deadline(now)
        early = due - self._chronicle.times.lead_s - self._clock()
        return min(self.plan.deadline(now), now + min(max(early, 0.0), CLOCK_EVERY_S))

    def _next_hour(self) -> float | None:
        return schedule.next_after(self._hours, max(self._clock(), self._served))

    def _mind_hours(self) -> None:
        """Wake it in time for the next hour of `wake_at`."""
        due = self._next_hour()
        if due is None or self.fly.policy == "never" or not self._named:
            return
        ahead = due - self._clock()
        if ahead <= self._chronicle.times.lead_s:
            self._served = due
            self.plan.want(trio.current_time(), ahead)
            self._chronicle.charge("schedule")

    async def _carry_out(self, action: Action) -> None:  # noqa: ASYNC910  (requests wait, or fail)
        """Do one thing and tell the plan what came of it."""
        if action is Action.REST:
            self._rest(self.name)
            self.plan.done(action, trio.current_time())
            await trio.lowlevel.checkpoint()
            return
        self._chronicle.begin(action, self._id)
        try:
            with trio.fail_after(REQUEST_BOUND_S + (WAIT_S if action is Action.WAIT else 0.0)):
                await self._request(action)
        except trio.TooSlowError:
            self._fail(action, Failed(Failure.UNAVAILABLE, "the Machines API does not answer"))
        except Failed as exc:
            self._fail(action, exc)
        except McpctlError as exc:  # without a token or a Fly there is nothing to ask
            self._fail(action, Failed(Failure.DENIED, str(exc)))
        else:
            self._chronicle.trouble = None

    async def _request(self, action: Action) -> None:
        machines, app = await self._machines(self.fly), self.fly.app
        if action is Action.LOOK or self._id is None:
            self._look_at(await self._find(machines), done=action is Action.LOOK)
            if action is Action.LOOK:
                return
        assert self._id is not None
        match action:
            case Action.START:
                already = await machines.start(app, self._id)
                self.plan.done(action, trio.current_time(), already=already)
            case Action.WAIT:
                await machines.wait(app, self._id, WAIT_S)
                self._look_at(await machines.get(app, self._id), done=True)
            case Action.SUSPEND | Action.STOP:
                put = machines.suspend if action is Action.SUSPEND else machines.stop
                await put(app, self._id)
                self.plan.done(action, trio.current_time())

    async def _find(self, machines: Machines) -> Machine:
        """The machine; chosen among those of the app if none was named."""
        if self._id is not None:
            return await machines.get(self.fly.app, self._id)
        found = choose(await machines.list(self.fly.app), self.name)
        if found is None:
            raise Failed(Failure.NOT_FOUND, f"the app {self.fly.app} has no machine; launch one")
        self._id = found.id
        return found

    def _look_at(self, machine: Machine, *, done: bool) -> None:
        self._chronicle.look_at(machine)
        if done:
            self.plan.seen(state_of(machine.state), trio.current_time())

    def _fail(self, action: Action, error: Failed) -> None:
        if error.failure is Failure.NOT_FOUND:
            self._id = self.fly.machine  # it may have been made anew under another id
        jitter = random.random()  # noqa: S311  (nobody gains by guessing it)
        now = trio.current_time()
        self.plan.failed(action, error.failure, now, jitter, error.retry_after_s)
        self._chronicle.fail(action, error)

    # ------------------------------------------------------------ what is told

    def _note(self) -> None:
        """The plan may know more now: tell of it, and let go what was held."""
        self._chronicle.note(self.plan.state)
        if not self.plan.holds:
            self._release()
        self._changed.set()
        self._changed = trio.Event()

    def _release(self) -> None:
        for listener in tuple(self._listeners):
            listener()

    def describe(self) -> shapes.Machine:
        """What there is to show."""
        return self._chronicle.describe(self.fly, self.plan.state, self._next_hour())


def _grace_s(proxied: bool) -> float:
    return PROXY_GRACE_S if proxied else 0.0
