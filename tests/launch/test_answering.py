"""When a launched server counts as one that answers."""

import pytest

from fixtures.fly.inspecting import Inspector, Reply, Seen
from mcpctld.errors import Denied, TimedOut, UserError
from mcpctld.launch import answering
from mcpctld.launch.answering import Question, wait_answer

NOT_READY = Reply(
    503, {"ready": False, "reason": "the process of uvx exited with code 1: no such package"}
)


async def look() -> None:
    """The machine is up."""


async def ask(
    *replies: Reply, health_path: str | None = "/health", headers=None, seconds=60.0, notes=None
):
    """Wait for the answer of a server that says `replies`, the last one again and again: what it was asked."""
    script = list(replies)

    def answer(_: Seen) -> Reply:
        return script.pop(0) if len(script) > 1 else script[0]

    with Inspector(answer) as server:
        question = Question("http://time.localhost:9/mcp", health_path, headers or {}, server.url)
        note = (notes if notes is not None else []).append
        await wait_answer(question, seconds, look, note)
        return server.seen


async def test_a_healthy_one_answers():
    (seen,) = await ask(Reply(200, {"ready": True}))
    assert (seen.method, seen.path, seen.headers["host"]) == ("GET", "/health", "time.localhost:9")


async def test_one_without_a_health_path_is_asked_in_its_own_protocol():
    (seen,) = await ask(Reply(200, {}), health_path=None, headers={"authorization": "Bearer t"})
    assert (seen.method, seen.path, seen.body["method"]) == ("POST", "/mcp", "initialize")
    assert seen.headers["authorization"] == "Bearer t"


@pytest.mark.parametrize(
    "reply", [Reply(503, b""), Reply(502), Reply(404), Reply(drop=True), NOT_READY]
)
async def test_what_is_not_ready_is_asked_again(reply):
    assert len(await ask(reply, Reply(200))) == 2


@pytest.mark.parametrize("status", [400, 405, 406, 202])
async def test_whoever_understands_http_answers(status):
    assert len(await ask(Reply(status), health_path=None)) == 1


async def test_a_token_that_is_refused():
    with pytest.raises(Denied, match="FLY_MCP_BEARER_TOKEN") as caught:
        await ask(Reply(401), health_path=None, headers={"authorization": "Bearer s3cr3t"})
    assert "s3cr3t" not in str(caught.value)
    assert len(await ask(Reply(401), health_path=None)) == 1  # nobody has told us of a token


async def test_one_that_never_answers(monkeypatch):
    monkeypatch.setattr(answering, "NOTE_EVERY_S", 0.0)
    notes: list[str] = []
    with pytest.raises(TimedOut, match=r"status 503.*mcpctl logs"):
        await ask(Reply(503), seconds=1.2, notes=notes)
    assert notes
    assert all("does not answer yet: status 503" in note for note in notes)


async def test_one_whose_process_ends_again_and_again_is_given_up(monkeypatch):
    monkeypatch.setattr(answering, "GIVE_UP_S", 0.0)
    with pytest.raises(UserError, match=r"does not start: .*no such package; correct its command"):
        await ask(NOT_READY)


async def test_a_long_reason_is_cut_in_its_middle():
    text = "begin " + "x" * 5000 + " end"
    assert len(answering._shorten(text)) < 650
    assert answering._shorten(text).startswith("begin")
    assert answering._shorten(text).endswith("end")
