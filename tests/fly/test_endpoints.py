"""Which Fly is spoken to."""

import json
import os
import subprocess
import sys

import pytest

from mcpctld.errors import Unreachable, UserError
from mcpctld.fly.endpoints import find_endpoints, fly_io
from mcpctld.fly.tokens import Token

TOKEN = Token("fm2_x")


@pytest.mark.parametrize(
    ("environ", "machines", "platform"),
    [
        ({}, "https://api.machines.dev", "https://api.fly.io"),
        ({"FLY_FLAPS_BASE_URL": "http://127.0.0.1:4280/"}, "http://127.0.0.1:4280", "https://api.fly.io"),
        ({"FLY_API_HOSTNAME": "_api.internal:4280"}, "https://_api.internal:4280", "https://api.fly.io"),
        ({"FLY_API_HOSTNAME": "http://_api.internal:4280"}, "http://_api.internal:4280", "https://api.fly.io"),
        ({"FLY_API_HOSTNAME": "https://a/v1", "FLY_FLAPS_BASE_URL": "https://b"}, "https://b", "https://api.fly.io"),
        ({"FLY_API_HOSTNAME": "https://a/v1/"}, "https://a", "https://api.fly.io"),
        ({"FLY_API_BASE_URL": "http://[::1]:80"}, "https://api.machines.dev", "http://[::1]:80"),
    ],
)  # fmt: skip
def test_the_environment_says_where_fly_is(environ, machines, platform):
    found = fly_io(environ, TOKEN)
    assert found.machines == machines
    assert (found.graphql, found.logs) == (f"{platform}/graphql", f"{platform}/api/v1")


@pytest.mark.parametrize("url", ["ftp://x", "http://", "http://x:99999", "http://[::1"])
def test_an_address_that_is_none_is_named(url):
    with pytest.raises(UserError, match="FLY_FLAPS_BASE_URL"):
        fly_io({"FLY_FLAPS_BASE_URL": url}, TOKEN)


def test_apps_have_their_names_on_fly_and_on_the_local_one(tmp_path):
    there = fly_io({}, TOKEN)
    assert there.app_url("time") == "https://time.fly.dev"
    assert there.app_url("time", private=True) == "http://time.flycast"
    here = find_endpoints("local", {}, str(place(tmp_path)))
    assert here.app_url("time") == "http://time.localhost:99"
    assert here.app_url("time", private=True) == "http://time.flycast.localhost:99"
    assert here.machines == "http://127.0.0.1:98"
    assert "local-token" not in repr(here)


def place(folder, **other):
    file = folder / "localfly" / "localfly.json"
    file.parent.mkdir(exist_ok=True)
    usual = {
        "pid": os.getpid(),
        "api": "http://127.0.0.1:98",
        "edge": "http://127.0.0.1:99",
        "token": "local-token",
    }
    file.write_text(json.dumps({**usual, **other}))
    return folder


def test_a_local_fly_that_was_never_started(tmp_path):
    with pytest.raises(Unreachable, match="mcpctl localfly start"):
        find_endpoints("local", {}, str(tmp_path))


def test_a_local_fly_that_has_ended(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    with pytest.raises(Unreachable, match="any more"):
        find_endpoints("local", {}, str(place(tmp_path, pid=ended.pid)))


@pytest.mark.parametrize(
    "other", [{"token": ""}, {"pid": "x"}, {"pid": -1}, {"api": 7}, {"edge": ""}]
)
def test_a_damaged_place_file(tmp_path, other):
    with pytest.raises(Unreachable, match="mcpctl localfly start"):
        find_endpoints("local", {}, str(place(tmp_path, **other)))


def test_a_token_is_wanted_for_fly_io_only(tmp_path):
    home = {"HOME": str(tmp_path), "FLY_API_TOKEN": "fo1_t"}
    assert find_endpoints("fly.io", home, str(tmp_path)).token.header() == "Bearer fo1_t"
