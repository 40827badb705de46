"""Tools as calls need to know them (MCP 2026-07-28, "Custom Headers from Tool Parameters")."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpctld.protocols.jsonrpc import Message, parse
from mcpctld.protocols.mcp.tools import ToolFacts, may_repeat, read_tools


def prop(header: object = "Region", kind: object = "string", **more: object) -> dict[str, object]:
    return {"type": kind, "x-mcp-header": header, **more}


def tool(name: str = "t", **schema: Any) -> dict[str, Any]:
    return {"name": name, "inputSchema": {"type": "object", **schema}}


def page(*tools: object, **more: object) -> bytes:
    return json.dumps({"tools": tools, **more}).encode()


def reason(**schema: Any) -> str:
    """Why a tool with this schema is left out."""
    read = read_tools(page(tool(**schema)))
    ((name, why),) = read.excluded
    assert name == "t"
    assert read.facts == {"t": ToolFacts()}
    assert json.loads(read.result) == {"tools": []}
    return why


# ---------------------------------------------------------------- annotations


def test_annotated_properties_become_headers():
    schema = {
        "properties": {
            "region": prop("Region"),
            "count": prop("Count", "integer"),
            "dry": prop("Dry", "boolean"),
            "plain": {"type": "number"},
            "where": {"type": "object", "properties": {"zone": prop("Zone", description="x")}},
        }
    }
    read = read_tools(page(tool(**schema)))
    assert read.excluded == []
    assert read.facts["t"].headers == {
        "Region": ["region"],
        "Count": ["count"],
        "Dry": ["dry"],
        "Zone": ["where", "zone"],
    }


@pytest.mark.parametrize("name", ["x", "A-b_c.1", "!#$%&'*+-.^_`|~"])
def test_any_token_may_name_a_header(name: str):
    read = read_tools(page(tool(properties={"a": prop(name)})))
    assert read.facts["t"].headers == {name: ["a"]}


@pytest.mark.parametrize(
    "name", ["", "My Region", "a:b", "Région", "a\tb", "a\n", 7, None, True, [], {}]
)
def test_what_is_no_token_is_refused(name: object):
    assert "not a token" in reason(properties={"a": prop(name)})


@pytest.mark.parametrize("kind", ["number", "object", "array", "null", ["string"], None, 7, {}])
def test_only_strings_integers_and_booleans_have_headers(kind: object):
    assert "needs the type" in reason(properties={"a": prop("A", kind)})


@pytest.mark.parametrize("second", ["Region", "region", "REGION"])
def test_two_properties_cannot_share_a_header(second: str):
    why = reason(properties={"one": prop("Region"), "two": prop(second)})
    assert '"two"' in why
    assert '"one"' in why


def test_paths_that_look_alike_are_two():
    nested = {"type": "object", "properties": {"b": prop("X")}}
    assert "is that of" in reason(properties={"a/b": prop("x"), "a": nested})


@pytest.mark.parametrize(
    "schema",
    [
        pytest.param(prop(), id="the root"),
        pytest.param({"items": prop()}, id="items"),
        pytest.param({"properties": {"a": {"items": prop()}}}, id="items of a property"),
        pytest.param({"items": [{}, prop()]}, id="items of draft 7"),
        pytest.param({"prefixItems": [prop()]}, id="prefixItems"),
        pytest.param({"additionalProperties": prop()}, id="additionalProperties"),
        pytest.param({"patternProperties": {"^a": prop()}}, id="patternProperties"),
        pytest.param({"allOf": [{"properties": {"a": prop()}}]}, id="allOf"),
        pytest.param({"anyOf": [{}, prop()]}, id="anyOf"),
        pytest.param({"oneOf": [prop()]}, id="oneOf"),
        pytest.param({"not": prop()}, id="not"),
        pytest.param({"if": {"properties": {"a": prop()}}}, id="if"),
        pytest.param({"then": {"properties": {"a": prop()}}}, id="then"),
        pytest.param({"else": {"properties": {"a": prop()}}}, id="else"),
        pytest.param({"dependentSchemas": {"a": {"properties": {"b": prop()}}}}, id="dependent"),
        pytest.param(
            {"properties": {"a": {"$ref": "#/$defs/r"}}, "$defs": {"r": prop()}}, id="$ref"
        ),
        pytest.param({"definitions": {"r": prop()}}, id="definitions"),
    ],
)
def test_an_annotation_elsewhere_is_refused(schema: dict[str, Any]):
    assert "do not lead" in reason(**schema)


@pytest.mark.parametrize(
    "schema",
    [
        pytest.param({"default": prop()}, id="default"),
        pytest.param({"properties": {"a": {"enum": [prop()]}}}, id="enum"),
        pytest.param({"const": {"properties": {"a": prop()}}}, id="const"),
        pytest.param({"properties": {"x-mcp-header": {"type": "string"}}}, id="a property's name"),
        pytest.param({"properties": ["x-mcp-header"]}, id="no schema at all"),
        pytest.param({"$defs": "x-mcp-header", "items": True}, id="nor this"),
        pytest.param({"description": "about x-mcp-header"}, id="prose"),
    ],
)
def test_what_only_looks_like_an_annotation_is_none(schema: dict[str, Any]):
    assert read_tools(page(tool(**schema))).excluded == []


def test_an_annotation_may_be_written_with_escapes():
    schema = rb'{"properties":{"a":{"type":"string","x\u002dmcp-header":"A"}}}'
    read = read_tools(b'{"tools":[{"name":"t","inputSchema":%b}]}' % schema)
    assert read.facts["t"].headers == {"A": ["a"]}


def test_a_schema_that_cannot_be_searched_is_refused():
    read = read_tools(page({"name": "t", "inputSchema": ["x-mcp-header"]}))
    assert read.excluded == [("t", "its schema cannot be searched for x-mcp-header")]
    # However deep it is, it is read, or refused, or the list is none.
    text = b'{"tools":[{"name":"t","inputSchema":{"x-mcp-header":%b1%b}}]}'
    for depth in range(900, 1000):
        read = read_tools(text % (b"[" * depth, b"]" * depth))
        assert len(read.excluded) == len(read.facts)


def test_long_numbers_do_not_matter():
    schema = b'{"maximum":%b,"properties":{"a":{"type":"string","x-mcp-header":"A"}}}' % (
        b"9" * 9999
    )
    read = read_tools(b'{"tools":[{"name":"t","inputSchema":%b}]}' % schema)
    assert read.facts["t"].headers == {"A": ["a"]}


def test_reasons_are_short():
    assert len(reason(properties={"a" * 5000: prop("b c" * 5000)})) < 400


# ---------------------------------------------------------------- the list


def test_what_is_kept_is_kept_byte_for_byte():
    good = b'{ "name" : "good", "x": 1e400, "y": 1.0, "z": "\\u0061\\ud800" }'
    bad = b'{"name":"bad","inputSchema":{"x-mcp-header":"A"}}'
    after = b'"ttlMs" : 1.50'
    read = read_tools(b'{"_meta":{"a": 1},"tools": [%b , %b,{"odd":1}],%b}' % (good, bad, after))
    assert [name for name, _ in read.excluded] == ["bad"]
    assert read.result == b'{"_meta":{"a": 1},"tools":[%b,{"odd":1}],"ttlMs":1.50}' % good
    assert set(read.facts) == {"good", "bad"}


def test_a_list_without_broken_tools_stays_as_it_is():
    text = b' {"tools" : [ {"name":"a"} ], "nextCursor":"c"}'
    read = read_tools(text)
    assert read.result is text
    assert read.next_cursor == "c"


@pytest.mark.parametrize("cursor", [None, 7, "", {}])
def test_without_a_cursor_it_is_the_last_page(cursor: object):
    assert read_tools(page(nextCursor=cursor)).next_cursor is None


@pytest.mark.parametrize(
    ("annotations", "repeatable"),
    [
        ({"readOnlyHint": True}, True),
        ({"idempotentHint": True, "readOnlyHint": False}, True),
        ({"readOnlyHint": "true"}, False),
        ({"destructiveHint": True}, False),
        (None, False),
    ],
)
def test_what_reads_only_or_is_idempotent_may_be_repeated(annotations: object, repeatable: bool):
    read = read_tools(page({"name": "t", "annotations": annotations}))
    assert read.facts["t"].repeatable is repeatable


def test_a_tool_without_a_name_is_excluded_without_one():
    read = read_tools(page({"inputSchema": {"x-mcp-header": "A"}}))
    assert [name for name, _ in read.excluded] == [""]
    assert read.facts == {}


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.text()
        | st.sampled_from(["string", "Region"]),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["x-mcp-header", "properties", "items", "type", "allOf", "$defs", "a"]
                ),
                inner,
                max_size=4,
            )
        ),
    )
)
def test_no_schema_makes_it_fail(schema: object):
    read = read_tools(page({"name": "t", "inputSchema": schema}))
    assert set(read.facts) == {"t"}
    kept = json.loads(read.result)["tools"]
    assert len(kept) + len(read.excluded) == 1


@given(st.binary() | st.sampled_from([b"", b"[]", b"7", b'{"tools":7}', b'{"tools":[7,null,[]]}']))
def test_no_text_makes_it_fail(text: bytes):
    assert read_tools(text).excluded == []


@pytest.mark.parametrize(
    ("method", "name", "may"),
    [
        ("tools/list", None, True),
        ("tasks/cancel", None, False),
        ("tools/call", "reads", True),
        ("tools/call", "writes", False),
        ("tools/call", "unknown", False),
        ("tools/call", None, False),
    ],
)
def test_what_changes_nothing_may_be_repeated(method, name, may):
    params = {} if name is None else {"name": name}
    request = parse(json.dumps({"id": 1, "method": method, "params": params}).encode())
    assert isinstance(request, Message)
    tools = {"reads": ToolFacts(repeatable=True), "writes": ToolFacts()}
    assert may_repeat(request, tools) is may
