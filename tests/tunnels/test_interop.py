"""Our tunnels with wireguard-go and the kernel's TCP on the other side, in a namespace of the test's."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from wireguard.test_interop import UNSHARE, needed  # noqa: F401  (a fixture)

BESIDE = Path(__file__).parent / "in_namespace.py"


@pytest.mark.slow
@pytest.mark.usefixtures("needed")
def test_http_through_wireguard_go(tmp_path):
    argv = [*UNSHARE, sys.executable, str(BESIDE), str(tmp_path)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen.pop("recovered_after_s") < 16, seen
    assert seen == {
        "udp my-app.internal": [True, "udp", 1],
        "udp my-app.flycast": [True, "udp", 1],
        "websocket my-app.internal": [True, "websocket", 1],
        "websocket my-app.flycast": [True, "websocket", 1],
        "again": True,
    }
