"""The contract between `mcpctl` and `mcpctld`, cheap half: places, the attach greeting, error kinds.

`attach` imports this on its fast path, so it uses `os` and `sys` and nothing else.
"""

import os
import sys

VERSION = "0.1.0"

# ---------------------------------------------------------------- places

if sys.platform == "darwin":
    _CONFIG = "~/Library/Application Support/mcpctl"
    _STATE = "~/Library/Application Support/mcpctl/state"
    _RUNTIME = "~/Library/Caches/mcpctl"
else:
    _CONFIG = "~/.config/mcpctl"
    _STATE = "~/.local/state/mcpctl"
    _RUNTIME = "~/.local/state/mcpctl/run"


def config_dir() -> str:
    """The folder of our own configuration; `MCPCTL_CONFIG_DIR` overrides it."""
    return _place("MCPCTL_CONFIG_DIR", "XDG_CONFIG_HOME", _CONFIG)


def state_dir() -> str:
    """The folder of logs and of what must outlive the daemon; `MCPCTL_STATE_DIR` overrides it."""
    return _place("MCPCTL_STATE_DIR", "XDG_STATE_HOME", _STATE)


def runtime_dir() -> str:
    """The folder of the sockets; `MCPCTL_RUNTIME_DIR` overrides it.

    MCP clients start servers with a handful of variables, `XDG_RUNTIME_DIR` not among them. So the
    place it would name is tried even when it is unset: a stub must meet the daemon of the login session.
    """
    if sys.platform != "darwin" and not os.environ.get("XDG_RUNTIME_DIR"):
        login = f"/run/user/{os.getuid()}"
        if not os.environ.get("MCPCTL_RUNTIME_DIR") and os.access(login, os.W_OK):
            return f"{login}/mcpctl"
    return _place("MCPCTL_RUNTIME_DIR", "XDG_RUNTIME_DIR", _RUNTIME)


def attach_socket() -> str:
    """The path of the socket that takes descriptors."""
    return runtime_dir() + "/attach.sock"


def control_socket() -> str:
    """The path of the socket that serves the HTTP API."""
    return runtime_dir() + "/control.sock"


def _place(own: str, xdg: str, default: str) -> str:
    if path := os.environ.get(own):
        return path
    base = os.environ.get(xdg) if sys.platform != "darwin" else None
    return f"{base}/mcpctl" if base else os.path.expanduser(default)


# ---------------------------------------------------------------- the attach greeting

HELLO_MAGIC = b"mcpctl/1 "
HELLO_LENGTH_DIGITS = 6
HELLO_HEADER = len(HELLO_MAGIC) + HELLO_LENGTH_DIGITS + 1
HELLO_MAX = 256 * 1024
"""A greeting carries a name or a URL with its headers: far below this."""


CHECKPOINT_AT = 272 * 1024
"""Where the daemon's part begins in the checkpoint file, the fourth descriptor. Before it stands the greeting, with
which the stub greets the next daemon. A multiple of all page sizes in use, and longer than any greeting."""


def encode_hello(fields: list[tuple[str, str]]) -> bytes:
    """The greeting that travels with the descriptors: a length, then `key=value` parts ended by NUL.

    Keys: `server` (a name) or `url`; with a URL also `transport`, `era`, `instance`, `header` (repeated,
    `Name: value`), `timeout` (seconds). Always: `cwd`, `ppid`, `version`; `copied` when the stub copies instead of
    passing; `resume` when it held on to a session whose daemon is gone.
    """
    body = "".join(f"{key}={value}\0" for key, value in fields).encode("utf-8", "surrogateescape")
    return HELLO_MAGIC + str(len(body)).zfill(HELLO_LENGTH_DIGITS).encode() + b"\n" + body


def hello_length(header: bytes) -> int:
    """The length of the body that follows a greeting's header (`HELLO_HEADER` bytes).

    Raises `ValueError` when this is not a greeting, or one that is too long.
    """
    if (
        len(header) != HELLO_HEADER
        or not header.startswith(HELLO_MAGIC)
        or not header.endswith(b"\n")
    ):
        raise ValueError("not a greeting of mcpctl")
    length = int(header[len(HELLO_MAGIC) : -1])
    if not 0 <= length <= HELLO_MAX:
        raise ValueError(f"a greeting of {length} bytes is too long")
    return length


def decode_hello(body: bytes) -> list[tuple[str, str]]:
    """The fields of a greeting's body, in order. Raises `ValueError` on anything malformed."""
    if not body.endswith(b"\0"):
        raise ValueError("the greeting is cut short")
    fields = []
    for part in body[:-1].split(b"\0"):
        key, equals, value = part.decode("utf-8", "surrogateescape").partition("=")
        if not equals:
            raise ValueError("a part of the greeting has no value")
        fields.append((key, value))
    return fields


# The daemon answers with one line at the very end: `<exit code> <text for stderr>\n`. Nothing else is ever sent. When
# the connection ends without that line, the daemon is gone, or about to go, and the stub is to greet the next one.

# ---------------------------------------------------------------- errors

KINDS = {
    # kind: (HTTP status, exit code, meaning)
    "bad-request": (400, 2, "the request, command line or configuration is wrong"),
    "denied": (403, 3, "not allowed, or the server wants credentials"),
    "not-found": (404, 4, "no such server, session or tool"),
    "conflict": (409, 5, "it exists already, or is held by another"),
    "unreachable": (502, 6, "the server, or something on the way to it, is down"),
    "peer": (502, 7, "the other side broke the protocol"),
    "timeout": (504, 8, "no answer within the bound"),
    "not-running": (503, 69, "the daemon is not running and could not be started"),
    "internal": (500, 70, "a bug in mcpctl; please report it"),
}
"""Every kind of error, once: what the API answers and what a command exits with."""


def exit_code(kind: str) -> int:
    """The exit code for an error kind."""
    return KINDS.get(kind, KINDS["internal"])[1]


VERSION_HEADER = "Mcpctld-Version"
"""On every answer of the control API."""
CLIENT_VERSION_HEADER = "Mcpctl-Version"
"""On every request to it."""
