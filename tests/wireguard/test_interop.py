"""wireguard-go and the kernel's network in a namespace of the test's: both roles, cookies, eviction."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness import unavailable

pytestmark = pytest.mark.slow

BESIDE = Path(__file__).parent / "in_namespace.py"
UNSHARE = ["unshare", "--net", "--map-root-user"]


@pytest.fixture(scope="module")
def needed():
    """Everything that the scenes need."""
    if sys.platform != "linux" or not all(
        map(shutil.which, ("wireguard-go", "wg", "ip", "unshare"))
    ):
        unavailable("wireguard", "no wireguard-go, wg and ip")
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        unavailable("wireguard", "no access to /dev/net/tun")
    if subprocess.run([*UNSHARE, "true"], capture_output=True, check=False).returncode:
        unavailable("namespaces", "no network namespaces for this user")


@pytest.fixture
def play(needed, tmp_path):
    def run(scene: str) -> dict:
        argv = [*UNSHARE, sys.executable, str(BESIDE), scene, str(tmp_path)]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=90)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def test_we_begin_with_a_preshared_key(play):
    seen = play("we_begin")
    assert seen["pings"] == [True] * 20
    assert (seen["sessions"], seen["drops"]) == (["initiator"], {})


def test_they_begin(play):
    seen = play("they_begin")
    assert seen["came"]
    assert seen["pings"] == [True] * 20
    assert (seen["sessions"], seen["drops"]) == (["responder"], {})


def test_a_gateway_that_forgot_us_and_begins_itself(play):
    seen = play("gateway_forgets_and_comes_back")
    assert (seen["first"], seen["lost"], seen["again"]) == (True, False, True)
    assert seen["sessions"][0] == "initiator"
    assert len(seen["sessions"]) == 2


def test_a_cookie_that_they_ask_for_is_given(play):
    seen = play("they_ask_for_cookies")
    cookie = seen["seen"].index([3, False])
    assert [1, True] not in seen["seen"][:cookie]
    assert seen["seen"][cookie + 1 :][:2] == [[1, True], [2, False]]
    assert seen["pings"] == [True]


def test_a_cookie_that_we_ask_for_is_given(play):
    seen = play("we_ask_for_cookies")
    assert seen["came"]
    assert seen["replies"] >= 1
    assert seen["pings"] == [True]
