"""A launched server is changed, looked at, and destroyed."""

import http.client
import json
import threading
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from fixtures.fly.inspecting import Reply
from launch.stage import WISH, WRAPPED, LocalFly, Program, assert_nothing_is_left, program

pytestmark = pytest.mark.slow

LET_IN, REFUSED = 400, 401
"""For a body that is no message, which is read only once the token was found right."""


def config_of(fly: LocalFly) -> dict[str, Any]:
    (machine,) = fly.machines("time")
    config: dict[str, Any] = machine["config"]
    return config


def test_a_change_keeps_what_others_have_set_and_can_be_taken_back(fly: LocalFly, tmp_path: Path):
    with program(tmp_path, fly) as made:
        machine = made.launch(env={"OLD": "1"})["machine"]
        fly.ask(f"/v1/apps/time/machines/{machine}/metadata/theirs", "POST", {"value": "kept"})
        changed = made.do("update", wish={"env": {"NEW": "2"}, "vm_memory": "512mb"})
        assert changed["event"] == "result", changed
        config = config_of(fly)
        assert {"OLD": "1", "NEW": "2"}.items() <= config["env"].items()
        assert config["guest"]["memory_mb"] == 512
        assert config["metadata"]["theirs"] == "kept"
        assert made.do("rollback")["event"] == "result"
        assert "NEW" not in config_of(fly)["env"]
        assert config_of(fly)["guest"]["memory_mb"] == 1024
        assert made.do("rollback")["event"] == "result"  # and forward again
        assert config_of(fly)["env"]["NEW"] == "2"
        assert made.do("scale", vm_size="shared-cpu-2x")["event"] == "result"
        assert config_of(fly)["guest"] == {"cpu_kind": "shared", "cpus": 2, "memory_mb": 512}
        assert not fly.ask(f"/v1/apps/time/machines/{machine}").get("nonce")
        made.do("destroy")
        assert_nothing_is_left(made)


@pytest.mark.parametrize(
    ("operation", "request_", "kind"),
    [
        ("update", {"wish": {}}, "bad-request"),
        ("update", {"wish": {"region": "fra"}}, "bad-request"),
        ("update", {"wish": {"vm_memory": "3mb"}}, "bad-request"),
        ("update", {"wish": {"port": "x"}}, "bad-request"),
        ("rollback", {}, "not-found"),
        ("secrets", {"set": {"FLY_MCP_BEARER_TOKEN": "x"}}, "bad-request"),
        ("rotate", {}, "bad-request"),
    ],
)
def test_what_cannot_be_done_changes_nothing(
    fly: LocalFly, tmp_path: Path, operation, request_, kind
):
    with program(tmp_path, fly) as made:
        made.launch()
        before = config_of(fly)
        error = made.do(operation, **request_)
        assert (error["event"], error["kind"]) == ("error", kind)
        assert config_of(fly) == before
        assert made.do(operation, **{**request_, "server": "other"})["kind"] in (
            "not-found",
            "bad-request",
        )
        made.do("destroy")
        assert_nothing_is_left(made)


def test_a_version_that_does_not_start_is_set_back(fly: LocalFly, tmp_path: Path):
    with program(tmp_path, fly) as made:
        made.launch()
        before = config_of(fly)
        events = made.run(
            "update", {"server": "time", "wish": {"command": "sh -c 'echo I-cannot; exit 3'"}}
        )
        assert events[-1]["event"] == "error"
        assert "does not stay up" in events[-1]["message"]
        assert any("the former one is back" in event["text"] for event in events)
        assert config_of(fly) == before
        made.do("destroy")
        assert_nothing_is_left(made)


def test_a_machine_that_somebody_else_is_changing_is_left_alone(fly: LocalFly, tmp_path: Path):
    with program(tmp_path, fly) as made:
        machine = made.launch()["machine"]
        before = config_of(fly)
        fly.ask(f"/v1/apps/time/machines/{machine}/lease", "POST", {"ttl": 60})
        error = made.do("update", wish={"env": {"NEW": "2"}})
        assert error["kind"] == "conflict"
        assert "lease" in error["message"]
        assert config_of(fly) == before
        made.do("destroy")
        assert_nothing_is_left(made)


def test_a_version_that_has_changed_meanwhile_is_not_overwritten(fly: LocalFly, tmp_path: Path):
    with program(tmp_path, fly) as made:
        made.launch()
        made.change = lambda _number, seen: (
            Reply(409, {"error": "aborted: current_version is stale"})
            if seen.body and "current_version" in seen.body
            else None
        )
        error = made.do("update", wish={"env": {"NEW": "2"}})
        assert error["kind"] == "conflict"
        assert "look at it again" in error["message"]
        made.do("destroy")
        assert_nothing_is_left(made)


def test_secrets_reach_the_process_and_are_listed_without_values(fly: LocalFly, tmp_path: Path):
    wish = {**WISH, "command": "sh -c 'echo A is $A; exec python3 -m http.server $PORT'"}
    with program(tmp_path, fly) as made:
        made.launch(wish)
        assert made.do("secrets", set={"A": "s3cr3t"})["set"] == ["A"]
        listed = made.do("secrets")
        assert {"A", "FLY_MCP_BEARER_TOKEN"} == {row["name"] for row in listed["secrets"]}
        assert "s3cr3t" not in json.dumps(listed)
        assert said(made, "A is s3cr3t")
        assert made.do("secrets", unset=["A"])["unset"] == ["A"]
        assert {row["name"] for row in made.do("secrets")["secrets"]} == {"FLY_MCP_BEARER_TOKEN"}
        made.do("destroy")
        assert_nothing_is_left(made)


def said(made: Program, text: str) -> bool:
    events = made.run("logs", {"server": "time", "tail": False})
    return any(text in event["text"] for event in events if event["event"] == "log")


def test_what_is_there_is_shown(fly: LocalFly, tmp_path: Path):
    with program(tmp_path, fly) as made:
        launched = made.launch()
        status = made.do("status")
        assert (status["app"], status["url"], status["finished"]) == ("time", launched["url"], True)
        (machine,) = status["machines"]
        assert (machine["id"], machine["state"]) == (launched["machine"], "started")
        assert {address["type"] for address in status["addresses"]} == {"v6", "shared_v4"}
        made.do("destroy")
        assert made.do("status")["kind"] == "not-found"
        assert_nothing_is_left(made)


def test_a_token_is_changed_with_no_moment_when_neither_works(fly: LocalFly, tmp_path: Path):
    """Somebody uses the token of the store all the time: he is never refused for it."""
    with program(tmp_path, fly) as made:
        url = made.launch(WRAPPED)["url"]
        old = made.token()
        user = User(made, url)
        with user:
            assert made.do("rotate")["event"] == "result"
        new = made.token()
        assert new != old
        assert LET_IN in user.statuses
        assert not {REFUSED, 403} & set(user.statuses)
        assert user.ask(old) == REFUSED
        assert user.ask(new) == LET_IN
        assert "bearer-token-next" not in (made.state / "secrets.json").read_text()
        made.do("destroy")
        assert_nothing_is_left(made)


class User:
    """Asks with the token that the store has at that moment, again and again."""

    def __init__(self, made: Program, url: str) -> None:
        self.made, self.parts = made, urlsplit(url)
        self.statuses: list[int] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.is_set():
            token = self.made.token()
            status = self.ask(token)
            if token == self.made.token():  # otherwise it was changed while we asked
                self.statuses.append(status)

    def ask(self, token: str | None) -> int:
        """The status; 0 while the machine starts anew."""
        assert self.parts.port is not None
        connection = http.client.HTTPConnection("127.0.0.1", self.parts.port, timeout=60)
        headers = {
            "host": self.parts.netloc,
            "authorization": f"Bearer {token}",
            "content-type": "application/json",
            "accept": "application/json, text/event-stream",
        }
        try:
            connection.request("POST", self.parts.path, "{", headers)
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return 0
        finally:
            connection.close()
