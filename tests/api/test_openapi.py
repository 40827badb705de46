"""The OpenAPI document and the written documentation both say what the table says."""

import json
import re
from pathlib import Path

import pytest

from mcpctl import wire
from mcpctld.api.openapi import document
from mcpctld.api.routes import ROUTES

DOCS = Path(__file__).parents[2] / "docs" / "api.md"
IDS = [f"{route.method} {route.path}" for route in ROUTES]


def test_the_document_lists_exactly_the_table():
    paths = document(ROUTES)["paths"]
    listed = {(method.upper(), path) for path in paths for method in paths[path]}
    assert listed == {(route.method, route.path) for route in ROUTES}


def test_every_reference_leads_somewhere():
    made = document(ROUTES)
    references = re.findall(r'"#/components/schemas/(\w+)"', json.dumps(made))
    streamed = {"Event"}  # in the text of a stream, which has no schema
    assert set(references) | streamed == set(made["components"]["schemas"])
    assert {"ErrorAnswer", "Status", "SecretValue"} <= set(references)


@pytest.mark.parametrize("route", ROUTES, ids=IDS)
def test_an_operation_is_described_in_full(route):
    operation = document(ROUTES)["paths"][route.path][route.method.lower()]
    assert operation["summary"] == route.summary
    assert operation["x-mcpctl-access"] == route.access.value
    named = [parameter["name"] for parameter in operation["parameters"]]
    assert named == re.findall(r"\{(\w+)\}", route.path)
    assert ("requestBody" in operation) == (route.request is not None)
    (content,) = operation["responses"]["200"]["content"]
    assert content == (route.answer if isinstance(route.answer, str) else "application/json")


def test_operations_have_names_of_their_own():
    paths = document(ROUTES)["paths"]
    names = [operation["operationId"] for path in paths.values() for operation in path.values()]
    assert len(set(names)) == len(ROUTES)


async def test_the_document_is_served(api):
    answer = await api.http.get("/v1/openapi.json")
    assert answer.json() == json.loads(json.dumps(document(ROUTES)))
    assert answer.json()["openapi"] == "3.1.0"


def sections() -> dict[str, str]:
    """The text under each heading that names a route."""
    parts = re.split(r"^### `(.+)`$", DOCS.read_text(), flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def test_the_documentation_has_a_section_for_each_route_in_the_order_of_the_table():
    assert list(sections()) == IDS


@pytest.mark.parametrize("route", ROUTES, ids=IDS)
def test_the_documentation_shows_how_to_call_it(route):
    text = sections()[f"{route.method} {route.path}"]
    assert route.summary in text
    assert f"Access: {route.access.value}." in text
    (call,) = re.findall(r"^curl .+$", text, flags=re.MULTILINE)
    assert '--unix-socket "$SOCKET"' in call
    method = re.search(r"-X (\w+)", call)
    assert (method[1] if method else "GET") == route.method
    pattern = re.sub(r"\\\{\w+\\\}", r"[\\w.-]+", re.escape(route.path))
    assert re.search(rf"http://localhost{pattern}(\s|$)", call)
    for shape in (route.request, route.answer):
        assert not isinstance(shape, type) or shape is dict or f"`{shape.__name__}`" in text


def test_the_documentation_has_the_whole_table_of_errors():
    text = DOCS.read_text()
    for kind, (status, code, meaning) in wire.KINDS.items():
        assert f"| `{kind}` | {status} | {code} | {meaning} |" in text
