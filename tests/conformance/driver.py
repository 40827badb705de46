"""A real MCP client for the suite's client scenarios: it uses whatever a server offers.

    driver.py MODE WAY [FLAG ...] URL

MODE is the era: `legacy`, or `2026-07-28` for a client that knows nothing else. WAY is `attach`, for
`mcpctl attach --url URL FLAG ...` as its stdio server, or `direct`, for the SDK's own HTTP client: the control.
"""

import json
import os
import sys
from collections.abc import Awaitable
from typing import Any

import anyio
import mcp_types as types
from mcp import Client, StdioServerParameters
from mcp.shared.exceptions import MCPError
from pydantic import ValidationError

BOUND_S = 20.0
UNSUPPORTED_VERSION = -32022
IDENTITY = types.Implementation(name="conformance-driver", version="1.0")
SAMPLES: dict[str, Any] = {
    "string": "text",
    "integer": 5,
    "number": 3,
    "boolean": True,
    "object": {},
    "array": [],
    "null": None,
}


# ---------------------------------------------------------------- what the client answers


async def elicitation(_: Any, params: Any) -> types.ElicitResult:
    """Accept, every field as the form proposes it (SEP-1034)."""
    fields = params.requested_schema.get("properties", {})
    return types.ElicitResult(action="accept", content={k: fill(v) for k, v in fields.items()})


async def sampling(*_: Any) -> types.CreateMessageResult:
    content = types.TextContent(text="a sampled text")
    return types.CreateMessageResult(role="assistant", content=content, model="none")


async def roots(*_: Any) -> types.ListRootsResult:
    return types.ListRootsResult(roots=[types.Root(uri="file:///tmp")])


def fill(schema: dict[str, Any]) -> Any:
    """A value for one field: its default, else a sample of its type."""
    return schema.get("default", SAMPLES[schema.get("type", "string")])


# ---------------------------------------------------------------- what it does


async def use(client: Client) -> None:
    """List everything, call every tool, read every resource, get every prompt."""
    listed = await attempt(client.list_tools(cache_mode="bypass"))
    if isinstance(listed, Again):
        listed = await attempt(client.list_tools(cache_mode="bypass"))
    schemas = {tool.name: tool.input_schema for tool in listed.tools} if listed else {}
    for name, arguments in planned_calls(schemas):
        await attempt(client.call_tool(name, arguments))
    found = await attempt(client.list_resources())
    for resource in found.resources if found else ():
        await attempt(client.read_resource(resource.uri))
    offered = await attempt(client.list_prompts())
    for prompt in offered.prompts if offered else ():
        await attempt(client.get_prompt(prompt.name))


class Again:
    """The server wants another version of the protocol named: the request is worth repeating."""


async def attempt(request: Awaitable[Any]) -> Any:
    """The answer, or None with the reason on stderr: a scenario decides itself what had to work."""
    try:
        return await request
    except MCPError as exc:
        print(f"refused: {exc.error.code} {exc.error.message}", file=sys.stderr)
        return Again() if exc.error.code == UNSUPPORTED_VERSION else None
    except ValidationError as exc:
        print(f"not a result: {exc}", file=sys.stderr)
        return None


def planned_calls(schemas: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The calls that the scenario asks for, else one of each tool that is listed."""
    context = json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT", "{}"))
    if calls := context.get("toolCalls"):
        return [(call["name"], call["arguments"]) for call in calls if call["name"] in schemas]
    return [(name, arguments_for(name, schemas)) for name in schemas]


def arguments_for(name: str, schemas: dict[str, Any]) -> dict[str, Any]:
    if name == "json_schema_echo":
        return {"schema": schemas["json_schema_2020_12_tool"]}
    properties = schemas[name].get("properties", {})
    return {key: fill(properties[key]) for key in schemas[name].get("required", ())}


async def main(mode: str, way: str, *flags_and_url: str) -> None:
    *flags, url = flags_and_url
    command = StdioServerParameters(
        command="mcpctl", args=["attach", "--url", url, *flags], env=dict(os.environ)
    )
    client = Client(
        command if way == "attach" else url, mode=mode, client_info=IDENTITY,
        sampling_callback=sampling, elicitation_callback=elicitation, list_roots_callback=roots,
    )  # fmt: skip
    with anyio.fail_after(BOUND_S):
        async with client:
            await use(client)


if __name__ == "__main__":
    anyio.run(main, *sys.argv[1:])
