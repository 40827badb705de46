"""Tools and prompts that need the client's help, each written once for both eras of MCP.

A handler looks at what it was given and returns either its result or `InputRequiredResult`, which
is what 2026-07-28 has on the wire. Before that, `by_push` asks the same questions as requests of the
server's own and calls the handler again.
"""

import dataclasses
import hashlib
import hmac
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import anyio
import mcp_types as types
import samples
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp.shared.message import ServerMessageMetadata

MODERN = "2026-07-28"
KEY = b"a fixture's own: whoever reads this file could seal a state too"
MAX_ROUNDS = 10

Context = ServerRequestContext[Any, Any]
Result = types.CallToolResult | types.GetPromptResult
Answer = Result | types.InputRequiredResult


@dataclasses.dataclass(frozen=True, slots=True)
class Call:
    """One call of a tool or prompt, or one more round of it."""

    context: Context
    arguments: Mapping[str, Any]
    given: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """The client's answers by the key of their question."""
    state: str | None = None

    @property
    def modern(self) -> bool:
        return self.context.protocol_version == MODERN

    @property
    def capabilities(self) -> types.ClientCapabilities:
        return self.context.session.client_capabilities or types.ClientCapabilities()


Handler = Callable[[Call], Awaitable[Answer]]


async def by_push(handler: Handler, call: Call) -> Answer:
    """Answer a call of a revision before 2026-07-28, questions asked as requests."""
    for _ in range(MAX_ROUNDS):
        answer = await handler(call)
        if not isinstance(answer, types.InputRequiredResult):
            return answer
        given = await _ask_all(call.context, answer.input_requests or {})
        call = dataclasses.replace(call, given=given, state=answer.request_state)
    raise MCPError(types.INTERNAL_ERROR, f"still asking after {MAX_ROUNDS} rounds")


async def _ask_all(context: Context, requests: Mapping[str, Any]) -> dict[str, Any]:
    given: dict[str, Any] = {}
    related = ServerMessageMetadata(related_request_id=context.request_id)

    async def ask(key: str, request: Any) -> None:
        kind = _RESULTS[request.method]
        given[key] = await context.session.send_request(request, kind, metadata=related)

    async with anyio.create_task_group() as asking:
        for key, request in requests.items():
            asking.start_soon(ask, key, request)
    return given


_RESULTS: dict[str, Any] = {
    "elicitation/create": types.ElicitResult,
    "sampling/createMessage": types.CreateMessageResult,
    "roots/list": types.ListRootsResult,
}


# ---------------------------------------------------------------- state


def seal(payload: str) -> str:
    """State that the client carries and cannot change."""
    return f"{payload}.{hmac.new(KEY, payload.encode(), hashlib.sha256).hexdigest()}"


def unseal(state: str | None) -> str | None:
    """What `seal` was given; `MCPError` for a state that is not ours."""
    if state is None:
        return None
    payload = state.partition(".")[0]
    if not hmac.compare_digest(seal(payload), state):
        raise MCPError(types.INVALID_PARAMS, "requestState failed its integrity check")
    return payload


# ---------------------------------------------------------------- questions


def text(value: object) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(text=str(value))])


def required(state: str | None = None, **requests: Any) -> types.InputRequiredResult:
    return types.InputRequiredResult(input_requests=requests or None, request_state=state)


def form(message: str, schema: dict[str, Any]) -> types.ElicitRequest:
    params = types.ElicitRequestFormParams(message=message, requested_schema=schema)
    return types.ElicitRequest(params=params)


def prompted(prompt: str, max_tokens: int = 100) -> types.CreateMessageRequest:
    content = types.TextContent(text=prompt)
    return types.CreateMessageRequest(
        params=types.CreateMessageRequestParams(
            messages=[types.SamplingMessage(role="user", content=content)], max_tokens=max_tokens
        )
    )


def accepted(reply: Any) -> dict[str, Any]:
    """The fields of an accepted form."""
    return dict(getattr(reply, "content", None) or {})


STRING = {"type": "string"}
WHO = form("What is your name?", samples.schema(name=STRING))
CONFIRM = form("Please confirm", samples.schema(ok={"type": "boolean"}))


# ---------------------------------------------------------------- tools since the first revision


async def sampling(call: Call) -> Answer:
    if not call.given:
        return required(reply=prompted(call.arguments["prompt"]))
    return text(f"LLM response: {call.given['reply'].content.text}")


async def elicitation(call: Call) -> Answer:
    fields = {"username": "User's response", "email": "User's email address"}
    schema = samples.schema(
        **{name: {**STRING, "description": what} for name, what in fields.items()}
    )
    if not call.given:
        return required(reply=form(call.arguments["message"], schema))
    reply = call.given["reply"]
    return text(f"User response: action={reply.action}, content={accepted(reply)}")


async def elicitation_sep1034_defaults(call: Call) -> Answer:
    return _completed(call, "Please review the defaults", samples.DEFAULTS)


async def elicitation_sep1330_enums(call: Call) -> Answer:
    return _completed(call, "Please choose", samples.ENUMS)


def _completed(call: Call, message: str, schema: dict[str, Any]) -> Answer:
    if not call.given:
        return required(reply=form(message, schema))
    reply = call.given["reply"]
    return text(f"Elicitation completed: action={reply.action}, content={accepted(reply)}")


async def streaming_elicitation(call: Call) -> Answer:
    return text("answered") if call.given else required(reply=WHO)


# ---------------------------------------------------------------- tools of 2026-07-28


async def input_required_result_elicitation(call: Call) -> Answer:
    if "user_name" not in call.given:
        return required(user_name=WHO)
    return text(f"Hello, {accepted(call.given['user_name']).get('name')}!")


async def input_required_result_sampling(call: Call) -> Answer:
    if "capital_question" not in call.given:
        return required(capital_question=prompted("What is the capital of France?"))
    return text(call.given["capital_question"].content.text)


async def input_required_result_list_roots(call: Call) -> Answer:
    if "client_roots" not in call.given:
        return required(client_roots=types.ListRootsRequest())
    return text(", ".join(str(root.uri) for root in call.given["client_roots"].roots))


async def input_required_result_request_state(call: Call) -> Answer:
    if unseal(call.state) != "confirm" or "confirm" not in call.given:
        return required(seal("confirm"), confirm=CONFIRM)
    return text("state-ok")


async def input_required_result_tampered_state(call: Call) -> Answer:
    return await input_required_result_request_state(call)


async def input_required_result_multiple_inputs(call: Call) -> Answer:
    questions = {
        "user_name": WHO,
        "greeting": prompted("Generate a greeting", 50),
        "client_roots": types.ListRootsRequest(),
    }
    if unseal(call.state) != "all" or questions.keys() - call.given.keys():
        return required(seal("all"), **questions)
    return text(f"{call.given['greeting'].content.text} {accepted(call.given['user_name'])}")


async def input_required_result_multi_round(call: Call) -> Answer:
    step = unseal(call.state)
    if step == "step1" and "step1" in call.given:
        second = form("Step 2: What is your favorite color?", samples.schema(color=STRING))
        return required(seal("step2"), step2=second)
    if step == "step2" and "step2" in call.given:
        return text("both steps are done")
    return required(
        seal("step1"), step1=form("Step 1: What is your name?", samples.schema(name=STRING))
    )


async def input_required_result_capabilities(call: Call) -> Answer:
    """Asks only for what this client said it can do."""
    if call.given:
        return text("answered")
    able = call.capabilities
    questions: dict[str, Any] = {}
    if able.sampling is not None:
        questions["sample"] = prompted("Say something")
    if able.elicitation is not None:
        questions["form"] = WHO
    return required(**questions) if questions else text("this client cannot be asked anything")


async def missing_capability(call: Call) -> Answer:
    """Needs sampling, and says so to a client that did not declare it."""
    if call.capabilities.sampling is not None:
        return text("the client can sample")
    if not call.modern:
        result = text("this tool needs the client's sampling capability")
        result.is_error = True
        return result
    raise MCPError(
        types.MISSING_REQUIRED_CLIENT_CAPABILITY,
        "this tool needs the client's sampling capability",
        data={"requiredCapabilities": {"sampling": {}}},
    )


# ---------------------------------------------------------------- a prompt


async def input_required_result_prompt(call: Call) -> Answer:
    if "user_context" not in call.given:
        question = form("What context should the prompt use?", samples.schema(context=STRING))
        return required(user_context=question)
    words = accepted(call.given["user_context"]).get("context")
    content = types.TextContent(text=f"Use this context: {words}")
    return types.GetPromptResult(messages=[types.PromptMessage(role="user", content=content)])


ASKING_TOOLS: tuple[Handler, ...] = (
    *(sampling, elicitation, elicitation_sep1034_defaults),
    *(elicitation_sep1330_enums, streaming_elicitation, missing_capability),
    *(input_required_result_elicitation, input_required_result_sampling),
    *(input_required_result_list_roots, input_required_result_request_state),
    *(input_required_result_tampered_state, input_required_result_multiple_inputs),
    *(input_required_result_multi_round, input_required_result_capabilities),
)
