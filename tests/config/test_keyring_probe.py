"""The real keyring library against a real D-Bus address where nobody answers."""

import os
import socket
import subprocess
import sys
import time

import pytest

PROGRAM = """
import sys, trio
from mcpctld.config import secretstore
secretstore.PROBE_S = 0.3
store = secretstore.SecretStore(sys.argv[1], "auto")
trio.run(store.set, "web", "token", "value")
"""


@pytest.fixture
def silent_bus(tmp_path):
    """The address of a D-Bus that accepts connections and then says nothing."""
    path = tmp_path / "bus"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        yield f"unix:path={path}"


@pytest.mark.skipif(sys.platform != "linux", reason="D-Bus keyrings are a Linux affair")
def test_a_silent_bus_neither_delays_a_secret_nor_keeps_the_process_alive(silent_bus, tmp_path):
    state = tmp_path / "state"
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("PYTHON_KEYRING")
    }
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(state)],
        env={**environment, "DBUS_SESSION_BUS_ADDRESS": silent_bus},
        timeout=20,
        capture_output=True,
        text=True,
        check=True,
    )
    assert (state / "secrets.json").exists()
    assert "secrets.no_keyring" in done.stderr
    assert time.monotonic() - start < 15
