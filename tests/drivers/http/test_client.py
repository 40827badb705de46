"""`mcpctld.drivers.http.client`: URLs, and a pool for each origin."""

import pytest
import trio

from mcpctld.drivers.http.client import HttpClient, split_url
from mcpctld.drivers.http.request import Origin
from mcpctld.errors import UserError
from peers import Server, Told, connect, post


@pytest.mark.parametrize(
    ("url", "origin", "target"),
    [
        ("http://h", Origin("http", "h", 80), "/"),
        ("https://H.example/mcp", Origin("https", "h.example", 443), "/mcp"),
        ("http://h:8080/a/b?c=d&e", Origin("http", "h", 8080), "/a/b?c=d&e"),
        ("http://[::1]:8080/", Origin("http", "::1", 8080), "/"),
        ("http://h?x=1", Origin("http", "h", 80), "/?x=1"),
        ("http://h/a#fragment", Origin("http", "h", 80), "/a"),
        ("http://u:p@h/", Origin("http", "h", 80), "/"),
        ("http://h/a b/\u20ac?q=\u00e9", Origin("http", "h", 80), "/a%20b/%E2%82%AC?q=%C3%A9"),
        ("http://h/%20;~a=(b)!$'*+,@[]:%", Origin("http", "h", 80), "/%20;~a=(b)!$'*+,@[]:%"),
    ],
)
def test_a_url_is_split_into_origin_and_target(url, origin, target):
    assert split_url(url) == (origin, target)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "h/mcp",
        "ftp://h/",
        "http://",
        "http:///x",
        "http://h:x/",
        "http://h:99999/",
        "http://h:0/",
        "http://[::1/",
        "http://h\u00e4/",
        "stdio:x",
    ],
)
def test_what_is_no_such_url_is_refused(url):
    with pytest.raises(UserError, match="cannot use the URL"):
        split_url(url)


async def test_each_origin_has_a_pool_of_its_own(nursery):
    servers = [Server(), Server()]
    client = HttpClient(nursery, connect, lambda: 10)
    for server in servers:
        await nursery.start(server.run)
        for _ in range(3):
            told = Told()
            client.submit(server.origin, post(b"x"), told, patience_s=5)
            assert await told.answer() == b"x"
    assert [len(server.peers) for server in servers] == [1, 1]
    assert client.pool(servers[0].origin) is client.pool(Origin(*servers[0].origin))
    client.close_idle()
    with trio.fail_after(5):
        while any(client.pool(server.origin).statistics().open for server in servers):
            await trio.testing.wait_all_tasks_blocked()


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("time.localhost", True),
        ("127.0.0.9", True),
        ("::1", True),
        ("notlocalhost", False),
        ("localhost.example", False),
    ],
)
def test_what_is_on_this_machine_is_known_by_its_name(host, expected):
    assert Origin("http", host, 80).is_loopback is expected
