"""Apps, machines, volumes and addresses as they are kept, and how they are written to disk.

Each app has a folder: `app.json` has everything but the values of secrets, which are in `secrets.json`. Both are
replaced whole, mode 0600, before a request that changed them is answered.
"""

import os
import shutil
from typing import Any, TypeVar

import msgspec
import trio

from mcpctld.config.files import read_regular, write_private
from mcpctld.errors import UserError
from mcpctld.localfly.machines import Machine

MOST_STATE_BYTES = 64 * 1024 * 1024
ORG = "personal"

Kept = TypeVar("Kept")


class Address(msgspec.Struct, kw_only=True):
    """`kind`: `v4`, `v6`, `shared_v4`, `private_v6`."""

    ip: str
    kind: str
    region: str = "global"
    network: str = ""
    created_at: float


class Volume(msgspec.Struct, kw_only=True):
    """Its content is a folder of its own."""

    id: str
    name: str
    region: str
    size_gb: int
    encrypted: bool = True
    fstype: str = "ext4"
    snapshot_retention: int = 5
    auto_backup_enabled: bool = True
    created_at: float
    snapshots: list[dict[str, Any]] = []


class Secret(msgspec.Struct, kw_only=True):
    """What may be told of a secret."""

    digest: str
    created_at: float
    updated_at: float


class App(msgspec.Struct, kw_only=True):
    """An app with all that belongs to it."""

    id: str
    name: str
    org: str = ORG
    network: str = "default"
    number: int
    created_at: float
    idempotency_key: str = ""
    secrets_version: int = 0
    secrets: dict[str, Secret] = {}
    machines: dict[str, Machine] = {}
    volumes: dict[str, Volume] = {}
    addresses: list[Address] = []

    @property
    def public(self) -> bool:
        """Whether everybody reaches it."""
        return any(each.kind in ("v4", "v6", "shared_v4") for each in self.addresses)

    @property
    def private(self) -> bool:
        """Whether the private network does."""
        return any(each.kind == "private_v6" for each in self.addresses)

    def attached(self, volume: str) -> Machine | None:
        """The machine that has a volume."""
        for machine in self.machines.values():
            if machine.state != "destroyed" and machine.volume == volume:
                return machine
        return None


class Values(msgspec.Struct, kw_only=True):
    """The values of secrets, in each version that somebody may still need."""

    versions: dict[int, dict[str, str]] = {}

    def __repr__(self) -> str:
        return f"<Values in {len(self.versions)} versions>"


class World:
    """Everything there is, and its folder."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.apps: dict[str, App] = {}
        self.values: dict[str, Values] = {}
        self._dirty: set[str] = set()
        self._writing = trio.Lock()
        self.changed = trio.Event()

    def load(self) -> None:
        """Read what an earlier process left. Blocking. Raises `UserError` for a file that makes no sense."""
        os.makedirs(f"{self.folder}/apps", mode=0o700, exist_ok=True)
        for name in sorted(os.listdir(f"{self.folder}/apps")):
            app = _read(f"{self.folder}/apps/{name}/app.json", App)
            if app is None:  # its making was cut off
                shutil.rmtree(self.app_folder(name), ignore_errors=True)
                continue
            self.apps[name] = app
            values = _read(f"{self.folder}/apps/{name}/secrets.json", Values)
            self.values[name] = values or Values()

    def app_folder(self, name: str) -> str:
        """Where an app's files are."""
        return f"{self.folder}/apps/{name}"

    def add(self, app: App) -> None:
        """A new one."""
        self.apps[app.name] = app
        self.values[app.name] = Values(versions={0: {}})
        self.touch(app.name)

    def remove(self, name: str) -> None:
        """Forget an app; its folder goes with the next `flush`."""
        self.apps.pop(name, None)
        self.values.pop(name, None)
        self.touch(name)

    def secret_values(self, app: str, version: int) -> dict[str, str]:
        """The secrets of a version; those of the newest when it is not kept any more."""
        versions = self.values[app].versions
        return versions.get(version) or versions.get(max(versions, default=0), {})

    def change_secrets(self, app: App, values: dict[str, str]) -> int:
        """A new set of secrets: its version. Sets that no machine runs with are dropped."""
        app.secrets_version += 1
        used = {machine.secrets_version for machine in app.machines.values()}
        versions = self.values[app.name].versions
        self.values[app.name].versions = {
            version: old for version, old in versions.items() if version in used
        } | {app.secrets_version: values}
        self.touch(app.name)
        return app.secrets_version

    def touch(self, app: str) -> None:
        """It has changed and is to be written."""
        self._dirty.add(app)
        self.changed.set()

    async def flush(self) -> None:
        """Write what has changed. Raises `UserError` when the disk does not take it."""
        async with self._writing:
            dirty, self._dirty = self._dirty, set()
            self.changed = trio.Event()
            for name in sorted(dirty):
                try:
                    await self._write(name)
                except BaseException:  # written with the next change
                    self._dirty |= dirty
                    raise

    async def _write(self, name: str) -> None:
        app = self.apps.get(name)
        folder = self.app_folder(name)
        if app is None:
            await trio.to_thread.run_sync(shutil.rmtree, folder, True)
            return
        state, values = msgspec.json.encode(app), msgspec.json.encode(self.values[name])
        await trio.to_thread.run_sync(_store, folder, state, values)


def _store(folder: str, state: bytes, values: bytes) -> None:
    os.makedirs(folder, mode=0o700, exist_ok=True)
    write_private(f"{folder}/secrets.json", values)
    write_private(f"{folder}/app.json", state)


def _read(path: str, kind: type[Kept]) -> Kept | None:
    found = read_regular(path, max_bytes=MOST_STATE_BYTES)
    if found is None:
        return None
    try:
        return msgspec.json.decode(found.data, type=kind)
    except msgspec.DecodeError as exc:
        raise UserError(f"{path} makes no sense: {exc}; move it away and start again") from exc
