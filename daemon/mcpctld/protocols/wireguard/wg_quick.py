"""Configuration files of `wg-quick` (its manual page, and `wg(8)`, "CONFIGURATION FILE FORMAT"): text to settings.

Nothing in a file is ever executed: hooks like `PostUp`, and what only matters to an interface of the system, are passed
over and named in `ignored`. Everything else that is not understood is an error, with its line.
"""

import difflib
import re
from collections.abc import Callable, Iterator
from typing import TypeVar

import msgspec

from mcpctld.errors import UserError
from mcpctld.protocols.wireguard import wg_quick_values
from mcpctld.protocols.wireguard.addresses import Address
from mcpctld.protocols.wireguard.allowed_ips import Network
from mcpctld.protocols.wireguard.keys import (
    NO_PRESHARED_KEY,
    PresharedKey,
    PrivateKey,
    decode_key,
)
from mcpctld.protocols.wireguard.peer import PeerSpec

_V = TypeVar("_V")

_HOOKS = ("PreUp", "PostUp", "PreDown", "PostDown")
_OF_THE_SYSTEM = ("ListenPort", "FwMark", "Table", "SaveConfig")
_WORD = re.compile(r"[A-Za-z]{1,24}")


class PeerSettings(msgspec.Struct, frozen=True):
    """One `[Peer]`."""

    public_key: bytes
    preshared_key: PresharedKey = NO_PRESHARED_KEY
    allowed_ips: tuple[Network, ...] = ()
    endpoint: tuple[str, int] | None = None
    """Host, a name perhaps, and port."""
    persistent_keepalive: int | None = None
    """Seconds."""

    def spec(self, endpoint: Address | None) -> PeerSpec:
        """For a `Device`, with the endpoint that the host was resolved to."""
        return PeerSpec(
            public_key=self.public_key,
            allowed_ips=self.allowed_ips,
            preshared_key=self.preshared_key,
            endpoint=endpoint,
            persistent_keepalive=self.persistent_keepalive,
        )


class TunnelSettings(msgspec.Struct, frozen=True):
    """A file."""

    private_key: PrivateKey
    addresses: tuple[wg_quick_values.Interface, ...]
    peers: tuple[PeerSettings, ...]
    dns: tuple[wg_quick_values.IpAddress, ...] = ()
    search: tuple[str, ...] = ()
    """Domains that names are looked for in; `DNS` lists them beside the servers."""
    mtu: int | None = None
    ignored: tuple[str, ...] = ()
    """What was passed over, each for the user: `line 7: PostUp is not executed`."""


class _Line(msgspec.Struct, frozen=True):
    """`key = value`, with the number of the line."""

    number: int
    key: str
    value: str

    def __repr__(self) -> str:  # the value may be a key
        return f"<_Line {self.number}: {self.key}>"


class _Section(msgspec.Struct, frozen=True):
    number: int
    name: str
    lines: list[_Line]


def parse(text: str, name: str) -> TunnelSettings:
    """The settings of a file called `name`. Raises `UserError`, which says what is wrong and in which line."""
    try:
        return _read_file(_sections(text))
    except _Wrong as exc:
        where = f"line {exc.number}: " if exc.number else ""
        raise UserError(f"cannot read {name}: {where}{exc}") from None


class _Wrong(Exception):
    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.number = number


# ---------------------------------------------------------------- lines


def _sections(text: str) -> list[_Section]:
    sections: list[_Section] = []
    for number, raw in enumerate(text.removeprefix("\ufeff").splitlines(), 1):
        line = raw.partition("#")[0].strip()
        if line.startswith("["):
            sections.append(_Section(number, _section_name(number, line), []))
        elif line:
            if not sections:
                raise _Wrong(number, "there is nothing before the first section, [Interface]")
            sections[-1].lines.append(_key_and_value(number, line, sections[-1].name))
    return sections


def _section_name(number: int, line: str) -> str:
    name = line.strip("[]").strip().capitalize()
    if name not in _KEYS or not line.endswith("]"):
        raise _Wrong(number, "a section is [Interface] or [Peer]")
    return name


def _key_and_value(number: int, line: str, section: str) -> _Line:
    key, equals, value = (part.strip() for part in line.partition("="))
    if not equals:
        raise _Wrong(number, "write NAME = VALUE")
    known = {word.casefold(): word for word in _KEYS[section]}
    if key.casefold() not in known:
        raise _Wrong(number, _unknown(key, section, known))
    return _Line(number, known[key.casefold()], value)


def _unknown(key: str, section: str, known: dict[str, str]) -> str:
    for other, words in _KEYS.items():
        if other != section and key.casefold() in (word.casefold() for word in words):
            return f"{key} belongs to [{other}], not to [{section}]"
    if not _WORD.fullmatch(key):  # a secret perhaps, in the wrong place
        return f"this is nothing that [{section}] has"
    near = difflib.get_close_matches(key.casefold(), known, n=1)
    meant = f"; did you mean {known[near[0]]}?" if near else ""
    return f"[{section}] has no {key!r}{meant}"


# ---------------------------------------------------------------- sections


def _read_file(sections: list[_Section]) -> TunnelSettings:
    interfaces = [section for section in sections if section.name == "Interface"]
    if len(interfaces) != 1:
        number = interfaces[1].number if interfaces else 0
        raise _Wrong(number, "write exactly one [Interface]")
    peers = tuple(_read_peer(section) for section in sections if section.name == "Peer")
    if not peers:
        raise _Wrong(0, "there is no [Peer] to connect to")
    _reject_twins(sections)
    return _read_interface(interfaces[0], peers)


def _reject_twins(sections: list[_Section]) -> None:
    """The same peer twice would be one of them without the other's settings."""
    seen: set[str] = set()
    for line in (line for section in sections for line in section.lines if line.key == "PublicKey"):
        if line.value in seen:
            raise _Wrong(line.number, "this peer stands here already")
        seen.add(line.value)


def _read_interface(section: _Section, peers: tuple[PeerSettings, ...]) -> TunnelSettings:
    values = _Values(section)
    key = values.required("PrivateKey", PrivateKey.from_text)
    if any(peer.public_key == key.public for peer in peers):
        raise _Wrong(
            section.number, "a peer has the public key of this PrivateKey; give the other side's"
        )
    addresses = tuple(values.each("Address", wg_quick_values.interface))
    if not addresses:
        raise _Wrong(section.number, "[Interface] has no Address")
    servers = tuple(values.each("DNS", wg_quick_values.dns))
    return TunnelSettings(
        private_key=key,
        addresses=addresses,
        peers=peers,
        dns=tuple(one for one in servers if not isinstance(one, str)),
        search=tuple(one for one in servers if isinstance(one, str)),
        mtu=values.optional("MTU", wg_quick_values.mtu),
        ignored=tuple(_ignored(section)),
    )


def _read_peer(section: _Section) -> PeerSettings:
    values = _Values(section)
    return PeerSettings(
        public_key=values.required("PublicKey", decode_key),
        preshared_key=values.optional("PresharedKey", PresharedKey.from_text) or NO_PRESHARED_KEY,
        allowed_ips=tuple(values.each("AllowedIPs", wg_quick_values.network)),
        endpoint=values.optional("Endpoint", wg_quick_values.endpoint),
        persistent_keepalive=values.optional("PersistentKeepalive", wg_quick_values.seconds),
    )


def _ignored(section: _Section) -> Iterator[str]:
    for line in section.lines:
        if line.key in _HOOKS:
            yield f"line {line.number}: {line.key} is not executed"
        elif line.key in _OF_THE_SYSTEM:
            yield f"line {line.number}: {line.key} is for interfaces of the system"


# ---------------------------------------------------------------- values


class _Values:
    """The lines of a section by key; what a reader refuses with `ValueError` is an error of its line."""

    def __init__(self, section: _Section) -> None:
        self._section = section

    def each(self, key: str, read: Callable[[str], _V]) -> Iterator[_V]:
        """Of a key that takes several, after commas or in several lines."""
        for line in self._lines(key):
            for value in filter(None, (part.strip() for part in line.value.split(","))):
                yield self._read(line, value, read)

    def optional(self, key: str, read: Callable[[str], _V]) -> _V | None:
        """Of a key that may stand once."""
        lines = self._lines(key)
        if len(lines) > 1:
            raise _Wrong(lines[1].number, f"{key} is given twice")
        return self._read(lines[0], lines[0].value, read) if lines else None

    def required(self, key: str, read: Callable[[str], _V]) -> _V:
        """Of a key that must stand once."""
        value = self.optional(key, read)
        if value is None:
            raise _Wrong(self._section.number, f"[{self._section.name}] has no {key}")
        return value

    def _lines(self, key: str) -> list[_Line]:
        return [line for line in self._section.lines if line.key == key]

    def _read(self, line: _Line, value: str, read: Callable[[str], _V]) -> _V:
        try:
            return read(value)
        except ValueError as exc:
            raise _Wrong(line.number, f"{line.key}: {exc}") from None


_KEYS = {
    "Interface": ("PrivateKey", "Address", "DNS", "MTU", *_HOOKS, *_OF_THE_SYSTEM),
    "Peer": ("PublicKey", "PresharedKey", "AllowedIPs", "Endpoint", "PersistentKeepalive"),
}
