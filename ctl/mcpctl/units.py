"""The files of the service manager: our templates with the paths of this installation filled in.

The templates stand in `systemd/` and `launchd/` of the source tree, and in `_units/` of a wheel.
"""

import html
import os
import re

from mcpctl import wire
from mcpctl.errors import CtlError

SYSTEMD_UNITS = ("mcpctld.service", "mcpctld.socket", "mcpctld-control.socket")
SYSTEMD_SOCKETS = SYSTEMD_UNITS[1:]
LAUNCHD_LABEL = "mcpctl.mcpctld"

RECORDED = (
    "MCPCTL_CONFIG_DIR", "MCPCTL_STATE_DIR", "MCPCTL_RUNTIME_DIR", "MCPCTL_SECRETS",
    "XDG_CONFIG_HOME", "XDG_STATE_HOME", "SSL_CERT_FILE", "SSL_CERT_DIR",
    "HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy",
    "ALL_PROXY", "all_proxy",
)  # fmt: skip
"""The daemon finds its files and its ways by these, and a service manager gives it none of them."""


def systemd_units(program: list[str]) -> dict[str, str]:
    """The text of each unit by its file name; `program` is the command of the daemon."""
    values = {
        "program": _systemd_command(program),
        "environment": "\n".join(
            f"Environment={_systemd_word(f'{key}={value}')}" for key, value in environment().items()
        ),
        "runtime": _systemd_runtime(),
    }
    return {name: _render(f"systemd/{name}", values) for name in SYSTEMD_UNITS}


def launchd_agent(program: list[str]) -> str:
    """The text of the property list; `program` is the command of the daemon."""
    values = {
        "program": "\n    ".join(f"<string>{_xml(word)}</string>" for word in program),
        "environment": "\n    ".join(
            f"<key>{_xml(key)}</key><string>{_xml(value)}</string>"
            for key, value in environment().items()
        ),
        "runtime": _xml(wire.runtime_dir()),
        "state": _xml(wire.state_dir()),
    }
    return _render(f"launchd/{LAUNCHD_LABEL}.plist", values)


def environment() -> dict[str, str]:
    """The variables that the unit sets; not a proxy with credentials, for which it is no place."""
    return {
        key: os.environ[key]
        for key in RECORDED
        if os.environ.get(key) and "@" not in os.environ[key]
    }


def _systemd_runtime() -> str:
    # %t is the login session's folder, whatever its name.
    usual = f"/run/user/{os.getuid()}/mcpctl"
    here = wire.runtime_dir()
    return "%t/mcpctl" if here == usual else _one_line(here).replace("%", "%%")


def _systemd_command(words: list[str]) -> str:
    # systemd.service(5): variables are filled in, but not in the path of the program.
    arguments = [word.replace("$", "$$") for word in words[1:]]
    return " ".join(map(_systemd_word, [words[0], *arguments]))


def _systemd_word(text: str) -> str:
    # systemd.syntax(7): C escapes within double quotes; systemd.unit(5): % begins a specifier.
    escaped = _one_line(text).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"' if re.search(r"[\s\"'\\;]", text) else escaped


def _xml(text: str) -> str:
    return html.escape(_one_line(text), quote=False)


def _one_line(text: str) -> str:
    if "\n" in text:  # it would begin another setting
        raise CtlError("bad-request", f"cannot write a unit with a line break in it: {text!r}")
    return text


def _render(template: str, values: dict[str, str]) -> str:
    text = _template(template)
    for key, value in values.items():
        text = text.replace(f"@{key}@", value)
    return text


def _template(name: str) -> str:
    package = os.path.dirname(__file__)
    places = (f"{package}/_units", os.path.dirname(os.path.dirname(package)))
    for place in places:
        path = f"{place}/{name}"
        if os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                return file.read()
    raise CtlError("internal", f"this installation lacks {name}; install mcpctl again")
