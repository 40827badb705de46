"""Where this computer's Fly says that it is: `localfly.json`, for those who may talk to it."""

import fcntl
import os

import msgspec

from mcpctl import wire
from mcpctld.config.files import read_regular, write_private
from mcpctld.errors import Conflict

NAME = "localfly.json"
PORTS = "ports.json"


class Place(msgspec.Struct, kw_only=True):
    """URLs without a slash at the end."""

    pid: int
    api: str
    edge: str
    token: str
    version: str = wire.VERSION

    def __repr__(self) -> str:  # the token is a secret
        return f"<Place {self.api}>"


class Ports(msgspec.Struct, kw_only=True):
    """Those of last time: URLs of servers have the edge's in them. 0 for none yet."""

    api: int = 0
    edge: int = 0


def default_folder() -> str:
    """Where state is kept unless somebody says otherwise."""
    return f"{wire.state_dir()}/localfly"


def take(folder: str) -> int:
    """Make the folder ours until the descriptor is closed. Raises `Conflict` when another one has it."""
    os.makedirs(folder, mode=0o700, exist_ok=True)
    descriptor = os.open(f"{folder}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        os.close(descriptor)
        raise Conflict(f"another localfly runs in {folder}; stop it first") from exc
    return descriptor


def tell(folder: str, place: Place) -> None:
    """Write the place file."""
    write_private(f"{folder}/{NAME}", msgspec.json.encode(place))


def withdraw(folder: str) -> None:
    """It is not there any more."""
    try:
        os.unlink(f"{folder}/{NAME}")
    except OSError:
        pass


def last_ports(folder: str) -> Ports:
    """The ports of last time."""
    found = read_regular(f"{folder}/{PORTS}")
    try:
        return msgspec.json.decode(found.data, type=Ports) if found else Ports()
    except msgspec.DecodeError:
        return Ports()


def keep_ports(folder: str, ports: Ports) -> None:
    """For next time."""
    write_private(f"{folder}/{PORTS}", msgspec.json.encode(ports))
