"""What each route answers when all is well, and when the engine says no."""

import json

import pytest

from mcpctl import wire
from mcpctld.api.routes import ROUTES


async def test_health_tells_whether_the_daemon_drains(api, engine):
    assert (await api.http.get("/v1/health")).json() == {"status": "ok"}
    engine.draining = True
    assert (await api.http.get("/v1/health")).json() == {"status": "draining"}


async def test_status_is_the_engines_own_snapshot(api, engine):
    answer = await api.http.get("/v1/status")
    assert answer.json() == engine.known
    assert answer.headers["content-type"] == "application/json"


async def test_a_name_that_is_not_utf_8_is_still_answered(api, engine):
    engine.known["sessions"][0]["cwd"] = "/tmp/\udce9t\udce9"
    answer = await api.http.get("/v1/sessions")
    assert json.loads(answer.content)["sessions"][0]["cwd"] == "/tmp/\udce9t\udce9"


async def test_servers_are_listed_and_shown(api, engine):
    assert (await api.http.get("/v1/servers")).json() == {"servers": engine.known["servers"]}
    assert (await api.http.get("/v1/servers/time")).json() == engine.known["servers"][0]


async def test_an_unknown_server_is_answered_with_the_names_that_come_close(api):
    answer = await api.http.get("/v1/servers/tmie")
    assert answer.status_code == 404
    assert answer.json()["error"] == {
        "kind": "not-found",
        "message": "cannot find a server named 'tmie'; did you mean time?",
        "details": {"suggestions": ["time"]},
    }


async def test_a_machine_is_woken_by_the_name_of_its_server(api):
    answer = await api.http.post("/v1/servers/time/wake")
    assert answer.status_code == 200
    assert answer.json()["machine"]["state"] == "started"
    refused = await api.http.post("/v1/servers/weather/wake")
    assert refused.status_code == 400
    assert refused.json()["error"]["message"] == "weather has no machine to wake"


async def test_the_ledger_is_answered_as_the_engine_has_it(api, engine):
    assert (await api.http.get("/v1/cost")).json() == engine.cost()


async def test_reload_answers_what_is_in_force(api):
    answer = await api.http.post("/v1/reload")
    assert answer.json() == {"servers": ["time"], "config_errors": []}


async def test_tunnels_are_listed_and_probed(api):
    [tunnel] = (await api.http.get("/v1/tunnels")).json()["tunnels"]
    assert (tunnel["name"], tunnel["peers"][0]["carrier"]) == ("fly", "udp")
    answer = await api.http.post("/v1/tunnels/fly/probe")
    assert answer.json() == {"target": "fdaa::3", "sent": 5, "received": 4, "rtt_ms": 1.5}
    assert (await api.http.post("/v1/tunnels/other/probe")).status_code == 404
    assert (await api.http.delete("/v1/tunnels/fly/peer")).json() == {}
    assert (await api.http.delete("/v1/tunnels/other/peer")).status_code == 404


async def test_a_session_is_ended_once(api, engine):
    assert (await api.http.delete("/v1/sessions/s1")).json() == {}
    assert (await api.http.get("/v1/sessions")).json() == {"sessions": []}
    again = await api.http.delete("/v1/sessions/s1")
    assert again.status_code == 404
    assert "s1" in again.json()["error"]["message"]


async def test_a_secret_goes_in_and_never_comes_out(api, engine, caplog):
    caplog.set_level("DEBUG")
    put = await api.http.put("/v1/secrets/time/TOKEN", json={"value": "hunter2"})
    assert put.status_code == 200
    assert engine.secrets == {"time": {"TOKEN": "hunter2"}}
    wrong = await api.http.put("/v1/secrets/time/TOKEN", json={"val": "hunter2"})
    answers = [put, wrong]
    answers += [
        await api.http.get(route.path.replace("{name}", "time"))
        for route in ROUTES
        if route.method == "GET" and route.path != "/v1/events"
    ]
    assert not any("hunter2" in answer.text for answer in answers)
    assert "hunter2" not in caplog.text
    assert (await api.http.put("/v1/secrets/time/OTHER", json={"value": "x"})).status_code == 200
    assert (await api.http.delete("/v1/secrets/time/OTHER")).json() == {}
    assert engine.secrets == {"time": {"TOKEN": "hunter2"}}
    assert (await api.http.delete("/v1/secrets/time")).json() == {}
    assert engine.secrets == {}


async def test_the_engines_refusal_keeps_its_kind_and_words(api):
    answer = await api.http.put("/v1/secrets/time/bad%20name", json={"value": "x"})
    assert answer.status_code == wire.KINDS["bad-request"][0]
    assert answer.json()["error"] == {
        "kind": "bad-request",
        "message": "cannot keep a secret named 'bad name'",
    }


async def test_shutdown_answers_at_once_and_begins_to_drain(api, engine):
    assert (await api.http.post("/v1/shutdown")).json() == {"status": "draining"}
    assert engine.draining


async def test_every_answer_carries_the_daemons_version(api):
    for method, path in (("GET", "/v1/status"), ("GET", "/nowhere"), ("PUT", "/v1/status")):
        answer = await api.http.request(method, path)
        assert answer.headers[wire.VERSION_HEADER] == wire.VERSION


async def test_head_answers_like_get_without_a_body(api):
    for path in ("/v1/status", "/v1/events"):
        answer = await api.http.head(path)
        assert (answer.status_code, answer.content) == (200, b"")


def test_no_two_rows_of_the_table_are_the_same_request():
    rows = [(route.method, route.path) for route in ROUTES]
    assert len(set(rows)) == len(rows)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_what_a_route_may_do_fits_its_method(route):
    changes = route.access.value == "write"
    assert changes == (route.method != "GET")
