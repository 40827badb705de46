"""`mcpctld.localfly.edge.settings`: services out of configurations, also out of strange ones."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpctld.localfly.edge.settings import Service, Sticky, find_service, read_autostop


def config(**changes: Any) -> dict[str, Any]:
    return {
        "services": [{"internal_port": 8080, "protocol": "tcp", "ports": [{"port": 443}]} | changes]
    }


def test_what_is_not_said_is_what_fly_takes():
    assert find_service(config(), private=False) == Service(
        internal_port=8080, port=443, autostart=True, autostop="off", min_running=0, soft_limit=20,
        hard_limit=None, idle_timeout_s=60, pristine=False, set_headers=(), drop_headers=frozenset(),
        sticky=(),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"autostart": False}, {"autostart": False}),
        ({"autostop": "suspend"}, {"autostop": "suspend"}),
        ({"autostop": True}, {"autostop": "stop"}),
        ({"min_machines_running": 2}, {"min_running": 2}),
        (
            {"concurrency": {"type": "requests", "soft_limit": 5, "hard_limit": 9}},
            {"soft_limit": 5, "hard_limit": 9},
        ),
        (
            {"ports": [{"port": 443, "http_options": {"idle_timeout": 3600}}]},
            {"idle_timeout_s": 3600},
        ),
        (
            {"ports": [{"port": 443, "http_options": {"response": {"pristine": True}}}]},
            {"pristine": True},
        ),
        (
            {
                "ports": [
                    {"port": 443, "http_options": {"response": {"headers": {"A": "1", "B": False}}}}
                ]
            },
            {"set_headers": (("A", "1"),), "drop_headers": frozenset({"b"})},
        ),
        ({"concurrency": {"soft_limit": "many", "hard_limit": -1}}, {}),
        ({"concurrency": "much"}, {}),
        ({"autostop": "sometimes"}, {}),
    ],
)
def test_what_is_said_counts(changes, expected):
    service = find_service(config(**changes), private=False)
    assert {name: getattr(service, name) for name in expected} == expected
    kept = {"soft_limit": 20, "hard_limit": None, "autostop": "off"} if not expected else {}
    assert {name: getattr(service, name) for name in kept} == kept


def test_rules_for_sessions_are_read():
    rule = {"path_prefix": "/mcp", "ttl_seconds": 30, "type": "cookie", "name": "s"}
    ports = [{"port": 443, "http_options": {"replay_cache": [rule, "nonsense"]}}]
    service = find_service(config(ports=ports), private=False)
    assert service is not None
    assert service.sticky == (Sticky("/mcp", 30, "cookie", "s", allow_bypass=False),)


@pytest.mark.parametrize(
    ("ports", "private", "port"),
    [
        ([{"port": 80}, {"port": 443}], False, 443),
        ([{"port": 80}, {"port": 443}], True, 80),
        ([{"port": 80}], False, 80),
        ([{"port": 443}], True, 443),
        ([{"port": 9000}], False, 9000),
        ([{"port": 9000}, {"start_port": 400, "end_port": 500}], False, 443),
    ],
)
def test_the_port_is_the_one_that_https_reaches_or_http_on_the_private_network(
    ports, private, port
):
    service = find_service(config(ports=ports), private=private)
    assert service is not None
    assert service.port == port


def test_of_several_services_it_is_the_one_with_that_port():
    services = [
        {"internal_port": 1, "ports": [{"port": 9000}]},
        {"internal_port": 2, "protocol": "udp", "ports": [{"port": 443}]},
        {"internal_port": 3, "ports": [{"port": 443}]},
    ]
    service = find_service({"services": services}, private=False)
    assert service is not None
    assert service.internal_port == 3


@pytest.mark.parametrize(
    "config_", [{}, {"services": []}, {"services": None}, config(ports=[]), config(internal_port=0)]
)
def test_without_a_service_nobody_listens(config_):
    assert find_service(config_, private=False) is None


def test_a_machine_may_be_kept_from_being_started():
    service = find_service(config() | {"disable_machine_autostart": True}, private=False)
    assert service is not None
    assert not service.autostart


@pytest.mark.parametrize(
    ("value", "expected"),
    [("off", "off"), (False, "off"), (None, "off"), (True, "stop"), ("stop", "stop"),
     ("suspend", "suspend"), (7, "off")],
)  # fmt: skip
def test_autostop_is_a_word_or_a_boolean(value, expected):
    assert read_autostop(value) == expected


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
)


@given(
    st.dictionaries(
        st.sampled_from(
            [
                "internal_port",
                "protocol",
                "ports",
                "concurrency",
                "autostop",
                "autostart",
                "min_machines_running",
            ]
        ),
        JSON,
    ),
    st.dictionaries(st.sampled_from(["port", "http_options", "start_port", "end_port"]), JSON),
)
@settings(deadline=None, derandomize=True, max_examples=60)  # fmt: skip
def test_any_configuration_is_read(service, port):
    made = {"internal_port": 8080, "ports": [port]} | service
    found = find_service({"services": [made]}, private=False)
    assert found is None or found.soft_limit > 0
