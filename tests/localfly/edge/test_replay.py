"""`mcpctld.localfly.edge.replay`, `regions` and `ways`: what `fly-replay` says, and where it leads."""

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpctld.localfly.edge.regions import read_regions
from mcpctld.localfly.edge.remembering import Source
from mcpctld.localfly.edge.replay import (
    BadReplay,
    Remember,
    Replay,
    Transform,
    failed_header,
    is_instructions,
    read_body,
    read_header,
    source_header,
)
from mcpctld.localfly.edge.routing import Wish
from mcpctld.localfly.edge.ways import Way, fall_back, follow, read_wish, told
from mcpctld.protocols.http1 import Headers
from mcpctld.wrap.affinity import replay_headers


def headers(*pairs: tuple[str, str]) -> Headers:
    return Headers([(name.encode(), value.encode("latin-1")) for name, value in pairs])


def read(text: str) -> Replay | None:
    return read_header(headers(("Fly-Replay", text)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("instance=148e21c4", {"instance": "148e21c4"}),
        ("prefer_instance=m1", {"prefer_instance": "m1"}),
        ("app=other;instance=m1", {"app": "other", "instance": "m1"}),
        ("region=ams", {"regions": {"ams"}}),
        ('region="ams, iad";state=x', {"regions": {"ams", "iad"}, "state": "x"}),
        ("ams", {"regions": {"ams"}}),
        ("region=any;state=x", {"regions": set(), "state": "x"}),
        ("elsewhere=true", {"elsewhere": True}),
        ("instance=m1;elsewhere=false", {"elsewhere": False}),
        (" instance = m1 ; state = a b=c ", {"instance": "m1", "state": "a b=c"}),
        ("instance=m1;timeout=10s", {"timeout_s": 10}),
        ("instance=m1;timeout=500ms", {"timeout_s": 0.5}),
        ("instance=m1;timeout=2m", {"timeout_s": 120}),
        ("instance=m1;timeout=1.5", {"timeout_s": 1.5}),
        ("instance=m1", {"timeout_s": math.inf, "fallback": ""}),
        ("instance=m1;fallback=prefer_self", {"fallback": "prefer_self"}),
        ("instance=m1;unknown=x", {"instance": "m1"}),
        ("instance=m1;", {"instance": "m1"}),
    ],
)
def test_the_header_is_read(text, expected):
    replay = read(text)
    assert replay is not None
    assert {name: getattr(replay, name) for name in expected} == expected


def test_what_our_own_wrap_says_is_understood():
    replay = read_header(headers(*replay_headers("m1")))
    assert replay == Replay(instance="m1", timeout_s=10, fallback="force_self")


def test_an_answer_without_it_is_for_the_client():
    assert read_header(headers(("Content-Type", "text/html"))) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        ";",
        "state=x",
        "instance=",
        "instance=m1;timeout=soon",
        "instance=m1;fallback=me",
        "=x",
        "a b=c",
    ],
)
def test_what_leads_nowhere_is_told(text):
    with pytest.raises(BadReplay):
        read(text)


@given(st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=60))
@settings(deadline=None, derandomize=True, max_examples=200)
def test_any_header_is_read_or_refused(text):
    try:
        replay = read(text)
    except BadReplay:
        return
    assert replay is not None


# ---------------------------------------------------------------- bodies


def body(**fields: object) -> Replay:
    return read_body(json.dumps(fields).encode())


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"instance": "m1", "state": "s"}, Replay(instance="m1", state="s")),
        ({"elsewhere": True}, Replay(elsewhere=True)),
        ({"region": "us", "timeout": "3s"}, Replay(regions=read_regions("us"), timeout_s=3)),
        (
            {
                "app": "a",
                "transform": {"path": "/x", "delete_headers": ["X-Y"], "set_headers": {"A": "b"}},
            },
            Replay(app="a", transform=Transform("/x", frozenset({"x-y"}), (("A", "b"),))),
        ),
        (
            {"app": "a", "transform": {"set_headers": [{"name": "A", "value": "b"}]}},
            Replay(app="a", transform=Transform(set_headers=(("A", "b"),))),
        ),
        (
            {"app": "a", "cache": {"prefix": "/x", "ttl": "30s"}, "allow_bypass": True},
            Replay(app="a", remember=Remember("/x", 30, allow_bypass=True)),
        ),
        (
            {"cache": {"prefix": "/x", "invalidate": True}},
            Replay(remember=Remember("/x", 10, invalidate=True)),
        ),
    ],
)
def test_instructions_are_read(fields, expected):
    assert body(**fields) == expected


@pytest.mark.parametrize(
    "data",
    [
        b"", b"{", b"[]", b"7", b"\xff", b"{}",
        b'{"instance": 7}',
        b'{"instance": "a\\nb"}',
        b'{"instance": "m", "transform": {"path": "x"}}',
        b'{"instance": "m", "transform": {"path": 7}}',
        b'{"instance": "m", "transform": {"set_headers": {"A": 7}}}',
        b'{"instance": "m", "transform": {"set_headers": [{"name": "A"}]}}',
        b'{"instance": "m", "transform": {"set_headers": {"A b": "c"}}}',
        b'{"instance": "m", "transform": {"set_headers": {"A": "b\\r\\nc: d"}}}',
    ],
)  # fmt: skip
def test_instructions_that_make_no_sense_are_refused(data):
    with pytest.raises(BadReplay):
        read_body(data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
)
NAMES = [
    "app",
    "instance",
    "region",
    "state",
    "elsewhere",
    "timeout",
    "fallback",
    "transform",
    "cache",
]


@given(st.dictionaries(st.sampled_from(NAMES), JSON))
@settings(deadline=None, derandomize=True, max_examples=60)
def test_any_instructions_are_read_or_refused(fields):
    try:
        replay = read_body(json.dumps(fields).encode())
    except BadReplay:
        return
    assert isinstance(replay, Replay)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("application/vnd.fly.replay+json", True),
        ("Application/VND.fly.replay+JSON; charset=utf-8", True),
        ("application/json", False),
        (None, False),
    ],
)
def test_instructions_are_known_by_their_type(kind, expected):
    pairs = [] if kind is None else [("content-type", kind)]
    assert is_instructions(headers(*pairs)) is expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, None),
        ({"fly-replay-cache": "/api/*"}, Remember("/api/", 10)),
        ({"fly-replay-cache": "app.example/api/*"}, Remember("/api/", 10)),
        ({"fly-replay-cache": "/", "fly-replay-cache-ttl-secs": "60"}, Remember("/", 60)),
        ({"fly-replay-cache": "/", "fly-replay-cache-ttl-secs": "1"}, Remember("/", 10)),
        ({"fly-replay-cache": "/", "fly-replay-cache-ttl-secs": "x"}, Remember("/", 10)),
        (
            {"fly-replay-cache": "/", "fly-replay-cache-allow-bypass": "yes"},
            Remember("/", 10, allow_bypass=True),
        ),
    ],
)
def test_what_is_to_be_remembered_is_read(fields, expected):
    replay = read_header(headers(("fly-replay", "instance=m1"), *fields.items()))
    assert replay is not None
    assert replay.remember == expected


# ---------------------------------------------------------------- regions


@pytest.mark.parametrize(
    ("text", "some", "none"),
    [
        ("eu", {"ams", "fra"}, {"iad"}),
        ("usa", {"iad"}, {"yyz", "ams"}),
        ("na", {"iad", "yyz"}, {"ams"}),
        ("apac,sa", {"nrt", "gru"}, {"iad"}),
        ("IAD", {"iad"}, {"ams"}),
        ("any", set(), {"iad"}),
        ("", set(), {"iad"}),
    ],
)
def test_regions_have_names_together(text, some, none):
    regions = read_regions(text)
    assert some <= regions
    assert not none & regions
    assert all(len(code) == 3 for code in regions)


# ---------------------------------------------------------------- ways


SOURCE = Source("m1", "iad")


def test_a_replay_is_followed_and_its_machine_hears_of_whom():
    replay = Replay(instance="m2", state="s", elsewhere=True)
    way = follow(replay, "time", SOURCE, 17)
    assert (way.app, way.wish) == ("time", Wish("m2", excluded=frozenset({"m1"})))
    assert way.fields == (("fly-replay-src", "instance=m1;region=iad;t=17;state=s"),)


def test_without_a_state_none_is_told():
    assert source_header("m1", "iad", 1, "")[1] == "instance=m1;region=iad;t=1"


@pytest.mark.parametrize(
    ("fallback", "wish"),
    [("force_self", Wish(instance="m1")), ("prefer_self", Wish(prefer_instance="m1")), ("", None)],
)
def test_back_to_whom_it_came_from(fallback, wish):
    way = follow(Replay(app="other", instance="m2", fallback=fallback), "time", SOURCE, 17)
    back = fall_back(way, "timeout", 1.25)
    if wish is None:
        assert back is None
        return
    assert back is not None
    assert (back.app, back.wish, back.replay) == ("time", wish, None)
    assert back.fields == ((
        "fly-replay-failed",
        "instance=m2;app=other;replay_source=m1;reason=timeout;elapsed_ms=1250",
    ),)  # fmt: skip


def test_a_request_that_was_not_replayed_has_nowhere_to_fall_back_to():
    assert fall_back(Way("time"), "timeout", 0) is None


def test_a_failure_names_the_regions():
    replay = Replay(regions=frozenset({"b", "a"}))
    assert "region=a,b;" in failed_header(replay, "time", "m1", "no_candidate", 0)[1]


@pytest.mark.parametrize(("machine", "count"), [("m2", 0), ("m3", 1)])
def test_who_was_not_preferred_hears_who_was(machine, count):
    way = told(Way("time", Wish(prefer_instance="m2")), machine)
    assert way.fields == (("fly-preferred-instance-unavailable", "m2"),) * count


def test_what_a_client_wishes_is_read():
    pairs = (
        ("fly-force-instance-id", "a"), ("fly-prefer-instance-id", "b"),
        ("fly-force-region", "c"), ("fly-prefer-region", "d"),
    )  # fmt: skip
    assert read_wish(headers(*pairs)) == Wish("a", "b", frozenset({"c"}), "d")
    assert read_wish(headers()) == Wish()
