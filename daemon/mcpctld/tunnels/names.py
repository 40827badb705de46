"""Names behind a tunnel: asked of the resolver there, and kept as long as it allows.

An app's name (`APP.internal`) has the addresses of all its machines that run; `top1.nearest.of.APP.internal` has
the one that is nearest to the gateway, which is tried first. Names of one machine (`ID.vm.APP.internal`), of a region
(`REGION.APP.internal`), and those of Fly's proxy (`APP.flycast`) are asked for as they are.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from ipaddress import IPv6Address
from typing import NamedTuple

import trio

from mcpctld.errors import McpctlError, NotFound, PeerError
from mcpctld.protocols.inet.dns.message import Answer, Code, Kind

MAX_NAMES = 1024
MAX_TTL_S = 300.0
MIN_TTL_S = 1.0
"""What may not be kept at all would be asked for again by each of many who wait for the same answer."""
ABSENT_S = 2.0
"""What does not exist is asked for again after so long at most: a machine may be about to start."""
MAX_ADDRESSES = 16
"""Of one name, as many are tried."""

Ask = Callable[[str, Kind], Awaitable[Answer]]
"""Raises `Unreachable`, and `ValueError` for what is no name."""


class _Kept(NamedTuple):
    answer: Answer
    until: float


class Names:
    """Looks names up by `ask`. The same question is asked once, however many want to know."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._kept: OrderedDict[tuple[str, Kind], _Kept] = OrderedDict()
        self._asking: dict[tuple[str, Kind], trio.Event] = {}

    async def addresses(self, host: str) -> list[IPv6Address]:
        """Where a host is, the best first. Raises `NotFound`, `Unreachable`, `PeerError`."""
        name = host.rstrip(".").lower()
        nearest = await self._nearest(name)
        found = await self._records(name, Kind.AAAA)
        packed = dict.fromkeys((*nearest, *found))
        if not packed:
            raise NotFound(f"no such host behind the tunnel: {host}; {_advice(name)}")
        return [IPv6Address(one) for one in packed][:MAX_ADDRESSES]

    async def texts(self, name: str) -> list[str]:
        """The texts of a name, as of `_apps.internal`. Raises as `addresses`, but finds nothing without an error."""
        records = await self._records(name.rstrip(".").lower(), Kind.TXT)
        return [record.decode("utf-8", "replace") for record in records]

    def forget(self) -> None:
        """The network is another one."""
        self._kept.clear()

    async def _nearest(self, name: str) -> tuple[bytes, ...]:
        """The nearest machine of an app; nothing for other names, and where the resolver does not tell."""
        app, _, rest = name.partition(".")
        if rest != "internal" or app.startswith("_"):
            return ()  # noqa: ASYNC910  (what comes next waits)
        try:
            return await self._records(f"top1.nearest.of.{name}", Kind.AAAA)
        except McpctlError:
            return ()  # noqa: ASYNC910  (the question has waited)

    async def _records(self, name: str, kind: Kind) -> tuple[bytes, ...]:
        answer = await self._answer(name, kind)
        if answer.code not in (Code.NO_ERROR, Code.NO_SUCH_NAME):
            raise PeerError(f"cannot look up {name}: the resolver answered with code {answer.code}")
        return answer.records

    async def _answer(self, name: str, kind: Kind) -> Answer:
        await trio.lowlevel.checkpoint()
        question = name, kind
        while question in self._asking:
            await self._asking[question].wait()
        kept = self._kept.get(question)
        if kept is not None and kept.until > trio.current_time():
            return kept.answer
        done = self._asking[question] = trio.Event()
        try:
            answer = await self._ask(name, kind)
        except ValueError as exc:
            raise NotFound(f"no such host behind the tunnel: {exc}") from exc
        finally:
            del self._asking[question]
            done.set()
        self._keep(question, answer)
        return answer

    def _keep(self, question: tuple[str, Kind], answer: Answer) -> None:
        bound = MAX_TTL_S if answer.exists else ABSENT_S
        lifetime = min(max(answer.ttl, MIN_TTL_S), bound)
        self._kept[question] = _Kept(answer, trio.current_time() + lifetime)
        self._kept.move_to_end(question)
        while len(self._kept) > MAX_NAMES:
            self._kept.popitem(last=False)


def _advice(name: str) -> str:
    if name.endswith(".internal"):
        return "of an app, only machines that run have names; APP.flycast wakes them"
    if name.endswith(".flycast"):
        return "the app needs a private address: fly ips allocate-v6 --private"
    return "check the URL"
