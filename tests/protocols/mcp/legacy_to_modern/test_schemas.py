"""`legacy_to_modern.schemas`: output that is no object, put in one, and the schema with it."""

import json
from typing import Any

import pytest

from mcpctld.protocols.mcp.legacy_to_modern.schemas import (
    MAX_REMEMBERED,
    wrap_output,
    wrap_schemas,
)
from mcpctld.protocols.mcp.objects import open_object


def listed(tools: object, wrapped: set[str] | None = None) -> Any:
    result = {"tools": json.dumps(tools).encode()}
    wrap_schemas(result, set() if wrapped is None else wrapped)
    return json.loads(result["tools"])


def wrapped_schema(schema: object) -> Any:
    [tool] = listed([{"name": "t", "outputSchema": schema}])
    return tool["outputSchema"]


@pytest.mark.parametrize(
    "schema", [{"type": "string"}, {"type": ["object"]}, {}, {"anyOf": []}, True, False]
)
def test_a_schema_that_is_not_of_objects_is_put_in_one_that_is(schema: object):
    names: set[str] = set()
    [tool] = listed([{"name": "t", "outputSchema": schema, "x": 1}], names)
    assert tool == {
        "name": "t",
        "outputSchema": {
            "type": "object",
            "properties": {"result": schema},
            "required": ["result"],
        },
        "x": 1,
    }
    assert names == {"t"}


def test_other_tools_keep_their_text():
    tools = b'[ {"name" : "a"},{"name":"b", "outputSchema":{"type":"object" }},5 ,{"outputSchema":null}]'
    result = {"tools": tools}
    names = {"b"}
    wrap_schemas(result, names)
    assert result["tools"] == tools.replace(b"[ {", b"[{").replace(b"5 ,", b"5,")
    assert names == set()


def test_a_list_without_such_schemas_is_not_touched():
    result = {"tools": b'[ {"name":"a"}]'}
    wrap_schemas(result, set())
    assert result == {"tools": b'[ {"name":"a"}]'}
    result = {"x": b"1"}
    wrap_schemas(result, {"a"})
    assert result == {"x": b"1"}


def test_references_follow_the_schema_to_its_new_place():
    schema = {
        "$ref": "#/$defs/a~1b",
        "$defs": {"a/b": {"items": {"$ref": "#"}, "$dynamicRef": "#anchor", "pattern": '"$ref":"#/'}},
        "description": '"$ref":"#/x"',
        "properties": {"$ref": {"$ref": "other.json#/x"}},
    }  # fmt: skip
    inner = wrapped_schema(schema)["properties"]["result"]
    assert inner == {
        "$ref": "#/properties/result/$defs/a~1b",
        "$defs": {
            "a/b": {
                "items": {"$ref": "#/properties/result"},
                "$dynamicRef": "#anchor",
                "pattern": '"$ref":"#/',
            }
        },
        "description": '"$ref":"#/x"',
        "properties": {"$ref": {"$ref": "other.json#/x"}},
    }


def test_references_below_an_id_are_counted_from_there():
    schema = {"$id": "urn:x", "$ref": "#/$defs/a", "$defs": {"a": {"type": "string"}}}
    assert wrapped_schema(schema)["properties"]["result"] == schema


def test_the_dialect_stays_at_the_root():
    dialect = "https://json-schema.org/draft/2020-12/schema"
    schema = wrapped_schema({"$schema": dialect, "type": "array"})
    assert schema["$schema"] == dialect
    assert schema["properties"] == {"result": {"type": "array"}}


def test_so_many_names_are_remembered_and_no_more():
    names = {str(number) for number in range(MAX_REMEMBERED)}
    listed([{"name": "t", "outputSchema": {}}, {"outputSchema": {}}], names)
    assert len(names) == MAX_REMEMBERED
    assert "t" not in names


# ---------------------------------------------------------------- output


def called(result: object, *, wrapped: bool = False) -> Any:
    members = open_object(json.dumps(result).encode())
    wrap_output(members, "t", {"t"} if wrapped else set())
    return {name: json.loads(value) for name, value in members.items()}


@pytest.mark.parametrize("result", [{"content": []}, {"structuredContent": {"a": 1}}])
def test_output_that_is_an_object_or_absent_is_not_touched(result: Any):
    assert called(result) == result


def test_of_a_tool_whose_schema_was_wrapped_objects_are_too():
    result = {"structuredContent": {"a": 1}, "content": [{"type": "text", "text": "x"}]}
    assert called(result, wrapped=True) == {**result, "structuredContent": {"result": {"a": 1}}}
    assert called({"content": []}, wrapped=True) == {"content": []}


@pytest.mark.parametrize("value", [[1], 5, "ü", None, True])
def test_other_output_is_put_in_an_object_and_said_as_text(value: object):
    image = {"type": "image"}
    text = {"type": "text", "text": json.dumps(value)}
    for before in ([], [image]):
        found = called({"structuredContent": value, "content": before})
        assert found == {"structuredContent": {"result": value}, "content": [*before, text]}
    assert called({"structuredContent": value})["content"] == [text]
