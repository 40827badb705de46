"""What is in force: the newest good version of every server and of the settings."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import trio

from mcpctl.shapes import ConfigError
from mcpctld.config import places
from mcpctld.config.adhoc import adhoc_server
from mcpctld.config.check import nearest
from mcpctld.config.load import Loaded, load_folder
from mcpctld.errors import McpctlError, NotFound, UserError
from mcpctld.model import Server, Settings

_NAMES_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Reloaded:
    """What a reload changed: names of servers, sorted."""

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    settings_changed: bool = False
    errors_changed: bool = False

    def __bool__(self) -> bool:
        return self != Reloaded()


class ServerStore:
    """The servers and settings of one configuration folder; empty until the first `reload`."""

    def __init__(self, config_dir: str) -> None:
        self._config_dir = config_dir
        self._servers: dict[str, Server] = {}
        self._settings = Settings()
        self._errors: list[ConfigError] = []
        self._lock = trio.Lock()

    @property
    def servers(self) -> Mapping[str, Server]:
        """The servers in force by name, sorted; a view."""
        return MappingProxyType(self._servers)

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self._settings

    @property
    def errors(self) -> list[ConfigError]:
        """The files that could not be used at the newest reload."""
        return list(self._errors)

    async def reload(self) -> Reloaded:
        """Read the folder anew, in a thread. Whatever is broken keeps its last good version."""
        async with self._lock:
            loaded = await trio.to_thread.run_sync(load_folder, self._config_dir)
            return self._take(loaded)

    def get(self, name: str) -> Server:
        """The server `name`; raises `NotFound` with what was probably meant.

        Raises `UserError` when it has a file that could never be used.
        """
        try:
            return self._servers[name]
        except KeyError:
            raise self._unknown(name) from None

    def adhoc(self, fields: Iterable[tuple[str, str]]) -> Server:
        """The server that a greeting without a name describes; raises `UserError`."""
        return adhoc_server(fields)

    def _take(self, loaded: Loaded) -> Reloaded:
        old, errors = self._servers, self._errors
        kept = {n: s for n, s in old.items() if n in loaded.broken or not loaded.complete}
        new = dict(sorted({**kept, **loaded.servers}.items()))
        settings = loaded.settings or self._settings
        reloaded = Reloaded(
            added=tuple(name for name in new if name not in old),
            changed=tuple(name for name in new if name in old and new[name] != old[name]),
            removed=tuple(name for name in old if name not in new),
            settings_changed=settings != self._settings,
            errors_changed=loaded.errors != errors,
        )
        self._servers, self._settings, self._errors = new, settings, loaded.errors
        return reloaded

    def _unknown(self, name: str) -> McpctlError:
        path = places.server_file(self._config_dir, name)
        for error in self._errors:
            if error["file"] == path:
                return UserError(f"cannot use the server {name!r}: {path}: {error['message']}")
        meant = nearest(name, self._servers)
        hint = f"did you mean {meant!r}? " if meant else ""
        return NotFound(
            f"cannot find a server named {name!r}: {hint}{self._known()}; "
            "add one with: mcpctl add --server NAME --url URL"
        )

    def _known(self) -> str:
        names = list(self._servers)
        if not names:
            return f"there are none in {os.path.join(self._config_dir, places.SERVERS)}"
        more = len(names) - _NAMES_SHOWN
        shown = ", ".join(names[:_NAMES_SHOWN])
        return f"known: {shown}" + (f" and {more} more" if more > 0 else "")
