import tomllib

import pytest

from mcpctl import wire
from mcpctld.launch.eject import dockerfile, eject, fly_toml
from mcpctld.launch.resolve import resolve
from mcpctld.launch.review import review_fly_toml
from mcpctld.launch.wish import Wish

TIME = "uvx mcp-server-time"
VOLUME = (
    "data:/data:initial_size=2GB,snapshot_retention=7,scheduled_snapshots=true,"
    "auto_extend_size_threshold=80,auto_extend_size_increment=1GB,auto_extend_size_limit=10GB"
)


def ejected(**fields):
    return resolve(Wish(**{"command": TIME, **fields}), builder=True)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"volume": VOLUME},
        {"setup": ["RUN x"]},
        {"image": "acme/x"},
        {"auto_stop": "stop", "vm_size": "performance-2x"},
    ],
)
def test_our_own_review_finds_nothing(fields):
    assert review_fly_toml(fly_toml(ejected(**fields))) == []


def test_what_an_mcp_server_needs_is_set():
    made = tomllib.loads(fly_toml(ejected(server="time", region="iad", env={"A": "b"})))
    assert (made["app"], made["primary_region"], made["env"]) == ("time", "iad", {"A": "b"})
    assert (made["kill_signal"], made["kill_timeout"]) == ("SIGTERM", "30s")
    service = made["http_service"]
    assert service["http_options"] == {"idle_timeout": 3600}
    assert (service["auto_stop_machines"], service["auto_start_machines"]) == ("suspend", True)
    assert (service["min_machines_running"], service["force_https"]) == (0, True)
    assert service["concurrency"]["soft_limit"] < service["concurrency"]["hard_limit"]
    assert service["checks"][0]["path"] == "/health"
    assert made["vm"] == [{"cpu_kind": "shared", "cpus": 1, "memory": "1024mb"}]
    assert made["build"] == {"dockerfile": "Dockerfile"}


def test_a_volume_keeps_all_its_options():
    assert tomllib.loads(fly_toml(ejected(volume=VOLUME)))["mounts"] == [
        {
            "source": "data",
            "destination": "/data",
            "initial_size": "2gb",
            "snapshot_retention": 7,
            "scheduled_snapshots": True,
            "auto_extend_size_threshold": 80,
            "auto_extend_size_increment": "1GB",
            "auto_extend_size_limit": "10GB",
        }
    ]


def test_other_wishes_have_their_places():
    wish = ejected(policy="always", flycast=True, host_dedication_id="h", file_literal={"/l": "x"})
    made = tomllib.loads(fly_toml(wish))
    assert made["http_service"]["min_machines_running"] == 1
    assert made["http_service"]["force_https"] is False
    assert made["vm"][0]["host_dedication_id"] == "h"
    assert made["files"] == [{"guest_path": "/l", "raw_value": "eA=="}]


def test_secrets_are_named_and_not_written():
    text = "".join(eject(ejected(secrets={"A": "hush"})).values())
    assert "fly secrets set A=..." in text
    assert "fly secrets set FLY_MCP_BEARER_TOKEN=..." in text
    assert "hush" not in text


def test_a_server_of_its_own_kind_has_no_check_for_a_path_that_it_may_not_have():
    made = fly_toml(ejected(image="acme/x", transport="http", port=3001))
    assert "checks" not in tomllib.loads(made)["http_service"]
    assert "One machine" in made


@pytest.mark.parametrize(
    ("fields", "lines"),
    [
        (
            {},
            [
                "FROM flyio/mcp",
                f'ENTRYPOINT ["uvx", "--from", "mcpctl=={wire.VERSION}", "mcpctl", "wrap", "--"]',
                'CMD ["uvx", "mcp-server-time"]',
                "EXPOSE 8080",
            ],
        ),
        (
            {"image": "acme/x", "setup": ["RUN a", "b"]},
            [
                "FROM acme/x",
                "COPY --from=astral/uv /uv /uvx /usr/local/bin/",
                "RUN a",
                "RUN b",
                f'ENTRYPOINT ["uvx", "--from", "mcpctl=={wire.VERSION}", "mcpctl", "wrap", "--"]',
                'CMD ["uvx", "mcp-server-time"]',
                "EXPOSE 8080",
            ],
        ),
        (
            {"image": "acme/x", "wrapper": "fly"},
            [
                "FROM acme/x",
                "COPY --from=flyio/flyctl /flyctl /usr/bin/flyctl",
                'ENTRYPOINT ["/usr/bin/flyctl", "mcp", "wrap", "--"]',
                'CMD ["uvx", "mcp-server-time"]',
                "EXPOSE 8080",
            ],
        ),
        (
            {"image": "acme/x", "command": None, "transport": "http", "port": 3001},
            ["FROM acme/x", "EXPOSE 3001"],
        ),
    ],
)
def test_the_dockerfile_has_the_front_the_setup_and_the_words(fields, lines):
    assert dockerfile(ejected(**fields)).splitlines() == lines
