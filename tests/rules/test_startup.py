"""What a start may cost: the set of modules that are loaded is exact, where a time would not be."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import mcpctl

CTL = Path(mcpctl.__file__).parent

OS = {"os", "os.path", "posixpath", "genericpath", "stat", "_stat", "_collections_abc"}
ATTACH_MAY_LOAD = {"mcpctl", "mcpctl.attach", "mcpctl.wire", "errno", "_socket", *OS}
"""Beyond what an interpreter has loaded at start with `-I -S`."""


def loaded_by(code: str, *flags: str) -> set[str]:
    """The modules that `code` adds to those of a bare interpreter."""
    before = "import sys; before = set(sys.modules)\n"
    after = "\nsys.stdout.write(' '.join(set(sys.modules) - before))"
    argv = [sys.executable, *flags, "-c", before + code + after]
    run = subprocess.run(argv, capture_output=True, text=True, check=True)
    return set(run.stdout.split())


def test_attach_loads_os_errno_socket_and_its_contract_and_nothing_else():
    code = f"sys.path.insert(0, {str(CTL.parent)!r})\nimport mcpctl.attach"
    assert loaded_by(code, "-I", "-S") <= ATTACH_MAY_LOAD


def test_the_command_line_stays_within_the_standard_library_until_a_command_runs():
    code = f"sys.path.insert(0, {str(CTL.parent)!r})\nimport mcpctl.cli"
    loaded_by(code, "-I", "-S")  # without site-packages a third-party import would fail


@pytest.mark.parametrize("module", sorted(path.stem for path in (CTL / "commands").glob("*.py")))
def test_every_command_can_be_imported_without_site_packages(module):
    name = "mcpctl.commands" if module == "__init__" else f"mcpctl.commands.{module}"
    code = f"sys.path.insert(0, {str(CTL.parent)!r})\nimport {name}"
    loaded_by(code, "-I", "-S")


def test_the_daemon_does_not_load_its_api_at_start():
    loaded = loaded_by("import mcpctld.run")
    assert not {
        name for name in loaded if name.startswith(("quart", "hypercorn", "httpx", "mcpctld.api"))
    }


def test_the_daemon_does_not_load_its_tunnels_at_start():
    loaded = loaded_by("import mcpctld.run")
    late = ("websockets", "mcpctld.tunnels.wireguard", "mcpctld.protocols.inet", "mcpctld.fly.")
    assert not {name for name in loaded if name.startswith(late)}


def test_the_daemon_loads_what_is_known_of_clients_when_it_stands():
    loaded = loaded_by("import mcpctld.run")
    assert "mcpctld.clients.seen" in loaded
    late = ("mcpctl.clients", "mcpctl.editing", "mcpctl.storing", "mcpctld.clients.watching")
    assert not {name for name in loaded if name.startswith(late)}


def test_the_entry_for_client_files_finds_its_package_alone():
    env = {**os.environ, "MCPCTL_RUNTIME_DIR": "/nonexistent/x"}
    run = subprocess.run(
        [sys.executable, "-I", "-S", str(CTL / "entry.py"), "--help"],
        capture_output=True,
        text=True,
        env=env,
    )
    assert run.returncode == 0
    assert "usage: mcpctl attach" in run.stdout


def test_versions_are_the_same_everywhere():
    from importlib.metadata import version

    from mcpctl import wire

    assert version("mcpctl") == wire.VERSION
    assert json.dumps(wire.KINDS)  # a table of plain values
