"""`mcpctld.tunnels.names` and `eyeballs`, in virtual time."""

from ipaddress import IPv6Address

import pytest
import trio

from mcpctld.errors import NotFound, PeerError, Unreachable
from mcpctld.protocols.inet.dns.message import Answer, Code, Kind
from mcpctld.tunnels import names
from mcpctld.tunnels.eyeballs import ATTEMPT_DELAY_S, connect_first
from mcpctld.tunnels.names import ABSENT_S, Names

A, B, C = (IPv6Address(f"fdaa::{number}") for number in (1, 2, 3))


class Resolver:
    def __init__(self, **answers) -> None:
        self.answers = answers
        self.asked: list[str] = []

    async def ask(self, name: str, kind: Kind) -> Answer:
        self.asked.append(name)
        await trio.sleep(0.02)
        found = self.answers.get(name, Answer(Code.NO_SUCH_NAME))
        if isinstance(found, Exception):
            raise found
        return found


def of(*addresses: IPv6Address, ttl: int = 5) -> Answer:
    return Answer(Code.NO_ERROR, tuple(address.packed for address in addresses), ttl)


async def test_the_nearest_machine_comes_first(autojump_clock):
    resolver = Resolver(
        **{"app.internal": of(A, B, C), "top1.nearest.of.app.internal": of(B)},
    )
    assert await Names(resolver.ask).addresses("App.Internal.") == [B, A, C]


@pytest.mark.parametrize(
    "trouble", [Answer(Code.NO_SUCH_NAME), Answer(Code.SERVER_FAILURE), Unreachable("no answer")]
)
async def test_a_resolver_that_does_not_know_which_is_nearest(autojump_clock, trouble):
    resolver = Resolver(**{"app.internal": of(A), "top1.nearest.of.app.internal": trouble})
    assert await Names(resolver.ask).addresses("app.internal") == [A]


@pytest.mark.parametrize(
    "name",
    ["d8d9.vm.app.internal", "ams.app.internal", "app.flycast", "_api.internal", "h.home.arpa"],
)
async def test_other_names_are_asked_for_as_they_are(autojump_clock, name):
    resolver = Resolver(**{name: of(A)})
    assert await Names(resolver.ask).addresses(name) == [A]
    assert resolver.asked == [name]


async def test_answers_are_kept_for_their_lifetime(autojump_clock):
    resolver = Resolver(**{"app.flycast": of(A, ttl=5)})
    found = Names(resolver.ask)
    for pause, times in ((0, 1), (4.9, 1), (0.2, 2)):
        await trio.sleep(pause)
        assert await found.addresses("app.flycast") == [A]
        assert len(resolver.asked) == times
    found.forget()
    await found.addresses("app.flycast")
    assert len(resolver.asked) == 3


async def test_absence_is_kept_for_a_moment(autojump_clock):
    resolver = Resolver(**{"app.flycast": Answer(Code.NO_SUCH_NAME, ttl=3600)})
    found = Names(resolver.ask)
    for _ in range(2):
        with pytest.raises(NotFound, match="needs a private address"):
            await found.addresses("app.flycast")
    assert len(resolver.asked) == 1
    await trio.sleep(ABSENT_S)
    resolver.answers["app.flycast"] = of(A)
    assert await found.addresses("app.flycast") == [A]


async def test_many_who_ask_at_once_ask_once(autojump_clock):
    resolver = Resolver(**{"app.flycast": of(A, ttl=0)})
    found = Names(resolver.ask)
    async with trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(found.addresses, "app.flycast")
    assert len(resolver.asked) == 1


async def test_who_gives_up_leaves_the_others_an_answer(autojump_clock):
    resolver = Resolver(**{"app.flycast": of(A)})
    found, got = Names(resolver.ask), []

    async def ask() -> None:
        got.append(await found.addresses("app.flycast"))

    async with trio.open_nursery() as nursery:
        with trio.move_on_after(0.01):
            nursery.start_soon(ask)
            await found.addresses("app.flycast")
    assert got == [[A]]


async def test_what_is_kept_is_bounded(autojump_clock, monkeypatch):
    monkeypatch.setattr(names, "MAX_NAMES", 3)
    resolver = Resolver(**{f"{number}.flycast": of(A) for number in range(5)})
    found = Names(resolver.ask)
    for number in range(5):
        await found.addresses(f"{number}.flycast")
    assert len(found._kept) == 3


async def test_errors(autojump_clock):
    resolver = Resolver(
        **{
            "a.internal": Unreachable("no answer"),
            "b.internal": Answer(Code.REFUSED),
            "c d.internal": ValueError("not a host name"),
        }
    )
    found = Names(resolver.ask)
    for name, error, words in (
        ("a.internal", Unreachable, "no answer"),
        ("b.internal", PeerError, "code 5"),
        ("c d.internal", NotFound, "not a host name"),
        ("e.internal", NotFound, "only machines that run"),
        ("e.home.arpa", NotFound, "check the URL"),
    ):
        with pytest.raises(error, match=words):
            await found.addresses(name)


async def test_texts(autojump_clock):
    resolver = Resolver(**{"_apps.internal": Answer(Code.NO_ERROR, (b"one,two",), 5)})
    found = Names(resolver.ask)
    assert await found.texts("_apps.internal") == ["one,two"]
    assert await found.texts("_none.internal") == []


# ---------------------------------------------------------------- several addresses


class Streams:
    """What connecting to each address leads to, and after how long."""

    def __init__(self, **how) -> None:
        self.how = {IPv6Address(f"fdaa::{key[1:]}"): value for key, value in how.items()}
        self.tried: list[tuple[IPv6Address, float]] = []
        self.cancelled: list[IPv6Address] = []

    async def connect(self, address: IPv6Address):
        self.tried.append((address, round(trio.current_time(), 3)))
        after, result = self.how[address]
        try:
            await trio.sleep(after)
        except trio.Cancelled:
            self.cancelled.append(address)
            raise
        if isinstance(result, Exception):
            raise result
        return result


async def test_the_first_that_answers_is_taken(autojump_clock):
    streams = Streams(_1=(10, "one"), _2=(0.1, "two"), _3=(0, "three"))
    assert await connect_first([A, B, C], streams.connect) == "two"
    assert streams.tried == [(A, 0), (B, ATTEMPT_DELAY_S)]
    assert streams.cancelled == [A]


async def test_a_refusal_does_not_cost_the_pause(autojump_clock):
    streams = Streams(_1=(0.02, Unreachable("refused")), _2=(0.02, "two"))
    assert await connect_first([A, B], streams.connect) == "two"
    assert streams.tried == [(A, 0), (B, 0.02)]


async def test_all_fail(autojump_clock):
    streams = Streams(_1=(0.5, Unreachable("first")), _2=(0.02, Unreachable("second")))
    with pytest.raises(Unreachable, match="first"):
        await connect_first([A, B], streams.connect)
    with pytest.raises(Unreachable, match="no address"):
        await connect_first([], streams.connect)
