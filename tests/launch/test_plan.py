import json

import pytest

from mcpctld.launch.plan import plan
from mcpctld.launch.resolve import resolve
from mcpctld.launch.wish import Wish

TIME = "uvx mcp-server-time"


def calls(**fields):
    return [
        (call.method, call.path)
        for call in plan(resolve(Wish(**{"command": TIME, "server": "time", **fields})))
    ]


def test_the_calls_stand_in_the_order_in_which_they_are_made():
    assert calls(volume="d:/d") == [
        ("GET", "/v1/apps/time"),
        ("GET", "/v1/tokens/current"),
        ("POST", "/v1/platform/placements"),
        ("POST", "/v1/apps"),
        ("POST", "/v1/apps/time/secrets"),
        ("POST", "/v1/apps/time/volumes"),
        ("POST", "/v1/apps/time/machines"),
        ("GET", "/v1/apps/time/machines/MACHINE/wait?state=started"),
        ("POST", "/v1/apps/time/ip_assignments"),
        ("POST", "/v1/apps/time/ip_assignments"),
        ("GET", "https://time.fly.dev/health"),
    ]


def test_what_is_not_needed_is_not_called():
    found = calls(bearer=False, region="iad", flycast=True)
    assert ("POST", "/v1/apps/time/secrets") not in found
    assert ("POST", "/v1/platform/placements") not in found
    assert ("GET", "/v1/platform/regions") in found
    assert [path for _, path in found].count("/v1/apps/time/ip_assignments") == 1


@pytest.mark.parametrize(
    ("fields", "url"),
    [
        ({"flycast": True}, "http://time.flycast/health"),
        ({"at": "local"}, "http://time.localhost:PORT/health"),
        ({"at": "local", "flycast": True}, "http://time.flycast.localhost:PORT/health"),
        ({"wrapper": "fly"}, "https://time.fly.dev/"),
        ({"transport": "sse", "port": 1}, "https://time.fly.dev/sse"),
    ],
)
def test_the_last_call_goes_where_clients_will_go(fields, url):
    assert calls(**fields)[-1] == ("GET", url)


def test_secrets_and_files_are_named_and_not_shown():
    wish = Wish(
        command=TIME,
        secrets={"A": "hush", "S": "aHVzaA=="},
        file_literal={"/l": "hush"},
        file_secret={"/s": "S"},
    )
    made = plan(resolve(wish))
    text = json.dumps([call.body for call in made])
    assert "hush" not in text
    assert "aHVzaA" not in text
    [secrets] = [call.body for call in made if call.path.endswith("/secrets")]
    assert secrets == {"values": {"A": "***", "FLY_MCP_BEARER_TOKEN": "***", "S": "***"}}
