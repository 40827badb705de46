import pytest

from mcpctld.launch.machine_config import machine_config
from mcpctld.launch.resolve import resolve
from mcpctld.launch.review import review_fly_toml, review_machine
from mcpctld.launch.wish import Wish

GOOD = """
kill_timeout = '30s'
[http_service]
force_https = true
auto_stop_machines = 'suspend'
[http_service.http_options]
idle_timeout = 3600
[http_service.concurrency]
type = 'connections'
soft_limit = 100
hard_limit = 200
[[http_service.checks]]
grace_period = '60s'
[[vm]]
memory = '1gb'
[mounts]
source = 'data'
"""


def test_a_good_fly_toml_is_not_criticised():
    assert review_fly_toml(GOOD) == []


@pytest.mark.parametrize(
    ("old", "new", "level", "setting", "message"),
    [
        (
            "idle_timeout = 3600",
            "",
            "problem",
            "http_options.idle_timeout",
            "silent for 60 s are cut",
        ),
        (
            "idle_timeout = 3600",
            "idle_timeout = 300",
            "problem",
            "http_options.idle_timeout",
            "silent for 300 s",
        ),
        (
            "idle_timeout = 3600",
            "idle_timeout = 900",
            "advice",
            "http_options.idle_timeout",
            "after 900 s",
        ),
        (
            "idle_timeout = 3600",
            "idle_timeout = 3600\nh2_backend = true",
            "advice",
            "http_options.h2_backend",
            "h2c",
        ),
        ("force_https = true", "", "problem", "force_https", "in clear"),
        ("'suspend'", "'maybe'", "problem", "auto_stop_machines", "'maybe' is none of"),
        (
            "'suspend'",
            "'suspend'\nauto_start_machines = false",
            "problem",
            "auto_start_machines",
            "never comes back",
        ),
        ("'suspend'", "'off'", "advice", "auto_stop_machines", "costs, all the time"),
        (
            "'suspend'",
            "'off'\nmin_machines_running = 1",
            "advice",
            "min_machines_running",
            "does nothing",
        ),
        (
            "'suspend'",
            "'suspend'\nmin_machines_running = 1",
            "advice",
            "min_machines_running",
            "1: so many run",
        ),
        (
            "'suspend'",
            "'stop'\nmin_machines_running = 2",
            "problem",
            "min_machines_running",
            "2: sessions live",
        ),
        ("'1gb'", "'4gb'\ncpus = 2", "problem", "memory", "4096 MB are too many to suspend"),
        ("'1gb'", "'256mb'", "advice", "memory", "256 MB are little"),
        (
            "kill_timeout",
            "swap_size_mb = 1\nkill_timeout",
            "problem",
            "swap_size_mb",
            "swap cannot be suspended",
        ),
        ("kill_timeout = '30s'", "", "advice", "kill_timeout", "get 5 s when it stops"),
        ("kill_timeout = '30s'", "kill_timeout = 10", "advice", "kill_timeout", "get 10 s"),
        (
            "kill_timeout = '30s'",
            "kill_timeout = '10m'",
            "problem",
            "kill_timeout",
            "600 s are more than",
        ),
        ("[[http_service.checks]]\ngrace_period = '60s'", "", "advice", "checks", "GET /health"),
        (
            "grace_period = '60s'",
            "grace_period = '5s'",
            "advice",
            "checks.grace_period",
            "5 s of grace",
        ),
        ("grace_period = '60s'", "interval = '60s'", "advice", "checks.grace_period", "no grace"),
        (
            "hard_limit = 200",
            "hard_limit = 50",
            "problem",
            "concurrency",
            "100 is above the hard limit of 50",
        ),
        ("hard_limit = 200", "", "advice", "concurrency", "no hard limit"),
        ("'connections'", "'requests'", "advice", "concurrency", "it counts requests"),
        ("[mounts]\nsource = 'data'", "", "advice", "machines", "--ha=false"),
    ],
)
def test_each_mistake_is_found_alone(old, new, level, setting, message):
    assert old in GOOD
    [found] = review_fly_toml(GOOD.replace(old, new))
    assert (found.level, found.setting) == (level, setting)
    assert message in found.message


def test_limits_that_are_not_said_are_pointed_out():
    text = GOOD.replace(
        "[http_service.concurrency]\ntype = 'connections'\nsoft_limit = 100\nhard_limit = 200", ""
    )
    [found] = review_fly_toml(text)
    assert "the soft limit is 20" in found.message


def test_without_a_service_nothing_else_matters():
    [found] = review_fly_toml("kill_timeout = 1")
    assert (found.level, found.setting) == ("problem", "services")


def test_problems_come_first():
    text = GOOD.replace("'1gb'", "'256mb'").replace("idle_timeout = 3600", "")
    assert [one.level for one in review_fly_toml(text)] == ["problem", "advice"]


def test_our_front_takes_sessions_along():
    text = GOOD.replace("'suspend'", "'stop'\nmin_machines_running = 2").replace(
        "[mounts]\nsource = 'data'", ""
    )
    assert "problem" in {one.level for one in review_fly_toml(text)}
    text = "# mcpctl wrap\n" + text.replace("idle_timeout", "h2_backend = true\nidle_timeout")
    assert [one.setting for one in review_fly_toml(text)] == ["min_machines_running"]


@pytest.mark.parametrize(
    "fields",
    [{}, {"flycast": True}, {"volume": "d:/d"}, {"auto_stop": "stop", "vm_size": "performance-2x"}],
)
def test_what_we_launch_is_not_criticised(fields):
    resolved = resolve(Wish(command="uvx mcp-server-time", **fields))
    config = machine_config(resolved, launch_id="L", region="iad", volume_id="vol_1")
    assert review_machine(config, machines=2) == []


def test_the_settings_of_a_machine_have_their_own_names():
    config = {
        "services": [{"autostop": "suspend", "autostart": False}],
        "guest": {"memory_mb": 4096},
        "schedule": "daily",
    }
    settings = {one.setting for one in review_machine(config, machines=2) if one.level == "problem"}
    assert settings == {"idle_timeout", "autostart", "guest.memory_mb", "schedule", "machines"}


def test_fields_that_fly_would_drop_are_found():
    found = review_machine({"services": [{"auto_stop_machines": "off"}]})
    assert "it is called autostop there" in found[0].message
