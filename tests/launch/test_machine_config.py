import copy
import json
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpctld.launch.machine_config import machine_config, merge_patch
from mcpctld.launch.resolve import resolve
from mcpctld.launch.wish import Wish

SPEC = json.loads(
    (Path(__file__).parent.parent / "fixtures" / "fly" / "machines-openapi.json").read_text()
)
TIME = "uvx mcp-server-time"
WISHES = {
    "plain": Wish(command=TIME),
    "flys wrapper": Wish(command=TIME, wrapper="fly"),
    "setup": Wish(command=TIME, setup=["RUN echo hi"]),
    "go": Wish(command="go run example.com/x"),
    "image": Wish(image="acme/x", secrets={"A": "hush"}),
    "http": Wish(image="acme/x", transport="http", port=3001),
    "whole": Wish(
        command=TIME,
        server="time",
        flycast=True,
        volume="data:/data:auto_extend_size_threshold=80,auto_extend_size_increment=1,auto_extend_size_limit=2",
        env={"A": "b"},
        secrets={"S": "aHVzaA=="},
        file_secret={"/s": "S"},
        file_literal={"/l": "x"},
        host_dedication_id="h",
        vm_memory="2gb",
        policy="always",
    ),
}


def config(wish, **options):
    return machine_config(
        resolve(wish), **{"launch_id": "L1", "region": "iad", "volume_id": "vol_1", **options}
    )


@pytest.mark.parametrize("name", WISHES)
def test_flys_own_document_has_every_field_of_it(name):
    schema = {
        "$ref": "#/components/schemas/fly.MachineConfig",
        "components": strict(SPEC["components"]),
    }
    jsonschema.validate(config(WISHES[name]), schema)


def strict(components):
    """The document with objects that take no other fields than those it has."""
    components = copy.deepcopy(components)
    for schema in components["schemas"].values():
        if "properties" in schema:
            schema["additionalProperties"] = False
    return components


@pytest.mark.parametrize("name", WISHES)
def test_no_secret_is_in_it(name):
    text = json.dumps(config(WISHES[name]))
    assert "hush" not in text
    assert "aHVzaA" not in text


def test_what_an_mcp_server_needs_is_set():
    made = config(WISHES["plain"])
    [service] = made["services"]
    assert service["internal_port"] == 8080
    assert (service["autostart"], service["autostop"], service["min_machines_running"]) == (
        True,
        "suspend",
        0,
    )
    assert service["concurrency"]["type"] == "connections"
    assert service["concurrency"]["soft_limit"] < service["concurrency"]["hard_limit"]
    assert [port["http_options"] for port in service["ports"]] == [{"idle_timeout": 3600}] * 2
    assert [port["port"] for port in service["ports"]] == [80, 443]
    assert service["ports"][0]["force_https"]
    [check] = service["checks"]
    assert (check["type"], check["path"], check["grace_period"]) == ("http", "/health", "60s")
    assert made["stop_config"] == {"signal": "SIGTERM", "timeout": "30s"}
    assert made["guest"]["memory_mb"] == 1024
    assert made["env"] == {"FLY_PROCESS_GROUP": "app", "PRIMARY_REGION": "iad"}
    assert made["init"] == {"entrypoint": resolve(WISHES["plain"]).entrypoint, "cmd": TIME.split()}
    assert "files" not in made
    assert "mounts" not in made


def test_a_machine_is_known_again_by_its_metadata():
    assert config(WISHES["plain"])["metadata"] == {
        "fly_platform_version": "v2",
        "fly_process_group": "app",
        "mcpctl_server": "mcp-server-time",
        "mcpctl_launch": "L1",
        "mcpctl_wrapper": "mcpctl",
    }


def test_all_that_was_wished_is_in_it():
    made = config(WISHES["whole"])
    [service] = made["services"]
    assert service["ports"] == [
        {"port": 80, "handlers": ["http"], "http_options": {"idle_timeout": 3600}}
    ]
    assert (service["autostop"], service["min_machines_running"]) == ("off", 1)
    assert made["mounts"][0]["path"] == "/data"
    assert made["mounts"][0]["volume"] == "vol_1"
    assert made["mounts"][0]["size_gb_limit"] == 2
    assert [one["guest_path"] for one in made["files"]] == ["/l", "/s"]
    assert made["env"]["A"] == "b"
    assert made["guest"] == {
        "cpu_kind": "shared",
        "cpus": 1,
        "memory_mb": 2048,
        "host_dedication_id": "h",
    }


def test_a_volume_that_is_not_made_is_not_mounted():
    assert "mounts" not in config(WISHES["whole"], volume_id=None)


@pytest.mark.parametrize(
    ("name", "kind"), [("http", "tcp"), ("flys wrapper", "tcp"), ("go", "http")]
)
def test_only_our_front_is_asked_for_its_health(name, kind):
    [check] = config(WISHES[name])["services"][0]["checks"]
    assert check["type"] == kind
    assert ("path" in check) == (kind == "http")


@pytest.mark.parametrize("name", ["setup", "go", "image"])
def test_what_installs_first_gets_more_time(name):
    assert config(WISHES[name])["services"][0]["checks"][0]["grace_period"] == "300s"


@pytest.mark.parametrize(("name", "init"), [("flys wrapper", {"cmd": TIME.split()}), ("http", {})])
def test_what_the_image_starts_by_itself_is_left_alone(name, init):
    assert config(WISHES[name])["init"] == init


def test_fields_of_the_user_are_laid_over_ours():
    overlay = {
        "guest": {"memory_mb": 4096},
        "restart": None,
        "metadata": {"mine": "1", "mcpctl_server": "another"},
        "dns": {"hostname": "x"},
    }
    made = config(Wish(command=TIME, machine_config=overlay))
    assert made["guest"] == {"cpu_kind": "shared", "cpus": 1, "memory_mb": 4096}
    assert "restart" not in made
    assert made["dns"] == {"hostname": "x"}
    assert made["metadata"]["mine"] == "1"
    assert made["metadata"]["mcpctl_server"] == "mcp-server-time"


def test_a_machine_is_known_again_even_without_the_users_metadata():
    made = config(Wish(command=TIME, machine_config={"metadata": None}))
    assert made["metadata"]["mcpctl_launch"] == "L1"
    assert "fly_platform_version" not in made["metadata"]


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [  # RFC 7396, appendix A
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_patches_of_the_rfc(target, patch, result):
    assert merge_patch(target, patch) == result


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(derandomize=True, deadline=None)
@given(values, values)
def test_a_patch_is_laid_on_once_and_changes_neither_side(target, patch):
    before = copy.deepcopy((target, patch))
    merged = merge_patch(target, patch)
    assert (target, patch) == before
    assert merge_patch(merged, patch) == merged
