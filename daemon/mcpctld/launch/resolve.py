"""A wish becomes what is to be made; or all that is wrong with it, at once. Nothing is asked of anybody."""

import re
from collections.abc import Callable
from typing import Literal, TypeVar

import msgspec

from mcpctld.config.places import check_name
from mcpctld.errors import UserError
from mcpctld.launch import command, fields, files, naming, regions, sizes, volumes
from mcpctld.launch.command import PORT, Program, Wrapper
from mcpctld.launch.files import File
from mcpctld.launch.sizes import SUSPEND_LIMIT_MB, Guest
from mcpctld.launch.volumes import Volume
from mcpctld.launch.wish import Wish

BEARER = "FLY_MCP_BEARER_TOKEN"
USER, PASSWORD = "FLY_MCP_USER", "FLY_MCP_PASSWORD"

PERSONAL = "personal"
"""The organisation that everybody has."""

T = TypeVar("T")

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PATHS = {"stdio": "/mcp", "http": "/mcp", "sse": "/sse"}


class Resolved(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be made of a wish. It may hold secrets: never shown, never stored."""

    server: str
    app: str
    app_is_said: bool
    """Otherwise another name will do when this one is taken (`naming.alternative`)."""
    at: Literal["fly.io", "local"]
    org: str
    region: str | None
    """None: wherever there is room nearby."""
    program: Program
    setup: list[str]
    """Shell commands that run before the server; unless an image is built, the entrypoint has them in it already."""
    transport: Literal["streamable-http", "http-sse", "fly-wrap"]
    """How clients speak to it."""
    path: str
    internal_port: int
    health_path: str | None
    """Where a GET tells whether the server answers; None where only a connection tells."""
    guest: Guest
    volume: Volume | None
    files: list[File]
    env: dict[str, str]
    secrets: dict[str, str]
    """Secrets of the app. The bearer token is not among them: who carries this out makes it."""
    bearer: bool
    flycast: bool
    auto_stop: Literal["off", "stop", "suspend"]
    policy: Literal["attached", "always", "never"]
    overlay: dict[str, object]
    """Fields of the Machine's configuration that are laid over ours."""
    notes: list[str]
    """What the user should know, and what was decided for him."""

    @property
    def image(self) -> str:
        """The image that the machine boots."""
        return self.program.image

    @property
    def entrypoint(self) -> list[str]:
        """Words in the place of the image's entrypoint; empty leaves that."""
        return self.program.entrypoint

    @property
    def cmd(self) -> list[str]:
        """Words in the place of the image's command; empty leaves that."""
        return self.program.cmd

    @property
    def wrapper(self) -> Wrapper:
        """What speaks HTTP for the server."""
        return self.program.wrapper

    @property
    def secret_names(self) -> list[str]:
        """The names of all secrets that the app will have."""
        return sorted([*self.secrets, *([BEARER] if self.bearer else [])])

    def __repr__(self) -> str:
        return f"Resolved(server={self.server!r}, app={self.app!r}, ...)"


class WishRefused(UserError):
    """A wish that cannot be fulfilled: each of `problems` is a sentence for the user, and the text is all of them."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


class _Problems:
    """Collects what is wrong, so that the user hears of all of it at once."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def check(self, make: Callable[[], T], otherwise: T) -> T:
        try:
            return make()
        except UserError as exc:
            self.say(str(exc))
            return otherwise

    def say(self, text: str) -> None:
        if text not in self.texts:
            self.texts.append(text)


def resolve(wish: Wish, *, builder: bool = False, kept: bool = False) -> Resolved:
    """What is to be made of `wish`. Raises `WishRefused`.

    `builder` says that an image will be built from a Dockerfile, so what needs a build is no problem; `kept` that the
    wish was kept without the values of its secrets, which Fly has.
    """
    problems = _Problems()
    words = problems.check(lambda: command.split(wish.command), ["unreadable"])
    program = problems.check(
        lambda: command.program(wish, words, builder=builder), Program(image="", wrapper="mcpctl")
    )
    guest = problems.check(lambda: _guest(wish), Guest())
    volume = problems.check(lambda: volumes.parse(wish.volume) if wish.volume else None, None)
    no_files: list[File] = []
    put_in = problems.check(lambda: files.files(wish, kept=kept), no_files)
    anywhere: tuple[str | None, str | None] = (None, None)
    region, moved = problems.check(lambda: _region(wish), anywhere)
    server = problems.check(lambda: _server(wish, words), "server")
    app = problems.check(lambda: _app(wish, server), "app")
    for text in (*_wrong_variables(wish), *_wrong_port(wish), *fields.unknown(wish.machine_config)):
        problems.say(text)
    secrets = problems.check(lambda: _secrets(wish, kept=kept), dict(wish.secrets))
    if problems.texts:
        raise WishRefused(problems.texts)
    return Resolved(
        server=server,
        app=app,
        app_is_said=wish.name is not None,
        at=wish.at,
        org=wish.org or PERSONAL,
        region=region,
        program=program,
        setup=command.setup_lines(wish.setup),
        transport=_transport(wish, program),
        path="/" if program.wrapper == "fly" else _PATHS[wish.transport],
        internal_port=wish.port or PORT,
        health_path="/health" if program.wrapper == "mcpctl" else None,
        guest=guest,
        volume=volume,
        files=[*program.files, *put_in],
        env=dict(wish.env),
        secrets=secrets,
        bearer=_bearer(wish),
        flycast=wish.flycast,
        auto_stop="off" if wish.policy == "always" else wish.auto_stop,
        policy=wish.policy,
        overlay=wish.machine_config,
        notes=[*program.notes, *([moved] if moved else []), *_notes(wish, guest, program)],
    )


def _guest(wish: Wish) -> Guest:
    return sizes.guest(
        wish.vm_size, wish.vm_cpus, wish.vm_cpu_kind, wish.vm_memory, wish.host_dedication_id
    )


def _region(wish: Wish) -> tuple[str | None, str | None]:
    return regions.region(wish.region) if wish.region else (None, None)


def _server(wish: Wish, words: list[str]) -> str:
    if said := wish.server or wish.name:
        return check_name(said, "server")
    image = wish.image or ""
    if not words and not image:
        return "server"  # that there is nothing to launch is said by others
    return naming.server_name(words, "" if command.is_fly_image(image) else image)


def _app(wish: Wish, server: str) -> str:
    return naming.check_app_name(wish.name) if wish.name is not None else naming.app_name(server)


def _transport(wish: Wish, program: Program) -> Literal["streamable-http", "http-sse", "fly-wrap"]:
    if program.wrapper == "fly":
        return "fly-wrap"
    return "http-sse" if wish.transport == "sse" else "streamable-http"


def _bearer(wish: Wish) -> bool:
    return wish.bearer and wish.user is None


def _secrets(wish: Wish, *, kept: bool) -> dict[str, str]:
    """The user's, with user and password for the wrapper among them."""
    secrets = dict(wish.secrets)
    if kept or (wish.user is None and wish.password is None):
        return secrets
    if not wish.user or not wish.password:
        raise UserError(
            "--user and --password go together: give both, or neither for a bearer token"
        )
    if ":" in wish.user:  # RFC 7617 §2
        raise UserError("a user name for basic authentication cannot have a colon")
    return {**secrets, USER: wish.user, PASSWORD: wish.password}


def _wrong_variables(wish: Wish) -> list[str]:
    ours = {BEARER, USER, PASSWORD}
    wrong = [
        f"{name!r} cannot be the name of a variable: letters, digits and underscores, no digit first"
        for name in (*wish.env, *wish.secrets)
        if not _VARIABLE.fullmatch(name)
    ]
    wrong += [
        f"variable {name} is given by --env and by --secret"
        for name in wish.env
        if name in wish.secrets
    ]
    wrong += [
        f"variable {name} cannot be set: Fly keeps names that begin with FLY_"
        for name in wish.env
        if name.startswith("FLY_")
    ]
    wrong += [
        f"secret {name} is set by --bearer-token, --user and --password"
        for name in wish.secrets
        if name in ours
    ]
    return wrong + [
        f"the value of variable {name} has a NUL in it"
        for name, value in (*wish.env.items(), *wish.secrets.items())
        if "\0" in value
    ]


def _wrong_port(wish: Wish) -> list[str]:
    if wish.port is None:
        return []
    if wish.transport == "stdio":
        return [
            "--port is where a server listens that speaks HTTP itself: it goes with --transport http or sse"
        ]
    return [] if 0 < wish.port < 65536 else [f"{wish.port} is not a port: --port is 1 to 65535"]


def _notes(wish: Wish, guest: Guest, program: Program) -> list[str]:
    notes = []
    if (
        wish.auto_stop == "suspend"
        and wish.policy != "always"
        and guest.memory_mb > SUSPEND_LIMIT_MB
    ):
        notes.append(
            f"Fly suspends machines of up to {SUSPEND_LIMIT_MB} MB: this one will be stopped, and starts in seconds"
        )
    if guest.memory_mb < 512:
        notes.append(
            f"{guest.memory_mb} MB of memory are little for Node and Python: --vm-memory 512mb is safer"
        )
    if not wish.flycast and not _bearer(wish) and wish.user is None:
        notes.append(
            "nobody is asked for credentials: whoever knows the address can use the server"
        )
    elif program.wrapper == "none":
        notes.append(
            f"the server itself has to check who calls it: nothing in front of it does; "
            f"it finds the token in {BEARER}"
        )
    return notes
