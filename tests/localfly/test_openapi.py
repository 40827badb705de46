"""What the API answers is what the OpenAPI document, corrected, says of it; each path is asked many ways."""

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from fixtures.fly.corrected import corrections, document
from localfly.conftest import SLEEPER, Fly
from mcpctld.localfly.routes.table import ROUTES

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
NAMES = {"app": "app_name", "machine": "machine_id", "volume": "volume_id", "secret": "secret_name",
         "org": "org_slug", "key": "key", "ip": "ip"}  # fmt: skip
NOT_IN_IT = ("/api/", "/graphql", "/_localfly/")
FEW, MANY = 2, 12


def documented(route):
    """The path of a route as the document writes it."""
    path = route.path
    for ours, theirs in NAMES.items():
        path = path.replace("{" + ours + "}", "{" + theirs + "}")
    return path


SERVED = [
    (route.method, documented(route)) for route in ROUTES if not route.path.startswith(NOT_IN_IT)
]
SCHEMA = schemathesis.openapi.from_dict(document())


@pytest.fixture(scope="module")
def things(fly: Fly):
    """One of each, so that half of the requests find something."""
    app = fly.app("there")
    machine = fly.machine(app).rpartition("/")[2]
    volume = fly.do("POST", f"{app}/volumes", {"name": "data", "region": "iad"})["id"]
    fly.do("POST", f"{app}/secrets", {"values": {"KEY": "x"}})
    fly.do("POST", f"{app}/machines/{machine}/metadata/colour", {"value": "red"})
    ip = fly.do("POST", f"{app}/ip_assignments", {"type": "v6"})["ip"]
    return {"app_name": "there", "machine_id": machine, "volume_id": volume, "secret_name": "KEY",
            "org_slug": "personal", "key": "colour", "ip": ip}  # fmt: skip


def check(fly, things, method, path, examples):
    """Ask one operation `examples` times, each with things that are there and with invented ones."""
    operation = SCHEMA[path][method]

    @settings(
        max_examples=examples,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(operation.as_strategy())
    def ask(case):
        invented = case.path_parameters
        for parameters in ({name: things[name] for name in invented or {}}, invented):
            case.path_parameters = parameters
            if method == "GET" and path.endswith("/wait"):
                case.query["timeout"] = 1
            answer = case.call(
                base_url=fly.place["api"],
                headers={"Authorization": f"Bearer {fly.place['token']}"},
                timeout=60,
            )
            case.validate_response(answer, checks=CHECKS)

    ask()


KEEPS = [(method, path) for method, path in SERVED if method != "DELETE"]
"""What is asked of the same things again and again; their end is another test."""


@pytest.mark.parametrize(("method", "path"), KEEPS)
@pytest.mark.slow
def test_every_operation_that_is_served_conforms(fly, things, method, path):
    check(fly, things, method, path, MANY)


@pytest.mark.parametrize(
    ("method", "path"),
    [pair for pair in KEEPS if pair[0] == "GET" and not pair[1].endswith("/wait")],
)
def test_what_is_shown_conforms(fly, things, method, path):
    check(fly, things, method, path, FEW)


@pytest.mark.slow
def test_what_is_destroyed_conforms(fly):
    app = fly.app("doomed")
    machine = fly.machine(app, skip_launch=True).rpartition("/")[2]
    volume = fly.do("POST", f"{app}/volumes", {"name": "data", "region": "iad"})["id"]
    fly.do("POST", f"{app}/secrets", {"values": {"KEY": "x"}})
    ip = fly.do("POST", f"{app}/ip_assignments", {"type": "v6"})["ip"]
    doomed = {"app_name": "doomed", "machine_id": machine, "volume_id": volume, "ip": ip,
              "secret_name": "KEY", "key": "none"}  # fmt: skip
    deletes = [pair for pair in SERVED if pair[0] == "DELETE"]
    for method, path in sorted(deletes, key=lambda pair: -pair[1].count("/")):
        check(fly, doomed, method, path, 2)
    assert fly.ask("GET", app).status_code == 404


def test_every_route_is_in_the_document():
    paths = document()["paths"]
    for method, path in SERVED:
        assert method.lower() in paths[path], f"{method} {path}"


def test_every_correction_names_its_source():
    for correction in corrections():
        assert correction["x-source"]
        assert correction.keys() <= {"x-source", "merge", "operations"}


def test_a_machine_that_is_asked_for_is_one(fly):
    """The answers of a whole life conform, beside those to invented requests."""
    app = fly.app("life")
    made = fly.ask("POST", f"{app}/machines", {"config": SLEEPER})
    operation = SCHEMA["/v1/apps/{app_name}/machines"]["POST"]
    assert operation.is_valid_response(made)
    path = f"{app}/machines/{made.json()['id']}"
    fly.wait(path, "started")
    shown = fly.ask("GET", path, params={"include_leases": "true"})
    assert SCHEMA["/v1/apps/{app_name}/machines/{machine_id}"]["GET"].is_valid_response(shown)
    fly.do("DELETE", app)
