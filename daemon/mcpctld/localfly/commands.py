"""What a machine's configuration means as a command of this computer.

There are no containers here. What runs is the machine's own command, with programs as they are found: `uvx`, `pipx`,
`flyctl` and `mcpctl` are our `shims`, everything else comes from PATH. An image matters only by its ENTRYPOINT, and of
that we know what flyctl's image and the images of plain runtimes have.
"""

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

FLY_MCP = "flyio/mcp"
WRAPPER = ("flyctl", "mcp", "wrap", "--")
"""The ENTRYPOINT of `flyio/mcp`."""
PLAIN = frozenset(
    {"alpine", "bash", "busybox", "debian", "golang", "node", "python", "ruby", "ubuntu", "astral-sh/uv"}
)  # fmt: skip
"""Images without an ENTRYPOINT of their own, or with one that hands on to the command."""
SHIMS = ("flyctl", "mcpctl", "pipx", "uvx")

_TAG = re.compile(r"(?::[\w.-]+)?(?:@sha256:[0-9a-f]+)?$")
_REGISTRY = re.compile(r"^(?:[\w-]+(?:\.[\w-]+)+(?::\d+)?/)?(?:library/)?")


class CannotRun(Exception):
    """This machine is nothing that can run here; the text says why."""


def image_name(image: str) -> str:
    """`registry/library/python:3.12@sha256:…` is `python`."""
    return _REGISTRY.sub("", _TAG.sub("", image), count=1)


def machine_command(config: Mapping[str, Any]) -> list[str]:
    """The words that the machine runs. Raises `CannotRun`."""
    init = config.get("init") or {}
    name = image_name(str(config.get("image", "")))
    if config.get("containers") or config.get("processes"):
        raise CannotRun("it has several containers or processes; only one can run here")
    if init.get("exec"):
        return list(init["exec"])
    cmd = list(init.get("cmd") or ())
    if init.get("entrypoint"):
        return _bare([*init["entrypoint"], *cmd])
    if name == FLY_MCP and cmd:
        return [*WRAPPER, *cmd]
    if name in PLAIN and cmd:
        return cmd
    raise CannotRun(
        f"image {config.get('image')} cannot be run without containers; give the machine an "
        "init.entrypoint whose program is on this computer, or launch it on fly.io"
    )


def _bare(words: list[str]) -> list[str]:
    """A program that an image would have at a fixed place is looked for on PATH: `/usr/bin/flyctl`."""
    name = os.path.basename(words[0])
    if name != words[0] and (name in SHIMS or not os.path.exists(words[0])):
        return [name, *words[1:]]
    return words


def place(words: Sequence[str], places: Mapping[str, str]) -> list[str]:
    """The same words, with each path that the machine would have replaced by where it is here.

    `places`: guest paths and ours, for volumes and files. Words of a shell's `-c` keep their other text.
    """
    return [_place(word, places) for word in words]


def _place(word: str, places: Mapping[str, str]) -> str:
    for guest, ours in places.items():
        if word == guest or word.startswith(guest + "/"):
            return ours + word[len(guest) :]
        pattern = rf"(?<![\w./-]){re.escape(guest)}(?=$|[\s/'\";&|)=:,])"
        word = re.sub(pattern, shlex.quote(ours).replace("\\", r"\\"), word)
    return word
