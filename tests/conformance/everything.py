"""The server that the suite's server scenarios want, in both eras, on the official Python SDK.

    everything.py stdio     one connection over standard input and output
    everything.py http      Streamable HTTP at /mcp on a free loopback port

Names and values are fixed by the suite (`samples.py`); what asks the client something is in
`questions.py`.
"""

import asyncio
import itertools
import socket
import sys
import warnings
from collections.abc import Mapping
from typing import Any

import anyio
import mcp_types as types
import samples
import uvicorn
from mcp.server.lowlevel.server import NotificationOptions, Server
from mcp.server.session import ServerSession
from mcp.server.stdio import stdio_server
from mcp.server.streamable_http import EventCallback, EventMessage, EventStore
from mcp.server.subscriptions import (
    InMemorySubscriptionBus,
    ListenHandler,
    PromptsListChanged,
    ToolsListChanged,
)
from mcp.shared.exceptions import MCPDeprecationWarning, MCPError
from questions import (
    ASKING_TOOLS,
    Answer,
    Call,
    Context,
    Handler,
    by_push,
    input_required_result_prompt,
    text,
)

# Logging, sampling and roots are on their way out of MCP; the suite tests them all the same.
warnings.simplefilter("ignore", MCPDeprecationWarning)

PAUSE_S = 0.05
RETRY_MS = 500
TEMPLATE = "test://template/{id}/data"
WATCHED = "test://watched-resource"

bus = InMemorySubscriptionBus()
extra_tools: set[str] = set()
extra_prompts: set[str] = set()
sessions: list[ServerSession] = []
"""Of the legacy era, in the order of their beginning; all of them hear of lists that change."""


# ---------------------------------------------------------------- tools


def embedded(uri: str, mime_type: str, content: str) -> types.EmbeddedResource:
    resource = types.TextResourceContents(uri=uri, mime_type=mime_type, text=content)
    return types.EmbeddedResource(resource=resource)


def image() -> types.ImageContent:
    return types.ImageContent(data=samples.PNG, mime_type="image/png")


async def simple_text(_: Call) -> Answer:
    return text("This is a simple text response for testing.")


async def image_content(_: Call) -> Answer:
    return types.CallToolResult(content=[image()])


async def audio_content(_: Call) -> Answer:
    audio = types.AudioContent(data=samples.WAV, mime_type="audio/wav")
    return types.CallToolResult(content=[audio])


async def embedded_resource(_: Call) -> Answer:
    content = "This is an embedded resource content."
    return types.CallToolResult(
        content=[embedded("test://embedded-resource", "text/plain", content)]
    )


async def multiple_content_types(_: Call) -> Answer:
    words = types.TextContent(text="Multiple content types test:")
    data = embedded(
        "test://mixed-content-resource", "application/json", '{"test":"data","value":123}'
    )
    return types.CallToolResult(content=[words, image(), data])


async def tool_with_logging(call: Call) -> Answer:
    for line in ("execution started", "processing data", "execution completed"):
        await log(call.context, f"Tool {line}")
        await anyio.sleep(PAUSE_S)
    return text("logged three times")


async def logging_tool(call: Call) -> Answer:
    await log(call.context, "one line")
    return text("logged")


async def log(context: Context, line: str) -> None:
    await context.session.send_log_message("info", line, related_request_id=context.request_id)


async def tool_with_progress(call: Call) -> Answer:
    for done in (0, 50, 100):
        await call.context.session.report_progress(done, 100)
        await anyio.sleep(PAUSE_S)
    return text("100 of 100")


async def error_handling(_: Call) -> Answer:
    result = text("This tool intentionally returns an error for testing")
    result.is_error = True
    return result


async def reconnection(call: Call) -> Answer:
    """Closes its own stream, where it has one that can be taken up again (SEP-1699)."""
    if call.context.close_sse_stream is not None:
        await call.context.close_sse_stream()
    await anyio.sleep(2 * PAUSE_S)
    return text("answered after the stream was closed")


async def trigger_tool_change(_: Call) -> Answer:
    extra_tools.symmetric_difference_update({"test_dynamic_tool"})
    await bus.publish(ToolsListChanged())
    for session in sessions:
        await session.send_tool_list_changed()
    return text("the list of tools is another one")


async def trigger_prompt_change(_: Call) -> Answer:
    extra_prompts.symmetric_difference_update({"test_dynamic_prompt"})
    await bus.publish(PromptsListChanged())
    for session in sessions:
        await session.send_prompt_list_changed()
    return text("the list of prompts is another one")


async def json_schema_2020_12_tool(call: Call) -> Answer:
    return text(f"called with {dict(call.arguments)}")


async def header_tool(call: Call) -> Answer:
    return text(f"region {call.arguments.get('region')}")


_PLAIN_TOOLS: tuple[Handler, ...] = (
    *(simple_text, image_content, audio_content, embedded_resource, multiple_content_types),
    *(tool_with_logging, logging_tool, tool_with_progress, error_handling, reconnection),
    *(trigger_tool_change, trigger_prompt_change, header_tool),
)
TOOLS: dict[str, Handler] = {
    **{f"test_{tool.__name__}": tool for tool in (*_PLAIN_TOOLS, *ASKING_TOOLS)},
    "json_schema_2020_12_tool": json_schema_2020_12_tool,
}
STRING = {"type": "string"}
SCHEMAS: dict[str, dict[str, Any]] = {
    "test_sampling": samples.schema(prompt=STRING),
    "test_elicitation": samples.schema(message=STRING),
    "json_schema_2020_12_tool": samples.RICH_SCHEMA,
    "test_header_tool": samples.schema(region={**STRING, "x-mcp-header": "Region"}),
}


async def list_tools(_: Context, __: Any) -> types.ListToolsResult:
    return types.ListToolsResult(
        tools=[
            types.Tool(
                name=name,
                description=f"A tool of the conformance suite: {name}",
                input_schema=SCHEMAS.get(name, samples.schema()),
            )
            for name in [*TOOLS, *sorted(extra_tools)]
        ]
    )


async def call_tool(context: Context, params: types.CallToolRequestParams) -> Any:
    if (tool := TOOLS.get(params.name)) is None:
        raise MCPError(types.INVALID_PARAMS, f"unknown tool {params.name!r}")
    return await answer(tool, context, params)


async def answer(handler: Handler, context: Context, params: Any) -> Answer:
    call = Call(context, params.arguments or {}, params.input_responses or {}, params.request_state)
    return await (handler(call) if call.modern else by_push(handler, call))


# ---------------------------------------------------------------- resources


def resource(uri: str, mime_type: str) -> types.Resource:
    what = f"A resource of the conformance suite: {uri}"
    return types.Resource(uri=uri, name=uri, description=what, mime_type=mime_type)


async def list_resources(_: Context, __: Any) -> types.ListResourcesResult:
    return types.ListResourcesResult(
        resources=[
            resource("test://static-text", "text/plain"),
            resource("test://static-binary", "image/png"),
            resource(WATCHED, "text/plain"),
        ]
    )


async def list_templates(_: Context, __: Any) -> types.ListResourceTemplatesResult:
    template = types.ResourceTemplate(
        uri_template=TEMPLATE,
        name="template",
        description="A template of the conformance suite",
        mime_type="application/json",
    )
    return types.ListResourceTemplatesResult(resource_templates=[template])


async def read_resource(
    _: Context, params: types.ReadResourceRequestParams
) -> types.ReadResourceResult:
    return types.ReadResourceResult(contents=[contents(str(params.uri))])


def contents(uri: str) -> types.TextResourceContents | types.BlobResourceContents:
    if uri == "test://static-binary":
        return types.BlobResourceContents(uri=uri, mime_type="image/png", blob=samples.PNG)
    before, after = TEMPLATE.split("{id}")
    if uri == "test://static-text":
        words, kind = "This is the content of the static text resource.", "text/plain"
    elif uri == WATCHED:
        words, kind = "Watched resource content", "text/plain"
    elif uri.startswith(before) and uri.endswith(after):
        id = uri.removeprefix(before).removesuffix(after)
        words = f'{{"id":"{id}","templateTest":true,"data":"Data for ID: {id}"}}'
        kind = "application/json"
    else:  # SEP-2164
        raise MCPError(types.INVALID_PARAMS, "Resource not found", data={"uri": uri})
    return types.TextResourceContents(uri=uri, mime_type=kind, text=words)


async def subscribe(_: Context, __: types.SubscribeRequestParams) -> types.EmptyResult:
    return types.EmptyResult()


async def unsubscribe(_: Context, __: types.UnsubscribeRequestParams) -> types.EmptyResult:
    return types.EmptyResult()


async def set_level(_: Context, __: types.SetLevelRequestParams) -> types.EmptyResult:
    return types.EmptyResult()


# ---------------------------------------------------------------- prompts


def messages(*contents: types.ContentBlock) -> types.GetPromptResult:
    return types.GetPromptResult(
        messages=[types.PromptMessage(role="user", content=content) for content in contents]
    )


async def simple_prompt(_: Call) -> Answer:
    return messages(types.TextContent(text="This is a simple prompt for testing."))


async def prompt_with_arguments(call: Call) -> Answer:
    first, second = call.arguments["arg1"], call.arguments["arg2"]
    words = f"Prompt with arguments: arg1='{first}', arg2='{second}'"
    return messages(types.TextContent(text=words))


async def prompt_with_embedded_resource(call: Call) -> Answer:
    return messages(
        embedded(
            call.arguments["resourceUri"], "text/plain", "Embedded resource content for testing."
        ),
        types.TextContent(text="Please process the embedded resource above."),
    )


async def prompt_with_image(_: Call) -> Answer:
    return messages(image(), types.TextContent(text="Please analyze the image above."))


PROMPTS: Mapping[str, tuple[Handler, tuple[str, ...]]] = {
    "test_simple_prompt": (simple_prompt, ()),
    "test_prompt_with_arguments": (prompt_with_arguments, ("arg1", "arg2")),
    "test_prompt_with_embedded_resource": (prompt_with_embedded_resource, ("resourceUri",)),
    "test_prompt_with_image": (prompt_with_image, ()),
    "test_input_required_result_prompt": (input_required_result_prompt, ()),
}
"""Each prompt's handler and the names of its arguments, all required."""


async def list_prompts(_: Context, __: Any) -> types.ListPromptsResult:
    arguments = {name: names for name, (_, names) in PROMPTS.items()}
    arguments |= dict.fromkeys(sorted(extra_prompts), ())
    return types.ListPromptsResult(
        prompts=[
            types.Prompt(
                name=name,
                description=f"A prompt of the conformance suite: {name}",
                arguments=[types.PromptArgument(name=name, required=True) for name in names],
            )
            for name, names in arguments.items()
        ]
    )


async def get_prompt(context: Context, params: types.GetPromptRequestParams) -> Any:
    if params.name not in PROMPTS:
        raise MCPError(types.INVALID_PARAMS, f"unknown prompt {params.name!r}")
    handler, names = PROMPTS[params.name]
    if missing := [name for name in names if name not in (params.arguments or {})]:
        raise MCPError(types.INVALID_PARAMS, f"{params.name} needs {', '.join(missing)}")
    return await answer(handler, context, params)


async def complete(_: Context, params: types.CompleteRequestParams) -> types.CompleteResult:
    cities = [city for city in ("paris", "park", "party") if city.startswith(params.argument.value)]
    return types.CompleteResult(completion=types.Completion(values=cities, total=len(cities)))


# ---------------------------------------------------------------- serving


class Events(EventStore):
    """Every event of the process, so that a stream can be taken up again."""

    def __init__(self) -> None:
        self._events: list[tuple[str, types.JSONRPCMessage | None]] = []

    async def store_event(self, stream_id: str, message: types.JSONRPCMessage | None) -> str:
        self._events.append((stream_id, message))
        return str(len(self._events))

    async def replay_events_after(
        self, last_event_id: str, send_callback: EventCallback
    ) -> str | None:
        last = int(last_event_id)
        stream = self._events[last - 1][0]
        for number, (of, message) in enumerate(
            itertools.islice(self._events, last, None), last + 1
        ):
            if of == stream and message is not None:
                await send_callback(EventMessage(message, str(number)))
        return stream


class Everything(Server[Any]):
    def create_initialization_options(self, *_: Any, **kwargs: Any) -> Any:
        """The SDK announces no list changes over HTTP unless told to."""
        changes = NotificationOptions(prompts_changed=True, tools_changed=True)
        return super().create_initialization_options(changes, **kwargs)


async def initialized(context: Context, _: types.NotificationParams) -> None:
    sessions.append(context.session)


def build() -> Everything:
    server = Everything(
        "everything",
        version="1.0",
        instructions="A server for the conformance suite.",
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        on_list_resources=list_resources,
        on_list_resource_templates=list_templates,
        on_read_resource=read_resource,
        on_subscribe_resource=subscribe,
        on_unsubscribe_resource=unsubscribe,
        on_list_prompts=list_prompts,
        on_get_prompt=get_prompt,
        on_completion=complete,
        on_set_logging_level=set_level,
        on_subscriptions_listen=ListenHandler(bus),
    )
    server.add_notification_handler(
        "notifications/initialized", types.NotificationParams, initialized
    )
    return server


async def serve_stdio(server: Everything) -> None:
    async with stdio_server() as (read, write):
        await server.run(read, write, server.create_initialization_options())


def serve_http(server: Everything) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    app = server.streamable_http_app(event_store=Events(), retry_interval=RETRY_MS)
    config = uvicorn.Config(app, http="h11", log_level="warning", timeout_graceful_shutdown=1)
    asyncio.run(uvicorn.Server(config).serve(sockets=[listener]))


if __name__ == "__main__":
    if sys.argv[1] == "stdio":
        anyio.run(serve_stdio, build())
    else:
        serve_http(build())
