"""`mcpctld.localfly.edge.remembering`: the replay cache."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpctld.localfly.edge import remembering
from mcpctld.localfly.edge.remembering import Entry, Key, Memory, ReplayCache, Source
from mcpctld.localfly.edge.replay import Remember, Replay
from mcpctld.localfly.edge.settings import Service, Sticky
from mcpctld.protocols.http1_head import Bounds, Head, parse_head

SOURCE = Source("m1", "iad")
HEADER = Sticky("/mcp", 60, "header", "Mcp-Session-Id", allow_bypass=True)
COOKIE = Sticky("/", 60, "cookie", "s", allow_bypass=False)


def head(path: str = "/", **fields: str) -> Head:
    lines = [f"GET {path} HTTP/1.1", "Host: a"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
    made = parse_head("\r\n".join(lines).encode() + b"\r\n\r\n", Bounds())
    assert isinstance(made, Head)
    return made


def memory(
    cache: ReplayCache, *rules: Sticky, path: str = "/", app: str = "time", **fields: str
) -> Memory:
    return Memory(cache, app, Service(8080, 443, sticky=rules), head(path, **fields))


def replay(prefix: str = "", ttl_s: float = 30, **more: bool) -> Replay:
    return Replay(instance="m2", remember=Remember(prefix, ttl_s, **more) if prefix else None)


@pytest.mark.parametrize(
    ("prefix", "path", "found"),
    [
        ("/", "/any/thing", True),
        ("/api/", "/api/x", True),
        ("/api/", "/api/", True),
        ("/api", "/api/x", True),
        ("/api", "/api", True),
        ("/api/", "/api", False),
        ("/api/", "/other", False),
        ("/api", "/apix", False),
    ],
)
def test_a_path_below_the_prefix_is_remembered(prefix, path, found):
    cache = ReplayCache()
    memory(cache).remember(replay(prefix), SOURCE, 100)
    assert (memory(cache, path=f"{path}?query=/").recall(110) is not None) is found


def test_the_longest_prefix_counts():
    cache = ReplayCache()
    for prefix in ("/", "/a/b/", "/a/"):
        memory(cache).remember(replay(prefix), Source(prefix, ""), 100)
    entry = memory(cache, path="/a/b/c").recall(110)
    assert entry is not None
    assert entry.source.machine == "/a/b/"


@pytest.mark.parametrize(
    ("now", "found"), [(100, True), (129.9, True), (130, False), (1000, False)]
)
def test_it_is_remembered_for_so_long(now, found):
    cache = ReplayCache()
    memory(cache).remember(replay("/"), SOURCE, 100)
    assert (memory(cache).recall(now) is not None) is found


def test_another_app_s_requests_are_others():
    cache = ReplayCache()
    memory(cache).remember(replay("/"), SOURCE, 100)
    assert memory(cache, app="other").recall(110) is None


def test_it_can_be_invalidated():
    cache = ReplayCache()
    memory(cache).remember(replay("/a/"), SOURCE, 100)
    memory(cache).remember(replay("/a/", invalidate=True), SOURCE, 100)
    assert len(cache) == 0


@pytest.mark.parametrize(
    ("fields", "path", "found"),
    [
        ({"Mcp_Session_Id": "a"}, "/mcp", True),
        ({"Mcp_Session_Id": "b"}, "/mcp", False),
        ({"Mcp_Session_Id": "a"}, "/other", False),
        ({}, "/mcp", False),
    ],
)
def test_requests_with_the_same_header_go_the_same_way(fields, path, found):
    cache = ReplayCache()
    memory(cache, HEADER, path="/mcp/x", Mcp_Session_Id="a").remember(replay(), SOURCE, 100)
    later = memory(cache, HEADER, path=path, **fields)
    assert (later.recall(110) is not None) is found
    assert later.status == ("hit" if found else "miss" if fields and path == "/mcp" else "")


@pytest.mark.parametrize(
    ("cookie", "found"),
    [("s=1", True), ("a=b; s=1", True), ("s=2", False), ("a=b", False), ("=;;\x01s", False)],
)
def test_requests_with_the_same_cookie_go_the_same_way(cookie, found):
    cache = ReplayCache()
    memory(cache, COOKIE, Cookie="s=1; t=2").remember(replay(), SOURCE, 100)
    try:
        later = memory(cache, COOKIE, Cookie=cookie)
    except AssertionError:  # not a header
        return
    assert (later.recall(110) is not None) is found


@pytest.mark.parametrize(("rule", "status"), [(HEADER, "bypass"), (COOKIE, "hit")])
def test_a_client_may_go_round_it_only_where_that_is_allowed(rule, status):
    cache = ReplayCache()
    fields = {"Mcp_Session_Id": "a", "Cookie": "s=1"}
    memory(cache, rule, path="/mcp", **fields).remember(replay(), SOURCE, 100)
    later = memory(cache, rule, path="/mcp", Fly_Replay_Cache_Control="skip", **fields)
    assert (later.recall(110) is None) is (status == "bypass")
    assert later.fields() == [("fly-replay-cache-status", status)]


def test_what_leads_nowhere_is_forgotten():
    cache = ReplayCache()
    memory(cache).remember(replay("/"), SOURCE, 100)
    later = memory(cache)
    assert later.recall(110) is not None
    later.forget()
    assert len(cache) == 0
    assert later.status == "miss"


def test_there_is_room_for_so_many(monkeypatch):
    monkeypatch.setattr(remembering, "MOST", 3)
    cache = ReplayCache()
    for number in range(5):
        cache.add(Key("time", f"/{number}"), Entry(replay(), SOURCE, 100, allow_bypass=False))
    assert len(cache) == 3
    assert cache.find([Key("time", "/1")], 0) is None
    assert cache.find([Key("time", "/1"), Key("time", "/4")], 0) is not None


@given(st.from_regex(r"/[a-z/]{0,200}", fullmatch=True))
@settings(deadline=None, derandomize=True)
def test_the_prefixes_of_a_path_begin_it(path):
    keys = ReplayCache().prefixes("time", path)
    assert all(path.startswith(key.prefix) and key.prefix for key in keys)
    assert [len(key.prefix) for key in keys] == sorted(
        {len(key.prefix) for key in keys}, reverse=True
    )
    assert path in {key.prefix for key in keys}
    assert len(keys) <= 2 * remembering.MOST_SEGMENTS + 1
