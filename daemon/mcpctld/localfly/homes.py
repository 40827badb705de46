"""The folder of a machine: its files, its volume, the programs it finds, its environment. Blocking."""

import base64
import binascii
import os
import shutil
import socket
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mcpctld.localfly import commands
from mcpctld.localfly.commands import CannotRun, machine_command
from mcpctld.localfly.machines import Machine
from mcpctld.localfly.shims import CACHE, HOSTS, REAL_PATH
from mcpctld.localfly.state import World

KEPT = frozenset({
    "LANG", "LANGUAGE", "TZ", "TMPDIR",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS",
    "HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy",
})  # fmt: skip
KEPT_PREFIXES = ("LC_", "PIP_", "UV_", "NPM_CONFIG_", "npm_config_")
"""A machine gets of our environment what it takes to fetch packages. A real one gets nothing of ours."""
USER_FILES = {"npm_config_userconfig": ".npmrc", "PIP_CONFIG_FILE": ".config/pip/pip.conf"}
CREDENTIALS = ("TOKEN", "PASSWORD", "AUTH", "KEY", "SECRET")


@dataclass(frozen=True, slots=True)
class Prepared:
    """All it takes to start a machine's process. `ports`: what it takes for its ports, and what they are;
    `places`: what it takes for its paths, likewise."""

    argv: list[str]
    env: dict[str, str]
    cwd: str
    ports: dict[int, int]
    places: dict[str, str]

    def __repr__(self) -> str:  # secrets are in the environment
        return f"<Prepared {self.argv[0]}>"


class Homes:
    """Where machines live. `environ` is ours."""

    def __init__(self, world: World, environ: Mapping[str, str]) -> None:
        self._world = world
        self._environ = environ

    def folder(self, app: str, machine: str) -> str:
        """A machine's own."""
        return f"{self._world.app_folder(app)}/machines/{machine}"

    def volume(self, app: str, volume: str) -> str:
        """The content of a volume."""
        return f"{self._world.app_folder(app)}/volumes/{volume}"

    def prepare(
        self, app: str, machine: Machine, secrets: Mapping[str, str], *, again: bool
    ) -> Prepared:
        """Make everything as it is at a boot. `again`: the process ended by itself, and its files may stay.

        Raises `CannotRun`.
        """
        try:
            return self._prepare(app, machine, secrets, again)
        except OSError as exc:
            raise CannotRun(f"cannot prepare its folder: {exc.strerror or exc}") from exc
        except ValueError as exc:  # a zero byte in a path, say
            raise CannotRun(f"cannot prepare its folder: {exc}") from exc

    def _prepare(
        self, app: str, machine: Machine, secrets: Mapping[str, str], again: bool
    ) -> Prepared:
        words = machine_command(machine.config)
        root = f"{self.folder(app, machine.id)}/root"
        persist = (machine.config.get("rootfs") or {}).get("persist", "never")
        if persist == "never" or (persist == "restart" and not again):
            shutil.rmtree(root, ignore_errors=True)
        os.makedirs(root, mode=0o700, exist_ok=True)
        places = dict(self._mount(app, machine, root))
        places.update(_write_files(machine.config, secrets, root))
        ports = {port: free_port() for port in _internal_ports(machine.config)}
        env = self._environment(app, machine, secrets, root, ports)
        env = {key: places.get(value, value) for key, value in env.items()}
        argv = commands.place(words, places)
        program = shutil.which(argv[0], path=env["PATH"])
        if program is None:
            raise CannotRun(f"there is no program {argv[0]} on this computer")
        return Prepared([program, *argv[1:]], env, root, ports, places)

    def _mount(self, app: str, machine: Machine, root: str) -> Iterator[tuple[str, str]]:
        for mount in machine.config.get("mounts") or []:
            guest, ours = mount.get("path") or "/data", self.volume(app, mount.get("volume") or "")
            os.makedirs(ours, mode=0o700, exist_ok=True)
            link = inside(root, guest)
            os.makedirs(os.path.dirname(link), exist_ok=True)
            if not os.path.lexists(link):
                os.symlink(ours, link)
            yield guest.rstrip("/"), ours

    def _environment(
        self,
        app: str,
        machine: Machine,
        secrets: Mapping[str, str],
        root: str,
        ports: Mapping[int, int],
    ) -> dict[str, str]:
        config = machine.config
        path = self._environ.get("PATH", os.defpath)
        cache = f"{self._world.folder}/cache"
        env = {key: value for key, value in self._environ.items() if _is_kept(key)}
        env |= self._package_settings(cache)
        env |= {"HOME": root, "PATH": f"{self._shims()}:{path}"}
        env |= dict(config.get("env") or {})
        if not machine.skip_secrets:
            env |= secrets
        env |= _fly_variables(app, machine)
        env |= {REAL_PATH: path, CACHE: cache, HOSTS: " ".join(host_names(app))}
        if ports:
            env["PORT"] = str(next(iter(ports.values())))
        return env

    def _package_settings(self, cache: str) -> dict[str, str]:
        """Packages are fetched once for all machines, and from where the user has them fetched."""
        home = self._environ.get("HOME", "")
        settings = {
            "npm_config_cache": f"{cache}/npm",
            "UV_CACHE_DIR": f"{cache}/uv",
            "PIP_CACHE_DIR": f"{cache}/pip",
        }
        for name, path in USER_FILES.items():
            if name not in self._environ and os.path.exists(f"{home}/{path}"):
                settings[name] = f"{home}/{path}"
        return settings

    def _shims(self) -> str:
        folder = f"{self._world.folder}/shims"
        os.makedirs(folder, mode=0o700, exist_ok=True)
        for name in commands.SHIMS:
            path = f"{folder}/{name}"
            text = f'#!/bin/sh\nexec "{sys.executable}" -P -m mcpctld.localfly.shims {name} "$@"\n'
            if not _says(path, text):
                with open(f"{path}.new", "w", encoding="utf-8") as file:
                    file.write(text)
                os.chmod(f"{path}.new", 0o700)
                os.replace(f"{path}.new", path)
        return folder

    def remove(self, app: str, machine: str) -> None:
        """Nothing of it is left; its volume is not its own."""
        shutil.rmtree(self.folder(app, machine), ignore_errors=True)


def host_names(app: str) -> list[str]:
    """The names by which an app is reached."""
    return [f"{app}{end}" for end in (".localhost", ".flycast.localhost", ".fly.dev", ".flycast")]


def inside(root: str, guest: str) -> str:
    """A path of the machine in its folder, from which it does not lead out. Raises `CannotRun`."""
    path = os.path.normpath(root + "/" + guest)
    walked = os.path.realpath(os.path.dirname(path))
    base = os.path.realpath(root)
    if not guest.startswith("/") or path == root or os.path.commonpath((walked, base)) != base:
        raise CannotRun(f"{guest!r} is no path in the machine")
    return path


def _write_files(
    config: Mapping[str, Any], secrets: Mapping[str, str], root: str
) -> Iterator[tuple[str, str]]:
    for file in config.get("files") or []:
        guest = file["guest_path"]
        path = inside(root, guest)
        if (content := _content(file, secrets)) is None:
            continue
        os.makedirs(os.path.dirname(path), exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
        mode = file.get("mode") or 0o644
        with open(os.open(path, flags, 0o600), "wb") as target:
            target.write(content)
            os.fchmod(target.fileno(), (mode & 0o777) | 0o400)
        yield guest, path


def _content(file: Mapping[str, Any], secrets: Mapping[str, str]) -> bytes | None:
    guest, name = file["guest_path"], file.get("secret_name")
    if file.get("image_config"):
        raise CannotRun(f"file {guest} comes out of an image, of which there are none here")
    if name and name not in secrets:
        raise CannotRun(f"file {guest}: there is no secret {name}")
    text = secrets[name] if name else file.get("raw_value")
    if text is None:
        return None
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise CannotRun(f"file {guest}: its content is not Base64") from None


def _internal_ports(config: Mapping[str, Any]) -> list[int]:
    found = [service.get("internal_port") for service in config.get("services") or []]
    return list(dict.fromkeys(port for port in found if port))


def free_port() -> int:
    """A port of loopback that nobody has now."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


def _fly_variables(app: str, machine: Machine) -> dict[str, str]:
    config = machine.config
    return {
        "FLY_APP_NAME": app,
        "FLY_MACHINE_ID": machine.id,
        "FLY_ALLOC_ID": machine.id,
        "FLY_REGION": machine.region,
        "PRIMARY_REGION": (config.get("env") or {}).get("PRIMARY_REGION", machine.region),
        "FLY_PRIVATE_IP": machine.private_ip,
        "FLY_IMAGE_REF": str(config.get("image", "")),
        "FLY_MACHINE_VERSION": machine.version,
        "FLY_PROCESS_GROUP": (config.get("metadata") or {}).get("fly_process_group", "app"),
        "FLY_VM_MEMORY_MB": str(machine.memory_mb),
    }


def _is_kept(name: str) -> bool:
    if name in KEPT:
        return True
    return name.startswith(KEPT_PREFIXES) and not any(word in name.upper() for word in CREDENTIALS)


def _says(path: str, text: str) -> bool:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read() == text
    except OSError:
        return False
