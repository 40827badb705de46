"""`mcpctld.localfly.edge.names`: whose request it is."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpctld.localfly.edge.names import Named, is_of_another_page, read_host
from mcpctld.protocols.http1 import Headers

LABELS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("time.localhost", Named("time", private=False)),
        ("time.localhost:4280", Named("time", private=False)),
        ("Time.LocalHost.", Named("time", private=False)),
        ("time.fly.dev", Named("time", private=False)),
        ("time.flycast", Named("time", private=True)),
        ("time.flycast.localhost:80", Named("time", private=True)),
        ("flycast.localhost", Named("flycast", private=False)),
        ("a-b-9.localhost", Named("a-b-9", private=False)),
        (None, None),
        ("", None),
        ("localhost", None),
        (".localhost", None),
        ("a.b.localhost", None),
        ("-a.localhost", None),
        ("a_b.localhost", None),
        ("a" * 64 + ".localhost", None),
        ("time.example", None),
        ("time.localhost.example", None),
        ("127.0.0.1:80", None),
        ("[::1]:80", None),
    ],
)
def test_a_host_names_an_app_or_nobody(host, expected):
    assert read_host(host) == expected


@given(LABELS, st.sampled_from([".localhost", ".fly.dev", ".flycast", ".flycast.localhost"]))
@settings(deadline=None, derandomize=True)
def test_every_app_has_two_addresses_of_each_kind(app, suffix):
    if app == "flycast" and suffix == ".localhost":
        return
    assert read_host(f"{app}{suffix}:8080") == Named(app, private="flycast" in suffix)


@given(st.text(max_size=80))
@settings(deadline=None, derandomize=True)
def test_anything_may_come(host):
    named = read_host(host)
    assert named is None or named.app in host.lower()


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, False),
        ({"origin": "http://time.flycast.localhost:80"}, False),
        ({"origin": "http://TIME.flycast.localhost:80", "sec-fetch-site": "same-origin"}, False),
        ({"sec-fetch-site": "none"}, False),
        ({"origin": "http://time.flycast.localhost:81"}, True),
        ({"origin": "https://evil.example"}, True),
        ({"origin": "null"}, True),
        ({"origin": ""}, True),
        ({"sec-fetch-site": "cross-site"}, True),
        ({"sec-fetch-site": "same-site"}, True),
    ],
)
def test_pages_from_elsewhere_are_known(fields, expected):
    pairs = {"host": "time.flycast.localhost:80"} | fields
    headers = Headers([(name.encode(), value.encode()) for name, value in pairs.items()])
    assert is_of_another_page(headers) is expected
