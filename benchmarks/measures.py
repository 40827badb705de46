"""What is measured: one generator each, which yields (metric, samples) as soon as it has them.

The caller times how much of the machine others used between two yields, so a step that is worth
judging alone is yielded alone. Every generator cleans up after itself, also when it is closed
half-way.
"""

import gc
import select
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import NamedTuple

from benchmarks import links, messages, processes
from benchmarks.contenders import AWAY, Contender, Ours, Raw
from benchmarks.figures import Metric
from benchmarks.links import Link, StdioLink

Samples = Generator[tuple[Metric, list[float]], None, None]

MEDIUM_TEXT = b"x" * 100_000
LARGE_TEXT = b"x" * 1_000_000
WINDOW = 64
FLEET_STEPS = (
    (1, Metric.PSS_1, Metric.RATE_1),
    (10, Metric.PSS_10, Metric.RATE_10),
    (50, Metric.PSS_50, Metric.RATE_50),
)
ATTACHES = 40
"""The last step of a fleet: from 10 sessions to 50."""
WARM_CALLS = 100
WARM_S = 0.04
WARM_LEAST_S = 0.3
"""For each session of a fleet, before its rate is taken: fresh interpreters are slow for some calls."""
SETTLE_S = 1.0
"""Between the last call and the watch over an idle fleet."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is done; durations in seconds, for each contender."""

    rounds: int
    fleet_rounds: int
    startup_s: float
    startups: tuple[int, int]
    """At least and at most."""
    call_s: float
    large_s: float
    flight_s: float
    rate_s: float
    idle_s: float
    limit_s: float
    """For the whole run: no further round is begun that would pass it."""


FULL = Effort(
    rounds=5,
    fleet_rounds=2,
    startup_s=2.5,
    startups=(3, 20),
    call_s=1.0,
    large_s=0.5,
    flight_s=1.0,
    rate_s=1.5,
    idle_s=20.0,
    limit_s=660.0,
)
QUICK = Effort(
    rounds=2,
    fleet_rounds=1,
    startup_s=1.0,
    startups=(2, 10),
    call_s=0.3,
    large_s=0.2,
    flight_s=0.4,
    rate_s=0.7,
    idle_s=3.0,
    limit_s=140.0,
)


def startup(contender: Contender, effort: Effort) -> Samples:
    """Spawn, initialize, list the tools, end; again and again."""
    if not isinstance(contender, Raw):
        took = startups(contender, "json", effort)
        yield Metric.INITIALIZE, [one.initialized for one in took]
        yield Metric.TOOLS_LIST, [one.listed for one in took]
        yield Metric.EXIT, [one.ended for one in took]


def cold(contender: Contender, effort: Effort) -> Samples:
    """The same with a server that is not there, after one session for which it was."""
    if not isinstance(contender, Ours) or not contender.remembers:
        return
    with contender.away_server(), closing(contender.open(AWAY)) as link:
        links.exchange(link, messages.INITIALIZE)
        greet(link)
    yield Metric.COLD_LIST, [one.listed for one in startups(contender, AWAY, effort)]


def calls(contender: Contender, effort: Effort) -> Samples:
    """Small calls, one after the other, answered with JSON."""
    with ready_link(contender, "json") as link:
        yield Metric.CALL_JSON, timed_calls(link, effort.call_s)


def calls_sse(contender: Contender, effort: Effort) -> Samples:
    """Small calls, one after the other, answered with an event stream."""
    with ready_link(contender, "sse") as link:
        yield Metric.CALL_SSE, timed_calls(link, effort.call_s)


def large(contender: Contender, effort: Effort) -> Samples:
    """Large calls, answered as large."""
    with ready_link(contender, "json") as link:
        yield Metric.CALL_100K, timed_calls(link, effort.large_s, MEDIUM_TEXT)
        yield Metric.CALL_1M, timed_calls(link, effort.large_s, LARGE_TEXT)


def in_flight(contender: Contender, effort: Effort) -> Samples:
    """Many calls in flight on one session."""
    with ready_link(contender, "json") as link, no_garbage_collection():
        rate = link.pipeline(WINDOW, effort.flight_s)
        yield Metric.IN_FLIGHT, [rate]


def fleet(contender: Contender, effort: Effort) -> Samples:
    """One session, then ten, then forty more at once: memory, throughput, cost when idle."""
    members: list[Link] = []
    try:
        for size, pss, rate in FLEET_STEPS:
            took = attach(contender, members, size - len(members))
            if size == FLEET_STEPS[-1][0] and contender_pids(contender, members):
                yield Metric.ATTACH_40, [took]
            yield from _memory_and_rate(contender, members, effort, pss, rate)
        yield from _idle(contender, members, effort)
    finally:
        for link in members:
            link.hang_up()  # all at once: they end side by side
        for link in members:
            link.close()


@dataclass(frozen=True, slots=True)
class Measure:
    """A measure and how long one contender may take for it, in seconds."""

    run: Callable[[Contender, Effort], Samples]
    bound_s: float


MEASURES = {
    "startup": Measure(startup, 30.0),
    "cold": Measure(cold, 30.0),
    "calls": Measure(calls, 20.0),
    "sse": Measure(calls_sse, 20.0),
    "large": Measure(large, 20.0),
    "inflight": Measure(in_flight, 20.0),
    "fleet": Measure(fleet, 120.0),
}
"""In the order in which a round goes through them; the keys are what `--only` takes."""


class Startup(NamedTuple):
    """Seconds from the spawn to two answers, and from the end of its input to its own."""

    initialized: float
    listed: float
    ended: float


def startups(contender: Contender, answers: str, effort: Effort) -> list[Startup]:
    """Start sessions one after the other, as many as `effort` wants."""
    took: list[Startup] = []
    least, most = effort.startups
    deadline = perf_counter() + effort.startup_s
    while len(took) < least or (len(took) < most and perf_counter() < deadline):
        begun = perf_counter()
        with closing(contender.open(answers)) as link:
            assert isinstance(link, StdioLink)
            answer = links.exchange(link, messages.INITIALIZE)
            initialized = perf_counter() - begun
            tools = links.exchange(link, messages.INITIALIZED + messages.TOOLS_LIST)
            listed = perf_counter() - begun
            took.append(Startup(initialized, listed, link.eof_to_exit()))
        messages.check_answer(answer, messages.INITIALIZE_ID)
        messages.check_answer(tools, messages.TOOLS_LIST_ID)
    return took


def _memory_and_rate(
    contender: Contender, members: list[Link], effort: Effort, pss: Metric, rate: Metric
) -> Samples:
    if pids := contender_pids(contender, members):
        yield pss, [processes.pss_mib(pids)]
    links.ping_pong(members, max(WARM_LEAST_S, WARM_S * len(members)))
    with no_garbage_collection():
        yield rate, [links.ping_pong(members, effort.rate_s)]


def _idle(contender: Contender, members: list[Link], effort: Effort) -> Samples:
    pids = contender_pids(contender, members)
    if not pids:
        return
    time.sleep(SETTLE_S)
    before, begun = processes.thread_seconds(pids), perf_counter()
    time.sleep(effort.idle_s)
    used, lasted = processes.thread_seconds(pids) - before, perf_counter() - begun
    yield Metric.IDLE_CPU, [used / lasted]


def contender_pids(contender: Contender, members: list[Link]) -> list[int]:
    """Every process of these sessions, the daemon behind them included; none for bare sockets."""
    roots = [link.pid for link in members if link.pid is not None]
    return processes.trees([*roots, *contender.residents()]) if roots else []


def attach(contender: Contender, members: list[Link], count: int) -> float:
    """Open and add `count` sessions at once; seconds until the last is initialized."""
    begun = perf_counter()
    waiting: dict[int, Link] = {}
    ready = select.epoll()
    for _ in range(count):
        link = contender.open("json")
        members.append(link)
        waiting[link.fileno()] = link
        ready.register(link.fileno(), select.EPOLLIN)
        link.send(messages.INITIALIZE)
    new = list(waiting.values())
    while waiting:
        for fd, _ in ready.poll():
            answer = waiting[fd].receive()
            if answer is not None:
                messages.check_answer(answer, messages.INITIALIZE_ID)
                ready.unregister(fd)
                del waiting[fd]
    took = perf_counter() - begun
    ready.close()
    for link in new:
        greet(link)
    return took


def greet(link: Link) -> None:
    """What follows `initialize`: the notification, and the list of tools."""
    if isinstance(link, StdioLink):
        tools = links.exchange(link, messages.INITIALIZED + messages.TOOLS_LIST)
        messages.check_answer(tools, messages.TOOLS_LIST_ID)


@contextmanager
def ready_link(contender: Contender, answers: str) -> Iterator[Link]:
    """A session that is initialized and has run warm."""
    with closing(contender.open(answers)) as link:
        links.exchange(link, messages.INITIALIZE)
        greet(link)
        for ident in messages.new_ids(WARM_CALLS):
            links.exchange(link, messages.call(ident))
        yield link


def timed_calls(link: Link, seconds: float, text: bytes = messages.SMALL_TEXT) -> list[float]:
    """Calls in a row for so long; the seconds each took. Answers are checked off the clock."""
    took = []
    deadline = perf_counter() + seconds
    with no_garbage_collection():
        while perf_counter() < deadline:
            (ident,) = messages.new_ids(1)
            line = messages.call(ident, text)
            begun = perf_counter()
            answer = links.exchange(link, line)
            took.append(perf_counter() - begun)
            messages.check_echo(answer, ident, text)
    return took


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """The benchmark's own collector must not show up in a contender's p99."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
