"""`GET /v1/openapi.json`: the table and the shapes, as an OpenAPI 3.1 document."""

import re
from typing import Any

import msgspec

from mcpctl import shapes, wire
from mcpctld.api.route import Call, Route

_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_REFERENCE = "#/components/schemas/{name}"

Document = dict[str, Any]


def show_openapi(call: Call) -> Document:
    """The document for the table that answers this very request."""
    return document(call.routes)


def document(routes: tuple[Route, ...]) -> Document:
    """The description of `routes`; operations and schemas stand in the table's order."""
    wanted = [shape for route in routes for shape in (route.request, route.answer)]
    shapes_used = [shape for shape in wanted if isinstance(shape, type)]
    schemas, components = msgspec.json.schema_components(
        [*shapes_used, shapes.Event, shapes.ErrorAnswer], ref_template=_REFERENCE
    )
    by_shape = dict(zip(shapes_used, schemas, strict=False))
    paths: dict[str, Document] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, by_shape)
    return {
        "openapi": "3.1.0",
        "info": {"title": "mcpctl control API", "version": wire.VERSION},
        "servers": [{"url": "http://localhost", "description": "over the socket control.sock"}],
        "paths": paths,
        "components": {"schemas": components},
    }


def _operation(route: Route, schemas: dict[type, Document]) -> Document:
    operation: Document = {
        "operationId": getattr(route.handler, "__name__", route.path),
        "summary": route.summary,
        "x-mcpctl-access": route.access.value,
        "parameters": [_parameter(name) for name in _PLACEHOLDER.findall(route.path)],
        "responses": {
            "200": {"description": "done", "content": _content(route.answer, schemas)},
            "default": {
                "description": "it failed; the status follows from `kind`",
                "content": _content(shapes.ErrorAnswer, {}),
            },
        },
    }
    if route.request is not None:
        body = {"required": True, "content": _content(route.request, schemas)}
        operation["requestBody"] = body
    return operation


def _parameter(name: str) -> Document:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _content(shape: Any, schemas: dict[type, Document]) -> Document:
    if isinstance(shape, str):
        return {shape: {"schema": {"type": "string"}}}
    named = {"$ref": _REFERENCE.format(name=shape.__name__)}
    return {"application/json": {"schema": schemas.get(shape, named)}}
