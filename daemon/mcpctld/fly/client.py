"""One Fly, by its nouns."""

import random
import ssl
from collections.abc import Callable
from types import TracebackType
from typing import Self

from mcpctld.fly.addresses import Addresses
from mcpctld.fly.apps import Apps
from mcpctld.fly.endpoints import Endpoints
from mcpctld.fly.graphql import GraphQL
from mcpctld.fly.http import Wire
from mcpctld.fly.leases import Leases
from mcpctld.fly.limits import Limits
from mcpctld.fly.logs import Logs
from mcpctld.fly.machines import Machines
from mcpctld.fly.platform import Platform
from mcpctld.fly.secrets import Secrets
from mcpctld.fly.volumes import Volumes


class Fly:
    """A client of one Fly. `async with` closes its connections; httpx is loaded with the first request.

    `limits` may be shared by several clients of one process. With `patient` false nothing is made again: who plans
    requests itself wants to hear of each failure. `context` makes the TLS context when it is needed.
    """

    def __init__(
        self,
        endpoints: Endpoints,
        *,
        agent: str = "mcpctl",
        context: Callable[[], ssl.SSLContext] = ssl.create_default_context,
        limits: Limits | None = None,
        patient: bool = True,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._wire = Wire(
            endpoints, agent=agent, context=context, limits=limits, patient=patient, jitter=jitter
        )
        self.endpoints = endpoints
        self.limits = self._wire.limits
        self.apps = Apps(self._wire)
        self.machines = Machines(self._wire)
        self.leases = Leases(self._wire)
        self.volumes = Volumes(self._wire)
        self.secrets = Secrets(self._wire)
        self.addresses = Addresses(self._wire)
        self.platform = Platform(self._wire)
        self.graphql = GraphQL(self._wire)
        self.logs = Logs(self._wire)

    async def __aenter__(self) -> Self:
        await self._wire.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._wire.__aexit__(kind, value, traceback)
