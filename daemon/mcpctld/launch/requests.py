"""What the operations of the program are asked: one JSON object on stdin."""

from typing import Any, Literal, TypeVar

import msgspec

from mcpctld.errors import UserError
from mcpctld.launch.wish import Wish

T = TypeVar("T")


class LaunchRequest(msgspec.Struct, frozen=True, kw_only=True):
    """`launch`. With `keep` what has failed is left as it is, to be looked at."""

    wish: Wish
    keep: bool = False


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A server that was launched. What is not said is known from the record of its launch."""

    server: str
    app: str | None = None
    machine: str | None = None
    at: Literal["fly.io", "local"] = "fly.io"


class LogsRequest(Target, frozen=True, kw_only=True):
    """`logs`; with `tail` it goes on until it is stopped."""

    tail: bool = True


class UpdateRequest(Target, frozen=True, kw_only=True):
    """`update`: the members of the wish that change."""

    wish: dict[str, Any] = {}


class ScaleRequest(Target, frozen=True, kw_only=True):
    """`scale`"""

    vm_size: str | None = None
    vm_cpus: int | None = None
    vm_cpu_kind: str | None = None
    vm_memory: str | None = None


class SecretsRequest(Target, frozen=True, kw_only=True):
    """`secrets`: values to set, names to delete; neither lists them."""

    set: dict[str, str] = {}
    unset: list[str] = []

    def __repr__(self) -> str:
        return f"<SecretsRequest for {self.server}>"


def read_request(data: bytes, kind: type[T]) -> T:
    """The request. Raises `UserError`, which quotes nothing of it."""
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        wrong = str(exc) if isinstance(exc, msgspec.ValidationError) else "it is no JSON"
        raise UserError(f"cannot read the request on stdin: {wrong}") from None
