"""`GET /metrics` in the Prometheus text format, read back by its own parser."""

import prometheus_client
from prometheus_client.parser import text_string_to_metric_families


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_the_status_is_told_in_numbers(api):
    answer = await api.http.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    got = samples(answer.text)
    time, weather = (("server", "time"),), (("server", "weather"),)
    session = (("server", "time"), ("session", "s1"))
    assert got["mcpctl_info", (("python", "3"), ("version", "0"))] == 1
    assert got["mcpctl_start_time_seconds", ()] == 1.5
    assert got["mcpctl_config_errors", ()] == 0
    assert got["mcpctl_server_calls_total", time] == 4
    assert got["mcpctl_server_call_errors_total", time] == 1
    assert got["mcpctl_server_calls_in_flight", time] == 2
    assert got["mcpctl_server_sessions", time] == 1
    assert got["mcpctl_server_missing_secrets", weather] == 1
    assert got["mcpctl_server_call_seconds", (("quantile", "0.99"), *time)] == 0.0095
    assert got["mcpctl_session_calls_total", session] == 3
    assert got["mcpctl_session_call_seconds", (("quantile", "0.5"), *session)] == 0.002


async def test_a_server_without_calls_has_no_quantiles(api):
    names = samples((await api.http.get("/metrics")).text)
    weather = ("quantile", "0.5"), ("server", "weather")
    assert ("mcpctl_server_call_seconds", weather) not in names


async def test_an_empty_daemon_is_a_valid_answer_too(api, engine):
    engine.known["servers"], engine.known["sessions"] = [], []
    got = samples((await api.http.get("/metrics")).text)
    assert got["mcpctl_config_errors", ()] == 0


async def test_a_name_that_the_format_cannot_hold_does_not_break_it(api, engine):
    engine.known["servers"][0]["name"] = 'a "quoted"\n\udce9'
    got = samples((await api.http.get("/metrics")).text)
    assert got["mcpctl_server_sessions", (("server", 'a "quoted"\n?'),)] == 1


async def test_the_registry_of_the_process_is_left_alone(api):
    before = prometheus_client.generate_latest()
    await api.http.get("/metrics")
    await api.http.get("/metrics")
    assert b"mcpctl" not in before + prometheus_client.generate_latest()
