"""How a command, or an image, becomes what a machine runs, without anybody building an image.

| what | image | how it is wrapped |
|---|---|---|
| `npx`, `uvx`, anything in it | `flyio/mcp` | `uvx` gets our front into the machine at its first boot |
| `go run` | `golang` | a script at boot installs our front beside it |
| a stdio image | itself | the same; it needs a shell, and Python or a package manager |
| an image that speaks HTTP | itself | not at all |

Setup steps run at each cold start, for the root file system is fresh then; not after a suspend.
"""

import re
import shlex
from typing import Literal

import msgspec

from mcpctl import wire
from mcpctld.errors import UserError
from mcpctld.launch import boot
from mcpctld.launch.files import File
from mcpctld.launch.wish import Wish

IMAGE = "flyio/mcp"
"""Node, uv and flyctl, whose wrapper it starts: it can run whatever `npx` and `uvx` fetch."""
GO_IMAGE = "golang"
PORT = 8080
"""Where both wrappers listen."""

FRONT = ("uvx", "--from", f"mcpctl=={wire.VERSION}", "mcpctl", "wrap")
FLY_FRONT = ("/usr/bin/flyctl", "mcp", "wrap")

Wrapper = Literal["mcpctl", "fly", "none"]

_NO_PORT = "say where the server listens: --port N goes with --transport http and sse"
_INSTRUCTIONS = "ADD|ARG|CMD|COPY|ENTRYPOINT|ENV|EXPOSE|FROM|HEALTHCHECK|LABEL|SHELL|STOPSIGNAL|USER|VOLUME|WORKDIR"
_SHELL_LIKE = re.compile(r"\$[A-Za-z_{(]|^(&&|\|\|?|;|[0-9]?>>?|<)$|^~/")


class Program(msgspec.Struct, frozen=True, kw_only=True):
    """What the machine runs. An empty `entrypoint` or `cmd` is the image's own."""

    image: str
    wrapper: Wrapper
    entrypoint: list[str] = []
    cmd: list[str] = []
    files: list[File] = []
    """That the entrypoint needs."""
    boots_slowly: bool = False
    """It does something before it listens that may take minutes."""
    notes: list[str] = []


def split(text: str | None) -> list[str]:
    """The words of a command line, by the rules of a POSIX shell. Raises `UserError`."""
    try:
        words = shlex.split(text or "")
    except ValueError as exc:
        raise UserError(f"cannot read the command {text!r}: {str(exc).lower()}") from exc
    name = words[0].rpartition("/")[2] if words else ""
    if name in ("docker", "podman"):
        raise UserError(
            f"a machine of Fly's has no {name}: give the image it runs with --image IMAGE"
        )
    return words


def setup_lines(lines: list[str]) -> list[str]:
    """The shell commands of `--setup`, without the `RUN` of a Dockerfile. Raises `UserError`."""
    commands = [re.sub(r"^\s*RUN\s+", "", line).strip() for line in lines]
    for command in commands:
        if found := re.match(rf"({_INSTRUCTIONS})\s", command):
            raise UserError(
                f"--setup runs shell commands, and cannot do {found[1]}: "
                "use --env, --file-local or --image, or write a Dockerfile with --eject"
            )
    return [command for command in commands if command]


def is_fly_image(image: str) -> bool:
    """Whether it is the one that has `uvx`, `npx` and flyctl."""
    return re.fullmatch(r"(docker\.io/)?flyio/mcp([:@].*)?", image) is not None


def program(wish: Wish, words: list[str], *, builder: bool = False) -> Program:
    """What the machine runs for this wish. Raises `UserError` with what it needs that nobody has given.

    With a `builder` the image is one that is made of a Dockerfile: setup steps and our front are in it already.
    """
    steps = setup_lines(wish.setup)
    if not words and (not wish.image or is_fly_image(wish.image)):
        raise UserError(
            'say what to launch: a command such as "uvx mcp-server-time", or --image IMAGE'
        )
    if builder:
        return _built(wish, words)
    if wish.transport != "stdio":
        made = _speaking_http(wish, words, steps)
    elif (wish.image is None and words[0] != "go") or is_fly_image(wish.image or ""):
        made = _in_fly_image(wish, words, steps)
    else:
        made = _in_other_image(wish, words, steps)
    notes = made.notes + _notes(words, steps)
    return msgspec.structs.replace(made, notes=notes, boots_slowly=made.boots_slowly or bool(steps))


def _in_fly_image(wish: Wish, words: list[str], steps: list[str]) -> Program:
    front = FRONT if wish.wrapper == "mcpctl" else FLY_FRONT
    entrypoint = [*_after(steps), *front, "--"]
    if wish.wrapper == "fly" and not steps:
        entrypoint = []  # it is what the image does by itself
    image = wish.image or IMAGE
    return Program(image=image, wrapper=wish.wrapper, entrypoint=entrypoint, cmd=words)


def _in_other_image(wish: Wish, words: list[str], steps: list[str]) -> Program:
    image = wish.image or GO_IMAGE
    if wish.wrapper == "fly":
        raise UserError(
            f"image {image} has no flyctl, and putting it in needs a build: "
            "leave out --wrapper fly, or write a Dockerfile with --eject DIR and run 'fly deploy' there"
        )
    script = boot.script(steps, boot.install(wire.VERSION))
    made = Program(
        image=image,
        wrapper="mcpctl",
        entrypoint=["/bin/sh", "-c", script, "sh", "mcpctl", "wrap", "--"],
        cmd=words,
        boots_slowly=True,
        notes=[
            f"image {image} gets our front at each cold start: it needs /bin/sh, and Python 3.11, apt-get or apk; "
            "one without is built with --eject"
        ],
    )
    if wish.image is None:
        return made
    cmd = [*boot.image_command(), *words]
    return msgspec.structs.replace(made, cmd=cmd, files=[boot.image_config_file(image)])


def _speaking_http(wish: Wish, words: list[str], steps: list[str]) -> Program:
    if wish.port is None:
        raise UserError(_NO_PORT)
    if wish.image is None:  # flyctl's wrapper, the image's own entrypoint, must not run
        return Program(image=IMAGE, wrapper="none", entrypoint=[*_after(steps), *words])
    if steps and not words:
        raise UserError(
            f"--setup takes the place of what image {wish.image} starts by itself: give the whole command, too"
        )
    return Program(image=wish.image, wrapper="none", entrypoint=_after(steps), cmd=words)


def _built(wish: Wish, words: list[str]) -> Program:
    image = wish.image or (GO_IMAGE if words[0] == "go" else IMAGE)
    if wish.transport != "stdio":
        if wish.port is None:
            raise UserError(_NO_PORT)
        return Program(image=image, wrapper="none", cmd=words)
    if not words:
        raise UserError(
            f"what image {image} starts is not known here, and a Dockerfile has to name it: give the command too "
            f"(docker inspect -f '{{{{.Config.Entrypoint}}}} {{{{.Config.Cmd}}}}' {image} shows it)"
        )
    front = FRONT if wish.wrapper == "mcpctl" else FLY_FRONT
    return Program(image=image, wrapper=wish.wrapper, entrypoint=[*front, "--"], cmd=words)


def _after(steps: list[str]) -> list[str]:
    """The words in front of a command that make the steps come first."""
    return ["/bin/sh", "-c", boot.script(steps), "sh"] if steps else []


def _notes(words: list[str], steps: list[str]) -> list[str]:
    notes = []
    if words[:1] not in (["sh"], ["bash"]) and (
        odd := [word for word in words if _SHELL_LIKE.search(word)]
    ):
        notes.append(
            f"no shell reads the command, so {odd[0]!r} stands for itself; write sh -c '...' if one should"
        )
    if steps:
        notes.append("the setup runs at each cold start, before the server; not after a suspend")
    return notes
