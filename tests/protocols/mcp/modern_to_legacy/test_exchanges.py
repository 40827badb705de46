"""Requests on their way through the bridge, and the questions that stop them."""

import pytest

from mcpctld.errors import PeerError, Unreachable
from mcpctld.protocols.mcp.modern_to_legacy.exchanges import MAX_QUESTIONS
from protocols.mcp.modern_to_legacy.stage import EVERYTHING, INFO, NAMED, P, Stage, request

URLS = {"elicitations": [{"mode": "url", "url": "u:", "message": "m", "elicitationId": "e"}]}


def stopped(
    stage: Stage, id: object = 1, *methods: str
) -> tuple[str, list[object], list[str], str]:
    """A call with questions: its id at the server, theirs, their keys, and the handle."""
    upstream = stage.call(id)
    asked = [stage.ask(method) for method in methods or ("elicitation/create",)]
    stage.pass_time(0.03)
    entries, handle = stage.questions(id)
    assert [e["method"] for e in entries.values()] == list(methods or ("elicitation/create",))
    return upstream, asked, list(entries), handle


def again(id: object, handle: str, answers: dict[str, object] | None = None, **more: object):
    """The same call, with answers."""
    meta = {"meta": more.pop("meta")} if "meta" in more else {}
    responses = {} if answers is None else {"inputResponses": answers}
    return request(id, "tools/call", name="x", requestState=handle, **responses, **meta, **more)  # type: ignore[arg-type]


def all_of(entries: dict[str, object], answer: object) -> dict[str, object]:
    """The same answer to all questions."""
    return dict.fromkeys(entries, answer)


# ---------------------------------------------------------------- plain requests


def test_a_request_goes_to_the_server_under_another_id_and_comes_back():
    stage = Stage()
    stage.send(request("a", "tools/call", name="x", arguments={"n": 1}))
    asked = stage.asked("tools/call")
    assert asked["params"] == {"name": "x", "arguments": {"n": 1}}
    stage.answer(asked, {"content": []})
    assert stage.result("a") == {
        "content": [],
        "resultType": "complete",
        "_meta": {f"{P}serverInfo": INFO},
    }
    stage.answer(asked, {"content": []})
    assert not stage.events


def test_a_method_that_the_bridge_does_not_know_goes_to_the_server():
    stage = Stage()
    stage.refuse(stage.call(1, "com.example/x"), -32601)
    assert stage.error(1) == {"code": -32601, "message": "no"}


@pytest.mark.parametrize(("code", "modern"), [(-32002, -32602), (-32042, -32603), (-1, -1)])
def test_an_error_comes_back_with_a_code_that_the_client_knows(code: int, modern: int):
    stage = Stage()
    stage.refuse(stage.call(1, "resources/read"), code)
    assert stage.error(1)["code"] == modern


def test_a_failure_is_the_clients():
    stage = Stage()
    error = Unreachable("gone")
    stage.fail(stage.call(1), error)
    assert stage.take_failure(1) is error


def test_a_result_that_is_none_is_the_servers_fault():
    stage = Stage()
    stage.answer(stage.call(1), [])
    assert isinstance(stage.take_failure(1), PeerError)


def test_a_cancelled_request_is_cancelled_and_not_answered():
    stage = Stage()
    upstream = stage.call(1)
    stage.cancel(1)
    stage.take_cancellation(upstream)
    stage.answer(upstream, {})
    stage.cancel(1)
    assert not stage.events


# ---------------------------------------------------------------- progress and logs


def test_progress_is_about_the_clients_token_while_the_request_is_open():
    stage = Stage()
    stage.send(request(1, "tools/call", meta={"progressToken": "mine"}, name="x"))
    asked = stage.asked("tools/call")
    token = asked["params"]["_meta"]["progressToken"]
    params = {"progressToken": token, "progress": 0.5, "total": 1}
    stage.receive(method="notifications/progress", params=params)
    assert stage.take_client()["params"] == {"progressToken": "mine", "progress": 0.5, "total": 1}
    stage.answer(asked, {})
    stage.result(1)
    stage.receive(method="notifications/progress", params=params)
    assert not stage.events


def test_progress_that_nobody_wants_is_dropped():
    stage = Stage()
    upstream = stage.call(1)
    stage.receive(method="notifications/progress", params={"progressToken": upstream})
    stage.receive(method="notifications/progress", params={"progressToken": "x"})
    stage.receive(method="notifications/progress")
    assert not stage.events


def test_the_request_with_the_answers_brings_its_own_token():
    stage = Stage()
    stage.send(request(1, "tools/call", meta={"progressToken": 1}, name="x"))
    token = stage.asked("tools/call")["params"]["_meta"]["progressToken"]
    stage.ask()
    stage.pass_time(0.03)
    _, handle = stage.questions(1)
    stage.receive(method="notifications/progress", params={"progressToken": token, "progress": 1})
    assert not stage.events
    stage.send(again(2, handle, meta={"progressToken": 2}))
    stage.receive(method="notifications/progress", params={"progressToken": token, "progress": 2})
    assert stage.take_client()["params"] == {"progressToken": 2, "progress": 2}


def test_logs_that_were_overtaken_by_the_answer_come_before_it():
    stage = Stage(late_s=0.005)
    stage.send(request(1, "tools/list", meta={f"{P}logLevel": "warning"}))
    stage.answer(stage.asked("logging/setLevel"), {})
    stage.answer(stage.asked("tools/list"), {"tools": []})
    assert not stage.events
    stage.receive(method="notifications/message", params={"level": "error", "data": 1})
    assert stage.take_client()["method"] == "notifications/message"
    stage.pass_time(0.005)
    assert stage.result(1)["tools"] == []
    stage.receive(method="notifications/message", params={"level": "error", "data": 2})
    assert not stage.events


def test_an_answer_waits_for_late_logs_only_where_logs_are_wanted():
    stage = Stage(late_s=0.005)
    stage.answer(stage.call(1), {"content": []})
    assert stage.result(1)["content"] == []


def test_an_answer_that_waits_for_late_logs_is_dropped_with_its_request():
    stage = Stage(late_s=0.005)
    stage.send(request(1, "tools/list", meta={f"{P}logLevel": "warning"}))
    stage.answer(stage.asked("logging/setLevel"), {})
    stage.answer(stage.asked("tools/list"), {"tools": []})
    stage.cancel(1)
    stage.pass_time(1.0)
    assert not stage.events


def test_logs_go_to_a_client_whose_open_request_wants_them():
    stage = Stage()

    def log(level: object) -> int:
        stage.receive(method="notifications/message", params={"level": level, "data": 1})
        count = len(stage.events)
        stage.events.clear()
        return count

    assert log("emergency") == 0
    stage.send(request(1, "tools/list", meta={f"{P}logLevel": "warning"}))
    stage.answer(stage.asked("logging/setLevel"), {})
    upstream = stage.asked("tools/list")
    stage.call(2)
    assert [log(level) for level in ("info", "warning", "error", "loud", 7, None)] == [
        0,
        1,
        1,
        0,
        0,
        0,
    ]
    stage.answer(upstream, {})
    stage.result(1)
    assert log("error") == 0


# ---------------------------------------------------------------- questions


def test_questions_asked_together_are_put_together():
    stage = Stage()
    upstream, asked, keys, handle = stopped(
        stage, 1, "elicitation/create", "sampling/createMessage"
    )
    stage.send(again(2, handle, {keys[0]: {"action": "accept"}, keys[1]: {"model": "m"}}))
    assert stage.take_server() == {"jsonrpc": "2.0", "id": asked[0], "result": {"action": "accept"}}
    assert stage.take_server() == {"jsonrpc": "2.0", "id": asked[1], "result": {"model": "m"}}
    assert not stage.events
    stage.answer(upstream, {"content": []})
    assert stage.result(2)["resultType"] == "complete"


def test_one_question_may_follow_the_other():
    stage = Stage()
    upstream, _, keys, handle = stopped(stage)
    stage.send(again(2, handle, {keys[0]: {"action": "accept"}}))
    stage.take_server()
    stage.ask("roots/list")
    stage.pass_time(0.03)
    entries, later = stage.questions(2)
    stage.send(again(3, later, all_of(entries, {"roots": []})))
    stage.take_server()
    stage.answer(upstream, {})
    stage.result(3)
    stage.pass_time(3600.0)
    assert not stage.events


def test_what_was_not_answered_is_asked_again():
    stage = Stage()
    _, asked, keys, handle = stopped(stage, 1, "elicitation/create", "roots/list")
    stage.send(again(2, handle, {keys[0]: {"action": "accept"}, keys[1]: 7}))
    assert stage.take_server()["id"] == asked[0]
    stage.pass_time(0.03)
    entries, _ = stage.questions(2)
    assert list(entries) == [keys[1]]


@pytest.mark.parametrize("answer", [{"content": []}, None, "error"])
def test_what_the_server_answers_meanwhile_is_kept_for_the_client(answer: object):
    stage = Stage()
    upstream, asked, keys, handle = stopped(stage)
    error = Unreachable("gone")
    if answer is None:
        stage.fail(upstream, error)
    elif answer == "error":
        stage.refuse(upstream, -1)
    else:
        stage.answer(upstream, answer)
    assert not stage.events
    stage.send(again(2, handle, {keys[0]: {"action": "accept"}}))
    assert stage.take_server()["id"] == asked[0]
    if answer is None:
        assert stage.take_failure(2) is error
    elif answer == "error":
        assert stage.error(2)["code"] == -1
    else:
        assert stage.result(2)["content"] == []
    assert not stage.events


def test_an_answer_before_the_client_was_asked_is_given_at_once():
    stage = Stage()
    upstream = stage.call(1)
    asked = stage.ask("roots/list")
    stage.answer(upstream, {})
    stage.result(1)
    stage.pass_time(0.03)
    assert not stage.events
    stage.send(request(2, "tools/call", name="x"))
    entries, handle = stage.questions(2)
    stage.send(again(3, handle, all_of(entries, {"roots": []})))
    assert stage.take_server()["id"] == asked


def test_a_question_belongs_to_the_oldest_request_that_is_not_parked():
    stage = Stage()
    stopped(stage, 1)
    stage.call(2)
    stage.call(3)
    stage.ask()
    stage.pass_time(0.03)
    stage.questions(2)
    assert not stage.events


def test_a_question_while_all_are_parked_is_asked_in_the_next_round():
    stage = Stage()
    _, _, keys, handle = stopped(stage, 1)
    stage.ask("roots/list")
    stage.pass_time(1.0)
    assert not stage.events
    stage.send(again(2, handle, {keys[0]: {"action": "accept"}}))
    stage.take_server()
    stage.pass_time(0.03)
    entries, _ = stage.questions(2)
    assert [entry["method"] for entry in entries.values()] == ["roots/list"]


def test_what_the_request_did_not_declare_is_refused():
    stage = Stage()
    stage.call(1, capabilities={"elicitation": {}})
    stage.ask("roots/list")
    assert stage.take_server()["error"]["code"] == -32601


def test_what_the_session_did_not_declare_is_refused_at_once():
    stage = Stage(opened=False)
    stage.open({}, {"elicitation": {}})
    stage.ask("roots/list")
    assert stage.take_server()["error"]["code"] == -32601
    stage.ask("elicitation/create", mode="url")
    assert stage.take_server()["error"]["code"] == -32602
    stage.ask("com.example/x")
    assert stage.take_server()["error"]["code"] == -32601


def test_what_cannot_be_asked_during_a_list_is_refused():
    stage = Stage()
    stage.call(1, "tools/list")
    stage.ask("sampling/createMessage")
    assert stage.take_server()["error"]["code"] == -32601


def test_not_more_than_some_questions_are_open():
    stage = Stage()
    stage.call(1)
    for _ in range(MAX_QUESTIONS):
        stage.ask()
    stage.ask()
    assert stage.take_server()["error"]["code"] == -32603
    stage.pass_time(0.03)
    entries, _ = stage.questions(1)
    assert len(entries) == MAX_QUESTIONS


def test_a_question_under_an_id_that_is_in_use_is_ignored():
    stage = Stage()
    stage.call(1)
    stage.ask(id=5)
    stage.ask(id=5.0)
    stage.pass_time(0.03)
    assert len(stage.questions(1)[0]) == 1
    assert not stage.events


def test_a_question_that_the_server_withdraws_is_not_asked():
    stage = Stage()
    stage.call(1)
    asked = stage.ask()
    stage.receive(method="notifications/cancelled", params={"requestId": asked})
    stage.receive(method="notifications/cancelled", params={"requestId": asked})
    stage.pass_time(0.03)
    assert not stage.events


def test_an_answer_to_a_question_that_was_withdrawn_is_dropped():
    stage = Stage()
    upstream, asked, keys, handle = stopped(stage)
    stage.receive(method="notifications/cancelled", params={"requestId": asked[0]})
    stage.send(again(2, handle, {keys[0]: {"action": "accept"}}))
    assert not stage.events
    stage.answer(upstream, {})
    stage.result(2)


def test_a_cancelled_request_takes_its_questions_along():
    stage = Stage()
    upstream = stage.call(1)
    elicitation, sampling = stage.ask(), stage.ask("sampling/createMessage")
    stage.cancel(1)
    stage.take_cancellation(upstream)
    assert stage.take_server() == {
        "jsonrpc": "2.0",
        "id": elicitation,
        "result": {"action": "cancel"},
    }
    said = stage.take_server()
    assert (said["id"], said["error"]["code"]) == (sampling, -32603)
    stage.pass_time(1.0)
    assert not stage.events


def test_a_request_that_goes_on_can_be_cancelled():
    stage = Stage()
    upstream, _, keys, handle = stopped(stage)
    stage.send(again(2, handle, {keys[0]: {"action": "accept"}}))
    stage.take_server()
    stage.cancel(1)
    assert not stage.events
    stage.forget(2)
    stage.take_cancellation(upstream)
    assert not stage.events


def test_a_handle_of_nobody_is_refused():
    stage = Stage()
    stage.send(again(1, "no such handle"))
    assert stage.error(1)["code"] == -32602
    assert not stage.events


def test_a_handle_means_nothing_to_a_request_that_cannot_be_stopped():
    stage = Stage()
    stage.call(1, "tools/list", requestState="x")


def test_what_was_asked_meanwhile_is_asked_when_the_request_is_sent_at_last():
    stage = Stage()
    stage.ask("roots/list")
    stage.send(request(1, "tools/call", name="x"))
    entries, handle = stage.questions(1)
    stage.ask("sampling/createMessage")
    assert not stage.events
    stage.send(again(2, handle, all_of(entries, {"roots": []})))
    stage.take_server()
    upstream = stage.asked("tools/call")["id"]
    stage.pass_time(0.03)
    entries, handle = stage.questions(2)
    assert [entry["method"] for entry in entries.values()] == ["sampling/createMessage"]
    stage.send(again(3, handle, all_of(entries, {})))
    stage.take_server()
    stage.answer(upstream, {})
    stage.result(3)


def test_what_was_asked_meanwhile_joins_what_was_not_answered():
    stage = Stage()
    stage.ask("roots/list")
    stage.send(request(1, "tools/call", name="x"))
    _, handle = stage.questions(1)
    stage.ask("sampling/createMessage")
    stage.send(again(2, handle))
    stage.asked("tools/call")
    stage.pass_time(0.03)
    entries, _ = stage.questions(2)
    assert [entry["method"] for entry in entries.values()] == [
        "roots/list",
        "sampling/createMessage",
    ]


def test_a_request_that_was_never_sent_expires_without_a_word_about_it():
    stage = Stage()
    asked = stage.ask("roots/list")
    stage.send(request(1, "tools/call", name="x"))
    stage.questions(1)
    stage.pass_time(601.0)
    assert stage.take_server()["id"] == asked
    assert not stage.events


# ---------------------------------------------------------------- URLs that must be visited


@pytest.mark.parametrize("method", sorted(NAMED))
def test_an_error_that_wants_a_url_visited_becomes_a_question_and_the_call_is_made_again(
    method: str,
):
    stage = Stage()
    upstream = stage.call(1, method)
    stage.refuse(upstream, -32042, URLS)
    entries, handle = stage.questions(1)
    ((key, entry),) = entries.items()
    assert entry == {
        "method": "elicitation/create",
        "params": {"mode": "url", "url": "u:", "message": "m"},
    }
    answers = {key: {"action": "accept"}}
    stage.send(request(2, method, requestState=handle, inputResponses=answers, **NAMED[method]))
    second = stage.asked(method)
    assert second["id"] != upstream
    assert second["params"] == NAMED[method]
    stage.answer(second, {})
    stage.result(2)
    assert not stage.events


@pytest.mark.parametrize("action", ["decline", "cancel", 7])
def test_a_user_who_will_not_visit_it_gets_the_error(action: object):
    stage = Stage()
    stage.refuse(stage.call(1), -32042, URLS)
    entries, handle = stage.questions(1)
    stage.send(again(2, handle, all_of(entries, {"action": action})))
    assert stage.error(2) == {"code": -32603, "message": "no", "data": URLS}
    assert not stage.events


def test_without_an_answer_the_server_says_again_what_it_wants():
    stage = Stage()
    stage.refuse(stage.call(1), -32042, URLS)
    _, handle = stage.questions(1)
    stage.send(again(2, handle))
    stage.refuse(stage.asked("tools/call"), -32042, URLS)
    stage.questions(2)


def test_a_client_that_shows_no_urls_is_told_what_it_lacks():
    stage = Stage()
    stage.refuse(stage.call(1, capabilities={"elicitation": {}}), -32042, URLS)
    error = stage.error(1)
    assert error["code"] == -32021
    assert error["data"]["requiredCapabilities"] == {"elicitation": {"url": {}}}


@pytest.mark.parametrize(
    ("method", "data"),
    [("tools/call", {"elicitations": []}), ("tools/call", None), ("tools/list", URLS)],
)
def test_an_error_of_that_kind_that_cannot_be_a_question_is_an_internal_one(
    method: str, data: object
):
    stage = Stage()
    stage.refuse(stage.call(1, method), -32042, data)
    assert stage.error(1)["code"] == -32603


def test_it_may_come_while_the_exchange_is_parked():
    stage = Stage()
    upstream, _, keys, handle = stopped(stage)
    stage.refuse(upstream, -32042, URLS)
    stage.send(again(2, handle, {keys[0]: {"action": "accept"}}))
    stage.take_server()
    entries, later = stage.questions(2)
    stage.send(again(3, later, all_of(entries, {"action": "accept"})))
    stage.answer(stage.asked("tools/call"), {})
    stage.result(3)


def test_other_questions_outlive_a_refused_visit():
    stage = Stage()
    upstream = stage.call(1)
    asked = stage.ask("roots/list")
    stage.refuse(upstream, -32042, URLS)
    entries, handle = stage.questions(1)
    assert len(entries) == 2
    answers = {
        key: {"action": "decline"} for key, e in entries.items() if e["method"] != "roots/list"
    }
    stage.send(again(2, handle, answers))
    stage.error(2)
    stage.send(request(3, "tools/call", EVERYTHING, name="x"))
    entries, handle = stage.questions(3)
    stage.send(again(4, handle, all_of(entries, {"roots": []})))
    assert stage.take_server()["id"] == asked


def test_an_exchange_that_only_wants_a_visit_expires_without_a_word():
    stage = Stage()
    stage.refuse(stage.call(1), -32042, URLS)
    stage.questions(1)
    stage.pass_time(601.0)
    assert not stage.events
