"""`mcpctl localfly` as a user runs it."""

import json

import httpx
import pytest

from harness import Home, wait_until


@pytest.mark.slow
def test_start_status_and_stop(home: Home):
    assert home.mcpctl("localfly", "status").code == 69
    started = home.mcpctl(
        "localfly", "start", "--port", "0", "--edge-port", "0", "--cold-start", "0"
    )
    assert started.code == 0, started.err
    try:
        place = json.loads((home.state_dir / "localfly" / "localfly.json").read_text())
        assert place["api"] in started.out
        status = home.mcpctl("localfly", "status", "--json")
        assert status.json() == {"running": True} | {
            key: place[key] for key in ("pid", "api", "edge", "version")
        }
        assert place["token"] not in started.out + status.out
        headers = {"Authorization": f"Bearer {place['token']}"}
        body = {"name": "a", "org_slug": "personal"}
        assert httpx.post(f"{place['api']}/v1/apps", json=body, headers=headers).status_code == 201
        config = {"image": "debian", "init": {"exec": ["sleep", "600"]}}
        url = f"{place['api']}/v1/apps/a/machines"
        assert httpx.post(url, json={"config": config}, headers=headers).status_code == 200
        again = home.mcpctl("localfly", "start")
        assert (again.code, f"process {place['pid']}" in again.err) == (5, True)
    finally:
        assert home.mcpctl("localfly", "stop").code == 0
    wait_until(lambda: not home.processes(), "the end of all")
    assert home.mcpctl("localfly", "status").code == 69
    assert home.mcpctl("localfly", "stop").code == 0


def test_a_start_that_fails_says_why(home: Home):
    wrong = home.mcpctl("localfly", "start", "--fault", "nothing")
    assert wrong.code == 6
    assert "the local Fly did not start" in wrong.err
    assert "--fault" in wrong.err
