"""One request to the API, as those see it that answer it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from mcpctld.localfly.errors import ApiError, Style, not_found
from mcpctld.localfly.machines import Effect, Life, Machine
from mcpctld.localfly.shapes import without_null
from mcpctld.localfly.state import App, Volume, World
from mcpctld.localfly.supervisor import Supervisor

NONCE_HEADER = "fly-machine-lease-nonce"

Body = TypeVar("Body")


@dataclass(slots=True)
class Call:
    """`params` are out of the path, `query` has every value of a name."""

    supervisor: Supervisor
    params: dict[str, str]
    query: dict[str, list[str]]
    nonce: str | None
    body: bytes = field(repr=False)

    @property
    def world(self) -> World:
        """All apps."""
        return self.supervisor.world

    @property
    def now(self) -> float:
        """Unix time in seconds."""
        return self.supervisor.now()

    def app(self) -> App:
        """The app that the path names. Raises 404."""
        found = self.world.apps.get(self.params["app"])
        if found is None:
            raise not_found("app", self.params["app"])
        return found

    def machine(self) -> tuple[App, Machine, Life]:
        """The machine that the path names, in its app. Raises 404."""
        app = self.app()
        machine = app.machines.get(self.params["machine"])
        if machine is None:
            raise not_found("machine", self.params["machine"])
        return app, machine, self.supervisor.life(machine)

    def changeable(self, action: str) -> tuple[App, Machine, Life]:
        """The machine, if this request may change it. Raises 404, 409 and 429."""
        app, machine, life = self.machine()
        self.supervisor.count(f"{action}-machine", machine.id)
        life.check_lease(self.now, self.nonce)
        return app, machine, life

    def act(self, app: App, machine: Machine, effect: Effect) -> None:
        """What is to happen to a machine now."""
        self.supervisor.act(app, machine, effect)

    def volume(self) -> tuple[App, Volume]:
        """The volume that the path names. Raises 404."""
        app = self.app()
        volume = app.volumes.get(self.params["volume"])
        if volume is None:
            raise not_found("volume", self.params["volume"])
        return app, volume

    def first(self, name: str, default: str = "") -> str:
        """A value of the query."""
        return self.query.get(name, [default])[0]

    def number(self, name: str, default: int, low: int, high: int) -> int:
        """A number of the query, put within bounds. Raises 400."""
        text = self.first(name)
        if not text:
            return default
        try:
            return min(max(int(float(text)), low), high)
        except (ValueError, OverflowError):
            raise ApiError(400, f"invalid_argument: {name}={text} is no number") from None

    def flag(self, name: str) -> bool:
        """Whether a flag of the query is set."""
        return self.first(name).lower() in ("1", "t", "true")

    def listed(self, name: str) -> list[str]:
        """All values of a name, those with commas taken apart."""
        return [part for value in self.query.get(name, ()) for part in value.split(",") if part]

    def read(self, kind: type[Body], *, keep_null: bool = False) -> Body:
        """The body; an empty one is an empty object. Raises 400."""
        try:
            value = msgspec.json.decode(self.body or b"{}")
            return msgspec.convert(value if keep_null else without_null(value), kind)
        except (msgspec.DecodeError, RecursionError) as exc:
            raise ApiError(400, f"invalid_argument: unable to decode the request: {exc}") from exc


Result = tuple[int, Any]
"""A status, and what is sent as JSON; None for an empty body."""
Handler = Callable[[Call], Awaitable[Result]]


@dataclass(frozen=True, slots=True)
class Route:
    """`path` has its parameters in braces. `style`: how it refuses a token; `open`: it asks for none."""

    method: str
    path: str
    handler: Handler
    style: Style = "error"
    open: bool = False


OK: Result = (200, {"ok": True})
