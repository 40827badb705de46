"""The API over real sockets: who may ask, and what the real one was seen to answer."""

import base64
import http.client
import re
from pathlib import Path

import httpx
import pytest

from harness import wait_until
from localfly.conftest import SLEEPER, Fly


def refused(answer: httpx.Response) -> tuple[int, str]:
    assert answer.status_code >= 400
    body = answer.json()
    return answer.status_code, body.get("error") or body["message"]


# ---------------------------------------------------------------- who may ask


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"), ("GET", "/v1"), ("POST", "/v1/apps/a/machines/m/nothing"), ("PUT", "/v1/apps"),
        ("GET", "/v1/apps//machines"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_said_before_the_token_is_looked_at(fly: Fly, method, path):
    answer = httpx.request(method, fly.place["api"] + path)
    assert (answer.status_code, answer.text) == (404, "404 page not found\n")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/apps?org_slug=personal", {"message": "Unauthorized"}),
        ("/v1/apps/a/machines", {"error": "Authenticate: token validation error"}),
    ],
)
@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer wrong", "FlyV1 wrong"])
def test_without_the_token(fly: Fly, path, body, header):
    headers = {} if header is None else {"Authorization": header}
    answer = httpx.get(fly.place["api"] + path, headers=headers)
    assert (answer.status_code, answer.json()) == (401, body)
    assert answer.headers["fly-request-id"]


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "FlyV1", "Bearer FlyV1"])
def test_with_the_token(fly: Fly, scheme):
    headers = {"Authorization": f"{scheme} {fly.place['token']}"}
    answer = httpx.get(fly.place["api"] + "/v1/tokens/current", headers=headers)
    assert answer.json()["tokens"][0]["org_slug"] == "personal"


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
    ],
)
def test_web_pages_are_refused_whatever_they_know(fly: Fly, headers):
    assert fly.ask("GET", "/v1/tokens/current", headers=headers).status_code == 403


def test_regions_are_for_everybody(fly: Fly):
    answer = httpx.get(fly.place["api"] + "/v1/platform/regions").json()
    assert {"iad", "fra"} < {row["code"] for row in answer["Regions"]}


def test_the_place_file_is_private(fly: Fly):
    assert (fly.folder / "localfly.json").stat().st_mode & 0o777 == 0o600
    assert fly.place["pid"] == fly.process.pid


@pytest.mark.parametrize("body", [b"{", b"[]", b'"x"', b'{"name":1}', b"\xff", b"[" * 5000])
def test_bad_bodies(fly: Fly, body):
    assert fly.ask("POST", "/v1/apps", content=body).status_code == 400


def test_a_head_that_is_none_of_http_does_no_harm(fly: Fly):
    connection = http.client.HTTPConnection(fly.place["api"].removeprefix("http://"))
    connection.request(
        "GET",
        "/v1/apps/%2e%2e/machines/..%2f..",
        headers={"Authorization": f"Bearer {fly.place['token']}"},
    )
    assert connection.getresponse().status == 404
    connection.close()


# ---------------------------------------------------------------- apps and addresses


def test_the_life_of_an_app(fly: Fly):
    made = fly.ask("POST", "/v1/apps", {"app_name": "life", "org_slug": "personal"})
    assert made.status_code == 201
    assert made.json().keys() == {"id", "created_at"}
    taken = fly.ask("POST", "/v1/apps", {"name": "life", "org_slug": "personal"})
    assert (taken.status_code, taken.json()["status"]) == (422, "name_taken")
    assert refused(fly.ask("GET", "/v1/apps"))[0] == 404, "org_slug is missing"
    listed = fly.do("GET", "/v1/apps?org_slug=personal")
    assert "life" in [app["name"] for app in listed["apps"]]
    assert fly.do("GET", "/v1/apps/life")["status"] == "pending"
    gone = fly.ask("DELETE", "/v1/apps/life")
    assert (gone.status_code, gone.content) == (202, b"")
    assert fly.ask("GET", "/v1/apps/life").status_code == 404
    wait_until(lambda: not (fly.folder / "apps" / "life").exists(), "the folder's end")


def test_an_idempotency_key_gives_the_same_app(fly: Fly):
    body = {"name": "twice", "org_slug": "personal", "idempotency_key": "k"}
    first, second = (fly.do("POST", "/v1/apps", body) for _ in range(2))
    assert first == second
    assert fly.ask("POST", "/v1/apps", body | {"name": "other"}).status_code == 422


@pytest.mark.parametrize("name", ["", "Upper", "a_b", "-a", "a" * 64, "../x", "a.b"])
def test_names_of_apps(fly: Fly, name):
    assert fly.ask("POST", "/v1/apps", {"name": name, "org_slug": "personal"}).status_code == 422


def test_addresses(fly: Fly):
    app = fly.app("addresses")
    path = f"{app}/ip_assignments"
    made = [fly.do("POST", path, {"type": kind}) for kind in ("v6", "shared_v4", "private_v6")]
    assert [each["shared"] for each in made] == [False, True, False]
    assert made[2]["ip"].startswith("fdaa:")
    assert fly.ask("POST", path, {"type": "shared_v4"}).status_code == 422
    assert fly.ask("POST", path, {"type": "egress_v4"}).status_code == 400
    assert all("type" not in each for each in fly.do("GET", path)["ips"])
    assert fly.ask("DELETE", f"{path}/{made[0]['ip']}").status_code == 204
    assert len(fly.do("GET", path)["ips"]) == 2


def test_graphql(fly: Fly):
    app = fly.app("graph")

    def ask(query, **variables):
        answer = fly.ask("POST", "/graphql", {"query": query, "variables": variables})
        assert answer.status_code == 200
        return answer.json()

    nodes = ask("query { organizations { nodes { slug } } }")["data"]["organizations"]["nodes"]
    assert nodes[0]["slug"] == "personal"
    mutation = "mutation($input: X!) { allocateIpAddress(input: $input) { ipAddress { address } } }"
    made = ask(mutation, input={"appId": "graph", "type": "private_v6"})["data"][
        "allocateIpAddress"
    ]
    assert made["ipAddress"]["address"] == fly.do("GET", f"{app}/ip_assignments")["ips"][0]["ip"]
    release = "mutation($input: X!) { releaseIpAddress(input: $input) { app { name } } }"
    ask(release, input={"appId": "graph", "ip": made["ipAddress"]["address"]})
    assert fly.do("GET", f"{app}/ip_assignments")["ips"] == []
    missing = ask('{ app(name: "none") { id } }')
    assert (missing["data"], missing["errors"][0]["extensions"]["code"]) == (None, "NOT_FOUND")
    assert ask("{ strange }")["errors"]


# ---------------------------------------------------------------- machines


def test_a_machine_is_made(fly: Fly):
    app = fly.app("made")
    config = SLEEPER | {"metadata": {"a": "1"}, "strange": 1}
    made = fly.do("POST", f"{app}/machines", {"config": config, "name": "one", "region": "fra"})
    assert made["state"] == "created"
    assert re.fullmatch(r"[0-9a-f]{14}", made["id"])
    assert re.fullmatch(r"[0-9A-HJKMNP-TV-Z]{26}", made["version"])
    assert made["instance_id"] == made["version"]
    assert "strange" not in made["config"]
    path = f"{app}/machines/{made['id']}"
    answer = fly.wait(path, "started")
    assert answer["ok"]
    assert answer["version"] == made["version"]
    shown = fly.do("GET", path)
    assert [event["type"] for event in shown["events"]][-1] == "launch"
    assert fly.do("GET", f"{app}/machines?metadata.a=1")[0]["id"] == made["id"]
    assert fly.do("GET", f"{app}/machines?metadata.a=2") == []
    assert fly.do("GET", f"{app}/machines?state=stopped,suspended") == []
    assert (
        fly.do("GET", "/v1/orgs/personal/machines?region=fra")["machines"][0]["app_name"] == "made"
    )
    again = fly.ask("POST", f"{app}/machines", {"config": config, "name": "one"})
    assert again.status_code == 409
    fly.do("DELETE", app)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"config": {}},
        {"config": {"image": ""}},
        {"config": SLEEPER, "region": "xxx"},
        {"config": SLEEPER | {"mounts": [{"volume": "vol_none", "path": "/d"}]}},
    ],
)
def test_a_machine_that_makes_no_sense(fly: Fly, body):
    app = "/v1/apps/senseless"
    fly.ask("POST", "/v1/apps", {"name": "senseless", "org_slug": "personal"})
    assert refused(fly.ask("POST", f"{app}/machines", body))[0] == 400
    assert fly.do("GET", f"{app}/machines") == []


def test_update_and_its_conflicts(fly: Fly):
    app = fly.app("update")
    path = fly.machine(app)
    before = fly.do("GET", path)
    config = before["config"] | {"env": {"A": "1"}}
    stale = fly.ask("POST", path, {"config": config, "current_version": "01OLD"})
    assert stale.status_code == 409
    after = fly.do("POST", path, {"config": config, "current_version": before["version"]})
    assert after["state"] == "replacing"
    assert after["version"] > before["version"]
    assert fly.wait(path, "started")["version"] == after["version"]
    versions = [each["version"] for each in fly.do("GET", f"{path}/versions")]
    assert versions == [after["version"], before["version"]]
    old = fly.do("GET", path, params={"version": before["version"]})
    assert "env" not in old["config"]
    fly.do("POST", f"{path}/stop")
    fly.wait(path, "stopped")
    assert fly.do("POST", path, {"config": config})["state"] == "stopped"
    fly.do("DELETE", app)


@pytest.mark.slow
def test_wait(fly: Fly):
    app = fly.app("waits")
    path = fly.machine(app)
    late = fly.ask("GET", f"{path}/wait", params={"state": "stopped", "timeout": "1"})
    assert late.status_code == 408
    assert fly.do("GET", f"{path}/wait?state=stopped,started")["state"] == "started"
    assert fly.do("GET", f"{path}/wait?state=settled")["state"] == "started"
    assert fly.ask("GET", f"{path}/wait?state=flying").status_code == 400
    assert fly.do("GET", f"{app}/machines/00000000000000/wait?state=destroyed")["ok"]
    assert fly.ask("GET", f"{app}/machines/00000000000000/wait?state=started").status_code == 404
    fly.do("DELETE", f"{path}?force=true")
    assert fly.wait(path, "destroyed")["state"] == "destroyed"
    assert fly.ask("GET", f"{path}/wait?state=started").status_code in (400, 404)
    wait_until(lambda: fly.ask("GET", path).status_code == 404, "its disappearance")


def test_leases_guard_every_change(fly: Fly):
    app = fly.app("leases")
    path = fly.machine(app)
    assert refused(fly.ask("GET", f"{path}/lease")) == (404, "lease not found")
    taken = fly.ask("POST", f"{path}/lease", {"ttl": 30, "description": "test"})
    assert (taken.status_code, taken.json()["status"]) == (201, "success")
    nonce = {"fly-machine-lease-nonce": taken.json()["data"]["nonce"]}
    for method, end in (("POST", "/stop"), ("POST", "/restart"), ("POST", "/suspend"), ("POST", "/cordon"),
                        ("DELETE", "?force=true"), ("POST", "/lease"), ("DELETE", "/lease")):  # fmt: skip
        status, text = refused(fly.ask(method, path + end))
        assert status == 409
        assert "lease currently held by" in text
    assert fly.do("GET", path, params={"include_leases": "true"})["lease"]["description"] == "test"
    assert fly.ask("POST", f"{path}/cordon", headers=nonce).is_success
    assert fly.ask("DELETE", f"{path}/lease", headers=nonce).is_success
    assert fly.do("POST", f"{path}/uncordon") == {"ok": True}
    leased = fly.do(
        "POST", f"{app}/machines", {"config": SLEEPER, "lease_ttl": 20, "skip_launch": True}
    )
    assert leased["nonce"]
    assert fly.ask("POST", f"{app}/machines/{leased['id']}/start").status_code == 409
    fly.do("DELETE", app)


def test_metadata(fly: Fly):
    app = fly.app("metadata")
    path = fly.machine(app, skip_launch=True)
    version = fly.do("GET", path)["version"]
    assert (
        fly.ask("PATCH", f"{path}/metadata", {"metadata": {"a": "1", "b": "2"}}).status_code == 204
    )
    assert fly.ask("POST", f"{path}/metadata/c", {"value": "3"}).status_code == 204
    assert fly.ask("DELETE", f"{path}/metadata/a").status_code == 204
    assert fly.do("GET", f"{path}/metadata") == {"b": "2", "c": "3"}
    assert fly.do("GET", f"{path}/metadata/c") == {"value": "3"}
    assert fly.ask("GET", f"{path}/metadata/a").status_code == 404
    stale = fly.ask("PATCH", f"{path}/metadata", {"metadata": {}, "machine_version": "old"})
    assert stale.status_code == 412
    assert fly.do("GET", path)["version"] == version, "no new version"


# ---------------------------------------------------------------- volumes and secrets


def test_a_volume_outlives_its_machine(fly: Fly):
    app = fly.app("volumes")
    volume = fly.do("POST", f"{app}/volumes", {"name": "data", "region": "iad", "size_gb": 1})
    assert volume["id"].startswith("vol_")
    config = SLEEPER | {"mounts": [{"volume": volume["id"], "path": "/data"}]}
    path = fly.machine(app, config)
    wrote = fly.do("POST", f"{path}/exec", {"command": ["sh", "-c", "echo kept > /data/file"]})
    assert wrote["exit_code"] == 0, wrote
    assert fly.do("GET", f"{app}/volumes/{volume['id']}")["attached_machine_id"] in path
    status, text = refused(fly.ask("POST", f"{app}/machines", {"config": config}))
    assert status == 412
    assert volume["id"] in text
    assert refused(fly.ask("DELETE", f"{app}/volumes/{volume['id']}"))[0] == 412
    assert fly.ask("PUT", f"{app}/volumes/{volume['id']}/extend", {"size_gb": 0}).status_code == 400
    assert (
        fly.do("PUT", f"{app}/volumes/{volume['id']}/extend", {"size_gb": 2})["volume"]["size_gb"]
        == 2
    )
    fly.do("DELETE", f"{path}?force=true")
    fly.wait(path, "destroyed")
    again = fly.machine(app, config)
    read = fly.do("POST", f"{again}/exec", {"command": ["cat", "/data/file"]})
    assert read["stdout"] == "kept\n"
    copy = fly.do("POST", f"{app}/volumes", {"name": "copy", "source_volume_id": volume["id"]})
    assert (
        fly.folder / "apps" / "volumes" / "volumes" / copy["id"] / "file"
    ).read_text() == "kept\n"
    fly.do("DELETE", app)


@pytest.mark.slow
def test_secrets_are_seen_with_the_next_version(fly: Fly):
    app = fly.app("secrets")
    first = fly.do("POST", f"{app}/secrets", {"values": {"A": "one", "B": "x"}})
    assert all("value" not in secret for secret in first["secrets"])
    path = fly.machine(
        app, SLEEPER | {"env": {"A": "shadowed", "C": "env"}}, min_secrets_version=first["version"]
    )

    def seen():
        done = fly.do("POST", f"{path}/exec", {"command": ["sh", "-c", "echo $A $B $C"]})
        return done["stdout"].strip()

    assert seen() == "one x env"
    second = fly.do("POST", f"{app}/secrets", {"values": {"A": "second-value", "B": None}})
    assert second["version"] > first["version"]
    fly.do("POST", f"{path}/restart")
    wait_until(lambda: fly.state(path) == "started", "its restart")
    assert seen() == "one x env", "a restart keeps what the version had"
    ahead = fly.ask("POST", path, {"config": SLEEPER, "min_secrets_version": second["version"] + 1})
    assert ahead.status_code == 412
    fly.do("POST", path, {"config": SLEEPER, "min_secrets_version": second["version"]})
    fly.wait(path, "started")
    assert seen() == "second-value"
    assert (
        fly.do("GET", f"{app}/secrets?show_secrets=true")["secrets"][0]["value"] == "second-value"
    )
    assert fly.ask("DELETE", f"{app}/secrets/none").status_code == 404
    store = fly.folder / "apps" / "secrets"
    assert (store / "secrets.json").stat().st_mode & 0o777 == 0o600
    assert "second-value" not in (store / "app.json").read_text()
    fly.do("DELETE", app)


def test_files_are_written_at_each_start_and_stay_inside(fly: Fly):
    app = fly.app("files")
    fly.do("POST", f"{app}/secrets", {"values": {"CERT": base64.b64encode(b"secret").decode()}})
    files = [
        {"guest_path": "/etc/conf", "raw_value": base64.b64encode(b"text").decode(), "mode": 0o600},
        {"guest_path": "/etc/cert", "secret_name": "CERT"},
    ]
    path = fly.machine(app, SLEEPER | {"files": files})
    done = fly.do(
        "POST",
        f"{path}/exec",
        {"command": ["sh", "-c", "cat /etc/conf /etc/cert; stat -c %a /etc/conf"]},
    )
    assert done["stdout"] == "textsecret600\n"
    for guest in ("/../../escaped", "relative"):
        bad = {"guest_path": guest, "raw_value": ""}
        made = fly.do("POST", f"{app}/machines", {"config": SLEEPER | {"files": [bad]}})
        fly.wait(f"{app}/machines/{made['id']}", "failed")
    assert not list(Path(fly.folder).rglob("escaped"))
    fly.do("DELETE", app)
