import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpctld.errors import UserError
from mcpctld.launch import facts
from mcpctld.launch.facts import Facts

WHOLE = """
app = 'x'
kill_timeout = '30s'
swap_size_mb = 512
[http_service]
internal_port = 3000
force_https = true
auto_stop_machines = 'suspend'
auto_start_machines = false
min_machines_running = 2
[http_service.http_options]
idle_timeout = 3600
h2_backend = true
[http_service.concurrency]
type = 'requests'
soft_limit = 150
hard_limit = 200
[[http_service.checks]]
grace_period = '1m30s'
[[vm]]
size = 'shared-cpu-2x'
memory = '1gb'
[mounts]
source = 'data'
"""


def test_a_whole_fly_toml():
    assert facts.of_fly_toml(WHOLE) == Facts(
        dialect="fly.toml",
        has_service=True,
        ends_tls=True,
        idle_timeout=3600,
        h2_backend=True,
        autostop="suspend",
        autostart=False,
        min_machines=2,
        has_check=True,
        grace=90,
        concurrency="requests",
        soft_limit=150,
        hard_limit=200,
        kill_timeout=30,
        memory_mb=1024,
        swap_mb=512,
        has_volume=True,
    )


def test_an_empty_fly_toml_says_nothing():
    assert facts.of_fly_toml("") == Facts(dialect="fly.toml", has_service=False)


def test_services_are_the_older_form():
    found = facts.of_fly_toml("""
kill_timeout = 7
[[services]]
internal_port = 8080
auto_stop_machines = true
[[services.ports]]
port = 80
handlers = ['http']
force_https = true
[[services.ports]]
port = 443
handlers = ['tls', 'http']
http_options = { idle_timeout = 100 }
[[services.http_checks]]
grace_period = '5s'
[services.concurrency]
hard_limit = 25
""")
    assert (found.has_service, found.ends_tls, found.idle_timeout) == (True, True, 100)
    assert (found.autostop, found.kill_timeout) == ("stop", 7)
    assert (found.concurrency, found.hard_limit) == ("connections", 25)
    assert (found.has_check, found.grace) == (True, 5)


def test_a_top_level_check_is_one():
    found = facts.of_fly_toml(
        "[http_service]\ninternal_port = 1\n[checks.alive]\ngrace_period = '9s'\n"
    )
    assert (found.has_check, found.grace, found.ends_tls) == (True, 9, False)


@pytest.mark.parametrize(
    ("vm", "memory"),
    [
        ("[[vm]]\nmemory = '512mb'", 512),
        ("[[vm]]\nmemory = 512", 512),
        ("[[vm]]\nmemory_mb = 512", 512),
        ("[[vm]]\nsize = 'shared-cpu-1x'", 256),
        ("[[vm]]\ncpu_kind = 'performance'", 2048),
        ("[[vm]]\ncpukind = 'performance'\ncpus = 2", 4096),
        ("[[vm]]\nmemory = 'much'", None),
        ("", None),
    ],
)
def test_memory_is_said_in_many_ways(vm, memory):
    assert facts.of_fly_toml(vm).memory_mb == memory


@pytest.mark.parametrize("line", ["# mcpctl wrap", "[processes]\napp = 'mcpctl wrap -- x'"])
def test_a_mention_of_our_front_is_believed(line):
    assert facts.of_fly_toml(line).fronted


def test_what_is_not_toml_is_refused():
    with pytest.raises(UserError, match="cannot read it as TOML"):
        facts.of_fly_toml("= 1")


def test_a_whole_machine():
    service = {
        "autostop": "stop",
        "autostart": False,
        "min_machines_running": 1,
        "concurrency": {"type": "connections", "soft_limit": 1, "hard_limit": 2},
        "ports": [
            {"port": 80, "handlers": ["http"]},
            {
                "port": 443,
                "handlers": ["http", "tls"],
                "http_options": {"idle_timeout": 30, "h2_backend": True},
            },
        ],
        "checks": [{"grace_period": "500ms"}],
    }
    config = {
        "services": [service],
        "guest": {"memory_mb": 4096},
        "init": {"swap_size_mb": 256},
        "stop_config": {"timeout": "1h"},
        "schedule": "daily",
        "mounts": [{"volume": "v"}],
        "metadata": {"mcpctl_wrapper": "mcpctl"},
    }
    assert facts.of_machine(config) == Facts(
        dialect="machine",
        has_service=True,
        ends_tls=False,
        idle_timeout=30,
        h2_backend=True,
        autostop="stop",
        autostart=False,
        min_machines=1,
        has_check=True,
        grace=0.5,
        concurrency="connections",
        soft_limit=1,
        hard_limit=2,
        kill_timeout=3600,
        memory_mb=4096,
        swap_mb=256,
        schedule="daily",
        has_volume=True,
        fronted=True,
    )


@pytest.mark.parametrize(
    ("said", "meant"), [(False, "off"), (None, "off"), (True, "stop"), ("suspend", "suspend")]
)
def test_autostop_as_answers_of_the_api_have_it(said, meant):
    assert facts.of_machine({"services": [{"autostop": said}]}).autostop == meant


def test_a_machine_with_a_private_port_only_needs_no_tls():
    ports = [{"port": 80, "handlers": ["http"]}]
    assert facts.of_machine({"services": [{"ports": ports}]}).ends_tls


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("30s", 30),
        ("1m30s", 90),
        ("500ms", 0.5),
        ("1.5h", 5400),
        ("", None),
        ("30", None),
        ("x", None),
        ("1s ", None),
    ],
)
def test_durations_as_go_writes_them(text, length):
    assert facts.seconds(text) == length


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2)
    | st.dictionaries(
        st.sampled_from(
            ["services", "ports", "handlers", "checks", "guest", "memory_mb", "init", "stop_config", "timeout",
             "concurrency", "type", "soft_limit", "http_options", "idle_timeout", "metadata", "autostop", "mounts"]
        ),
        inner,
        max_size=4,
    ),
)  # fmt: skip


@settings(derandomize=True, deadline=None)
@given(values.filter(lambda value: isinstance(value, dict)))
def test_whatever_a_machine_is_said_to_be_has_facts(config):
    assert facts.of_machine(config).dialect == "machine"
