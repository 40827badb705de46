"""`legacy_to_modern.forwarding`: requests that go on, with all that may come back."""

import math

import pytest

from mcpctld.errors import Unreachable
from mcpctld.protocols.jsonrpc import Malformed
from mcpctld.protocols.mcp.bridge import Fail, ToClient, ToServer
from protocols.mcp.legacy_to_modern.talk import P, Talk, message

EVERYTHING = {"roots": {}, "sampling": {}, "elicitation": {"form": {}}}
ROOTS = {"r": {"method": "roots/list"}}
FORM = {"e": {"method": "elicitation/create", "params": {"message": "?"}}}


@pytest.fixture
def talk() -> Talk:
    talk = Talk()
    talk.initialize(capabilities=EVERYTHING)
    return talk


# ---------------------------------------------------------------- there and back


def raw(talk: Talk) -> bytes:
    """The only thing that was heard, as it was written."""
    [event] = talk.heard
    talk.heard.clear()
    assert isinstance(event, ToServer | ToClient)
    return event.message.raw


def test_params_and_results_keep_their_text(talk: Talk):
    params = rb'{"name":"t","arguments":{ "x" : 1.0,"y":1e400,"z":"\ud800\u0061"}}'
    talk.client(b'{"id":1,"method":"tools/call","params":%b}' % params)
    assert params[:-1] in raw(talk)
    talk.server(rb'{"id":1,"result":{"resultType":"complete","content":[ 1.0,"\ud800" ]}}')
    assert raw(talk) == rb'{"jsonrpc":"2.0","id":1,"result":{"content":[ 1.0,"\ud800" ]}}'


@pytest.mark.parametrize("params", [b"[1]", b"5", b"null"])
def test_params_that_are_no_object_are_refused(talk: Talk, params: bytes):
    talk.client(b'{"id":1,"method":"tools/call","params":%b}' % params)
    assert talk.to_client()["error"]["code"] == -32602


def test_a_request_without_params_gets_some(talk: Talk):
    talk.client(id=1, method="tools/list")
    assert talk.to_server()["params"].keys() == {"_meta"}


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        (5, "no object"),
        ([], "no object"),
        ("x", "no object"),
        ({"resultType": "task"}, "a result of type 'task'"),
        ({"resultType": 5}, "a result of type None"),
    ],
)
def test_a_result_that_nobody_can_read_is_an_error(talk: Talk, result: object, reason: str):
    talk.call(1)
    talk.server(id=1, result=result)
    assert talk.take() == [("fail", (1, f"the server answered tools/call with {reason}"))]


def test_errors_go_on_under_the_id_of_the_client(talk: Talk):
    asked = talk.ask("mcpctl:x", "resources/read", uri="a:b")
    error = {"code": -32602, "message": "not found", "data": {"uri": "a:b"}}
    talk.server(id=asked["id"], error=error)
    assert talk.to_client() == {"jsonrpc": "2.0", "id": "mcpctl:x", "error": error}


def test_errors_that_the_client_cannot_know_become_ours(talk: Talk):
    talk.call(1)
    data = {"requiredCapabilities": {"sampling": {}}}
    talk.server(id=1, error={"code": -32021, "message": "m", "data": data})
    id, error = talk.failed()
    assert (id, error.kind) == (1, "peer")
    assert "sampling" in str(error)


def test_output_schemas_and_output_change_together(talk: Talk):
    talk.client(id=1, method="tools/list")
    talk.take()
    tool = {"name": "t", "outputSchema": {"anyOf": [{"type": "object"}]}}
    talk.server(id=1, result={"tools": [tool]})
    [listed] = talk.to_client()["result"]["tools"]
    assert listed["outputSchema"]["type"] == "object"
    talk.call(2)
    talk.server(id=2, result={"structuredContent": {"a": 1}, "content": []})
    assert talk.to_client()["result"]["structuredContent"] == {"result": {"a": 1}}
    talk.call(3, name="u")
    talk.server(id=3, result={"structuredContent": {"a": 1}, "content": []})
    assert talk.to_client()["result"]["structuredContent"] == {"a": 1}


def test_prompts_and_resources_come_as_they_are(talk: Talk):
    talk.ask(1, "prompts/get", name="p")
    talk.server(id=1, result={"resultType": "complete", "messages": [], "structuredContent": 5})
    assert talk.to_client()["result"] == {"messages": [], "structuredContent": 5}


def test_progress_that_goes_back_is_for_nobody(talk: Talk):
    asked = talk.call(1, _meta={"progressToken": 1})
    talk.input_required(asked, requestState="s")
    for progress in (2, 1):
        params = {"progressToken": 1, "progress": progress}
        talk.server(method="notifications/progress", params=params)
    assert talk.to_client()["params"]["progress"] == 2


def test_answers_to_unknown_requests_are_dropped(talk: Talk):
    talk.server(id=9, result={})
    talk.failure(9, Unreachable("x"))
    talk.forget(9)
    talk.client(id="mcpctl:9", result={})
    progress = {"progressToken": "mcpctl:9", "progress": 1}
    talk.client(method="notifications/progress", params=progress)
    assert talk.take() == []


# ---------------------------------------------------------------- rounds


def test_several_calls_ask_at_once_and_none_gets_the_other_s_answer(talk: Talk):
    questions = {}
    for id in (1, 2):
        [questions[id]] = talk.input_required(talk.call(id, name=f"t{id}"), ROOTS)
    for id in (2, 1):
        talk.client(id=questions[id]["id"], result={"roots": [id]})
        again = talk.to_server()
        assert again["params"]["name"] == f"t{id}"
        assert again["params"]["inputResponses"] == {"r": {"roots": [id]}}
        talk.server(id=again["id"], result={})
        assert talk.to_client()["id"] == id


def test_a_call_may_take_several_rounds(talk: Talk):
    asked = talk.call(1, _meta={"progressToken": 1})
    for number in range(3):
        [question] = talk.input_required(asked, ROOTS, requestState=f"s{number}")
        talk.client(id=question["id"], result={})
        asked = talk.to_server()
        assert asked["params"]["requestState"] == f"s{number}"
    talk.server(id=asked["id"], error={"code": 1, "message": "m"})
    assert talk.to_client() == {"jsonrpc": "2.0", "id": 1, "error": {"code": 1, "message": "m"}}


@pytest.mark.parametrize("method", ["tools/list", "completion/complete", "x/y"])
def test_other_requests_cannot_ask_back(talk: Talk, method: str):
    talk.input_required(talk.ask(1, method), ROOTS)
    talk.ask(2, method)
    talk.server(id=2, result={"resultType": "input_required", "requestState": "s"})
    text = f"the server answered {method} with a result of type 'input_required'"
    assert talk.take() == [("fail", (2, text))]


def test_a_tool_that_wants_what_is_not_offered_says_so_itself(talk: Talk):
    wish = {"u": {"method": "elicitation/create", "params": {"mode": "url"}}}
    [answer] = talk.input_required(talk.call(1), wish)
    text = "mcpctl: the server asks for elicitation by URL, which this client does not offer"
    expected = {"content": [{"type": "text", "text": text}], "isError": True}
    assert answer == {"jsonrpc": "2.0", "id": 1, "result": expected}


def test_any_other_request_that_wants_it_fails(talk: Talk):
    talk.ask(1, "prompts/get", name="p")
    wishes = {"x": {"method": "x"}}
    talk.server(id=1, result={"resultType": "input_required", "inputRequests": wishes})
    text = "the server asks for 'x', which this client does not offer"
    assert talk.take() == [("fail", (1, text))]


def test_a_round_that_breaks_the_rules_fails(talk: Talk):
    talk.call(1)
    talk.server(id=1, result={"resultType": "input_required"})
    assert talk.take() == [("fail", (1, "the server wants input, but does not say which"))]


def test_a_question_that_the_client_refuses_takes_the_others_along(talk: Talk):
    roots, form = talk.input_required(talk.call(1), {**ROOTS, **FORM})
    talk.client(id=roots["id"], error={"code": -1, "message": "no"})
    cancelled = {"jsonrpc": "2.0", "method": "notifications/cancelled"}
    assert talk.take() == [
        ("client", {**cancelled, "params": {"requestId": form["id"]}}),
        ("fail", (1, "the client refused roots/list: no")),
    ]
    talk.client(id=form["id"], result={})
    assert talk.take() == []
    assert talk.bridge.deadline == math.inf


def test_when_the_next_round_fails_the_request_has_failed(talk: Talk):
    [question] = talk.input_required(talk.call(1), ROOTS)
    talk.client(id=question["id"], result={})
    talk.failure(talk.to_server()["id"], Unreachable("cut"))
    assert talk.take() == [("fail", (1, "cut"))]


def test_a_cancelled_round_is_given_up(talk: Talk):
    [question] = talk.input_required(talk.call(1), ROOTS)
    talk.client(id=question["id"], result={})
    again = talk.to_server()
    talk.client(method="notifications/cancelled", params={"requestId": 1})
    assert talk.take() == [("give up", again["id"])]


# ---------------------------------------------------------------- time


def test_who_does_not_answer_is_not_waited_for_for_ever(talk: Talk):
    roots, form = talk.input_required(talk.call(1), {**ROOTS, **FORM})
    talk.wait(300)
    progress = {"progressToken": roots["id"], "progress": 1}
    talk.client(method="notifications/progress", params=progress)
    talk.wait(301)
    cancelled = {"jsonrpc": "2.0", "method": "notifications/cancelled"}
    assert talk.to_client() == {**cancelled, "params": {"requestId": form["id"]}}
    talk.wait(300)
    assert talk.take() == [
        ("client", {**cancelled, "params": {"requestId": roots["id"]}}),
        ("fail", (1, "no answer to roots/list within 600 s")),
    ]


def test_a_server_that_only_wants_to_be_asked_again_is(talk: Talk):
    talk.input_required(talk.call(1), requestState="s")
    talk.call(2)
    talk.input_required(talk.call(3), ROOTS)
    talk.wait(0.049)
    assert talk.take() == []
    talk.wait(0.002)
    assert talk.to_server()["params"]["requestState"] == "s"


def test_an_unanswered_form_goes_back_as_cancelled(talk: Talk):
    talk.input_required(talk.call(1), FORM)
    talk.wait(600)
    [_, (_, again)] = talk.take()
    assert again["params"]["inputResponses"] == {"e": {"action": "cancel"}}


# ---------------------------------------------------------------- too deep


def nested(depth: int) -> bytes:
    return b'{"a":' * depth + b"1" + b"}" * depth


def test_what_is_nested_so_deeply_that_it_can_just_be_read_is_at_most_an_error(talk: Talk):
    reached = 0
    for depth in range(100, 20_000):
        try:
            request = message(b'{"id":1,"method":"tools/call","params":%b}' % nested(depth))
            answer = message(b'{"id":1,"result":{"structuredContent":[%b]}}' % nested(depth))
        except Malformed:
            break
        for receive, said in (
            (talk.bridge.receive_client, request),
            (talk.bridge.receive_server, answer),
        ):
            receive(said, 0)
            if (event := talk.bridge.next_event()) is None:
                break
            assert isinstance(event, ToServer | ToClient | Fail)
            reached += isinstance(event, Fail)
        talk.forget(1)
        talk.heard.clear()
    assert reached


def test_reserved_keys_do_not_reach_the_client(talk: Talk):
    talk.call(1)
    talk.server(id=1, result={"content": [], "_meta": {P + "serverInfo": {}}})
    assert talk.to_client()["result"] == {"content": []}
