"""The way to one peer: its carriers, and which of them is used.

While no session has come over one of them, they race: a handshake goes over all that are up, and the carrier that the
answer comes by is chosen. One that is not needed is let go. A handshake that gets no answer begins the race again, for
a carrier may die without a word.
"""

import logging
from collections.abc import Callable, Mapping, Sequence

import trio

from mcpctld.drivers.carriers.carrier import Carrier, Kind, Opener
from mcpctld.errors import McpctlError
from mcpctld.protocols.wireguard.addresses import Address
from mcpctld.protocols.wireguard.messages import INITIATION, kind_of

HEAD_START_S = 0.5
"""For so long the first carrier is alone in the race."""
RESEND_S = 1.0
"""An initiation that may have got lost is sent again, the same one: the protocol makes a new one after 5 s only."""
MAX_RESENDS = 4
DOUBTED_AFTER = 1
"""So many have been sent again in vain by then, and the carrier that was chosen may be dead."""
FIRST_BACKOFF_S = 0.25
LAST_BACKOFF_S = 5.0

_log = logging.getLogger("mcpctld.tunnels")

Receive = Callable[["Path", Kind, list[bytes]], None]


class Path:
    """To the peer whose endpoint is `address`, by what `openers` make: in the order in which they are tried."""

    def __init__(
        self,
        address: Address,
        openers: Mapping[Kind, Opener],
        receive: Receive,
        opened: Callable[["Path"], None],
    ) -> None:
        """`receive` is given what comes, and how; `opened` is told when there is a carrier that is new."""
        self.address = address
        self.chosen: Kind | None = None
        """The carrier by which the last session came; None while there is a race."""
        self.trouble = ""
        """Why the last carrier could not be made, or ended; empty once one is up."""
        self._openers = openers
        self._receive = receive
        self._opened = opened
        self._up: dict[Kind, Carrier] = {}
        self._wanted = {kind: trio.Event() for kind in openers}
        self._scopes: dict[Kind, trio.CancelScope] = {}
        self._initiation = b""
        self._tries = 0
        self._unanswered = trio.Event()

    # ------------------------------------------------------------ what the link calls

    def send(self, datagrams: Sequence[bytes]) -> None:
        """Send datagrams of the device's to this peer."""
        for datagram in datagrams:
            if kind_of(datagram) == INITIATION:
                self._begin(datagram)
        for carrier in self._targets():
            carrier.send(datagrams)

    def settle(self, kind: Kind) -> None:
        """A session has come by this carrier: the race is over."""
        self.chosen = kind
        self._initiation, self._tries = b"", 0
        if self._unanswered.is_set():  # else somebody waits for it
            self._unanswered = trio.Event()
        for other in self._openers:
            if other != kind:
                self._release(other)

    def race(self) -> None:
        """Nobody answers there: try all carriers again."""
        self.chosen = None

    def renew(self) -> None:
        """The network is another one: make the carriers anew, and let them race."""
        self.chosen, self._tries = None, 0
        for kind in self._openers:
            self._release(kind)
        self._wanted[next(iter(self._openers))].set()

    async def run(self) -> None:
        """Keep up what is wanted, for ever."""
        self._wanted[next(iter(self._openers))].set()
        async with trio.open_nursery() as nursery:
            for kind in self._openers:
                nursery.start_soon(self._keep, kind)
            nursery.start_soon(self._press)

    @property
    def up(self) -> list[Kind]:
        """The carriers that are there."""
        return list(self._up)

    # ------------------------------------------------------------ the race

    def _begin(self, initiation: bytes) -> None:
        self._initiation = initiation
        self._tries += 1
        self._unanswered.set()

    def _targets(self) -> list[Carrier]:
        """Where a datagram goes to.

        What comes over two carriers is read once, and answered by the first. If that one carries one way only, all the
        answers get lost; so every other time it is left out.
        """
        if self.chosen is not None:
            return [self._up[self.chosen]] if self.chosen in self._up else []
        carriers = list(self._up.values())
        return carriers[-1:] if self._tries % 2 == 0 and self._tries else carriers

    async def _press(self) -> None:
        while True:
            await self._unanswered.wait()
            initiation = self._initiation
            await trio.sleep(HEAD_START_S)
            if self._initiation:
                self._want_all()
            for number in range(MAX_RESENDS):
                await trio.sleep(RESEND_S)
                if self._initiation != initiation:
                    break
                if number == DOUBTED_AFTER:
                    self.race()
                    self._want_all()
                self._resend()
            else:
                self._rest(initiation)

    def _rest(self, initiation: bytes) -> None:
        """Enough of this one: wait for the next."""
        if self._initiation == initiation:
            self._unanswered = trio.Event()

    def _resend(self) -> None:
        for carrier in self._targets():
            carrier.send([self._initiation])

    def _want_all(self) -> None:
        for kind, wanted in self._wanted.items():
            if self.chosen is None or kind == self.chosen:
                wanted.set()

    # ------------------------------------------------------------ one carrier

    def _release(self, kind: Kind) -> None:
        """It is not needed, until it is wanted again."""
        if self._wanted[kind].is_set():  # else somebody waits for it
            self._wanted[kind] = trio.Event()
        self._up.pop(kind, None)
        if (scope := self._scopes.get(kind)) is not None:
            scope.cancel()

    async def _keep(self, kind: Kind) -> None:
        backoff = FIRST_BACKOFF_S
        while True:
            await self._wanted[kind].wait()
            with trio.CancelScope() as scope:
                self._scopes[kind] = scope
                try:
                    await self._carry(kind)
                except McpctlError as exc:
                    self._note(kind, exc)
            if scope.cancelled_caught:
                backoff = FIRST_BACKOFF_S
                continue
            with trio.CancelScope() as self._scopes[kind]:  # `renew` cuts the pause short
                await trio.sleep(backoff)
            backoff = min(backoff * 2, LAST_BACKOFF_S)

    def _note(self, kind: Kind, exc: McpctlError) -> None:
        if str(exc) != self.trouble:
            _log.info("tunnel.carrier_lost", extra={"carrier": kind, "error": str(exc)})
        self.trouble = str(exc)

    async def _carry(self, kind: Kind) -> None:
        carrier = await self._openers[kind]()
        self._up[kind] = carrier
        self.trouble = ""
        if self._initiation:
            carrier.send([self._initiation])
        else:
            self._opened(self)
        try:
            await carrier.run(lambda came: self._receive(self, kind, came))
        finally:
            if self._up.get(kind) is carrier:
                del self._up[kind]
