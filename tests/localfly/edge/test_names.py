"""`mcpctld.localfly.edge.names`: whose request it is."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpctld.localfly.edge.names import Named, read_host

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
