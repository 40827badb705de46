"""Mirror the client's era; bridge only where the server shows the other."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpctld.errors import McpctlError, Unreachable
from mcpctld.protocols.jsonrpc import Batch, Kind, Message, parse
from mcpctld.protocols.mcp.bridge import Bridge, Fail, GiveUp, ToClient, ToServer, WrongEra
from mcpctld.protocols.mcp.eras import Era
from mcpctld.protocols.mcp.negotiation import (
    MAX_KEPT,
    PROBE_ID,
    SILENCE_S,
    Learned,
    Negotiation,
    Restart,
)

META = {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}


def message(**members: Any) -> Message:
    parsed = parse(json.dumps({"jsonrpc": "2.0", **members}).encode())
    assert isinstance(parsed, Message)
    return parsed


INITIALIZE = message(id=1, method="initialize", params={})
DISCOVER = message(id=1, method="server/discover", params={"_meta": META})
LIST = message(id=2, method="tools/list", params={"_meta": {**META, "progressToken": 7}})
PLAIN = message(id=3, method="tools/list")
LEGACY_RESULT = message(id=1, result={"protocolVersion": "2025-11-25"})
DISCOVERED = message(id=1, result={"supportedVersions": ["2026-07-28"]})
COMPLETE = message(id=2, result={"resultType": "complete"})
REFUSED = message(id=1, error={"code": -32601, "message": "no"})


class Glass(Bridge):
    """Hands everything through; says that the era is wrong when it is told so."""

    def __init__(self) -> None:
        super().__init__()
        self.deadline_ = math.inf
        self.blind = False

    def receive_client(self, message: Message | Batch, now: float) -> None:
        self._emit(WrongEra("at once") if self.blind else ToServer(message))

    def receive_server(self, message: Message | Batch, now: float) -> None:
        wrong = message == REFUSED
        self._emit(WrongEra("no") if wrong else ToClient(message))

    def receive_failure(self, id: bytes, error: McpctlError, now: float) -> None:
        self._emit(Fail(id, error))

    def forget(self, id: bytes, now: float) -> None:
        self._emit(GiveUp(id))

    def receive_time(self, now: float) -> None:
        self.deadline_ = math.inf
        self._emit(GiveUp(b"0"))

    @property
    def deadline(self) -> float:
        return self.deadline_


class Talk:
    """A negotiation and what came out of it."""

    def __init__(self, refused: Era | None = None, *, blind: bool = False, **given: Any) -> None:
        self.blind = blind
        self.bridges: list[Glass] = []
        self.talk = Negotiation(self._make, lambda era: era is refused, **given)

    def _make(self, era: Era) -> Bridge:
        self.bridges.append(Glass())
        self.bridges[-1].blind = self.blind
        return self.bridges[-1]

    def events(self) -> list[Any]:
        out = []
        while (event := self.talk.next_event()) is not None:
            out.append(event)
        return out

    def client(self, *messages: Message | Batch) -> list[Any]:
        for one in messages:
            self.talk.receive_client(one, 0.0)
        return self.events()

    def server(self, *messages: Message | Batch) -> list[Any]:
        for one in messages:
            self.talk.receive_server(one, 0.0)
        return self.events()

    def evidence(self, id: bytes, error: Message | None, status: int) -> tuple[bool, list[Any]]:
        taken = self.talk.receive_evidence(id, error, status, 0.0)
        return taken, self.events()


def test_a_legacy_client_is_mirrored_and_then_out_of_the_way():
    talk = Talk()
    assert talk.client(INITIALIZE) == [ToServer(INITIALIZE)]
    assert not talk.talk.mirrors
    assert talk.server(LEGACY_RESULT) == [
        Learned(Era.LEGACY, refuses=False),
        ToClient(LEGACY_RESULT),
    ]
    assert talk.talk.mirrors
    assert talk.talk.bridge is None
    assert talk.client(PLAIN) == [ToServer(PLAIN)]


def test_a_modern_client_may_still_fall_back_after_discover_alone():
    talk = Talk()
    talk.client(DISCOVER)
    assert talk.server(DISCOVERED) == [Learned(Era.MODERN, refuses=False), ToClient(DISCOVERED)]
    assert not talk.talk.mirrors
    assert talk.client(INITIALIZE) == [Restart(), ToServer(INITIALIZE)]
    talk.server(LEGACY_RESULT)
    assert talk.talk.mirrors


def test_a_modern_client_is_bound_by_its_first_other_request():
    talk = Talk()
    talk.client(DISCOVER)
    talk.server(DISCOVERED)
    assert talk.client(LIST) == [ToServer(LIST)]
    assert talk.talk.mirrors
    assert talk.client(INITIALIZE) == [ToServer(INITIALIZE)]


def test_a_client_without_discover_is_bound_by_the_answer():
    talk = Talk()
    talk.client(LIST)
    talk.server(COMPLETE)
    assert talk.talk.mirrors


@pytest.mark.parametrize("era", [Era.LEGACY, Era.MODERN])
def test_a_refusal_puts_a_bridge_in_over_a_fresh_connection(era):
    first = INITIALIZE if era is Era.LEGACY else DISCOVER
    talk = Talk()
    talk.client(first)
    assert talk.server(REFUSED) == [Restart(), ToServer(first)]
    answer = message(id=1, result={})
    assert talk.server(answer) == [
        Learned(era, refuses=True), Learned(era.other, refuses=False), ToClient(answer),
    ]  # fmt: skip
    assert talk.talk.bridge == f"{era.value}-to-{era.other.value}"
    assert not talk.talk.mirrors
    assert talk.client(PLAIN) == [ToServer(PLAIN)]
    assert talk.server(answer) == [ToClient(answer)]


def test_a_refusal_by_status_does_so_too():
    talk = Talk()
    talk.client(DISCOVER)
    assert talk.evidence(b"1", None, 405) == (True, [Restart(), ToServer(DISCOVER)])


@pytest.mark.parametrize("status", [401, 503])
def test_some_refusals_say_nothing_and_the_next_message_is_a_new_beginning(status):
    talk = Talk()
    talk.client(INITIALIZE)
    assert talk.evidence(b"1", None, status) == (False, [])
    assert talk.client(INITIALIZE) == [ToServer(INITIALIZE)]
    assert talk.evidence(b"1", REFUSED, 404) == (True, [Restart(), ToServer(INITIALIZE)])


def test_what_is_refused_of_other_requests_is_nobodys_evidence():
    talk = Talk()
    talk.client(INITIALIZE)
    assert talk.evidence(b"9", None, 404) == (False, [])


def test_if_the_server_speaks_neither_era_the_client_gets_its_first_answer():
    talk = Talk()
    talk.client(INITIALIZE)
    other = message(id=1, error={"code": -32000, "message": "go away"})
    assert talk.server(other) == [Restart(), ToServer(INITIALIZE)]
    assert talk.server(REFUSED) == [Learned(Era.LEGACY, refuses=False), ToClient(other)]
    assert talk.talk.bridge is None


def test_what_the_client_said_beside_it_goes_to_the_server_then():
    talk = Talk()
    talk.client(INITIALIZE, PLAIN)
    talk.server(message(id=1, error={"code": -32000, "message": "go away"}))
    assert talk.server(REFUSED)[2:] == [Restart(), ToServer(PLAIN)]


def test_a_bridge_refused_without_a_word_is_no_use_either():
    talk = Talk()
    talk.client(DISCOVER)
    talk.evidence(b"1", None, 404)
    taken, events = talk.evidence(b"77", None, 404)
    assert taken
    learned, failed = events
    assert learned == Learned(Era.MODERN, refuses=False)
    assert (failed.id, str(failed.error)) == (b"1", "it refused the first message with status 404")


@pytest.mark.parametrize(("error", "status"), [(None, 503), (REFUSED, 404)])
def test_what_a_bridge_can_deal_with_itself_is_left_to_it(error, status):
    talk = Talk()
    talk.client(INITIALIZE)
    talk.evidence(b"1", REFUSED, 404)
    assert talk.evidence(b"1", error, status) == (False, [])


def test_a_proven_bridge_is_not_taken_out():
    talk = Talk()
    talk.client(INITIALIZE)
    talk.server(REFUSED)
    talk.server(message(id=1, result={}))
    assert talk.evidence(b"5", None, 404) == (False, [])


@pytest.mark.parametrize(
    ("answer", "modern"),
    [
        (message(id="mcpctl:discover", result={"supportedVersions": ["2026-07-28"]}), True),
        (message(id="mcpctl:discover", error={"code": -32601, "message": ""}), False),
    ],
)
def test_an_error_to_another_request_of_a_modern_client_is_looked_into(answer, modern):
    talk = Talk()
    talk.client(LIST)
    error = message(id=2, error={"code": -32602, "message": "bad"})
    (asked,) = talk.server(error)
    assert asked.message.method == "server/discover"
    assert json.loads(asked.message.params) == {"_meta": META}
    expected = [Learned(Era.MODERN, refuses=False), ToClient(error)]
    assert talk.server(answer) == (expected if modern else [Restart(), ToServer(LIST)])


@pytest.mark.parametrize("how", ["failure", "silent status"])
def test_if_that_cannot_be_found_out_the_error_counts(how):
    talk = Talk()
    talk.client(LIST)
    error = message(id=2, error={"code": -32602, "message": "bad"})
    talk.server(error)
    if how == "failure":
        talk.talk.receive_failure(PROBE_ID, Unreachable("gone"), 0.0)
        events = talk.events()
    else:
        taken, events = talk.evidence(PROBE_ID, None, 503)
        assert taken
    assert events == [Learned(Era.MODERN, refuses=False), ToClient(error)]


def test_a_failure_is_no_evidence():
    talk = Talk()
    talk.client(INITIALIZE)
    gone = Unreachable("gone")
    talk.talk.receive_failure(b"1", gone, 0.0)
    assert talk.events() == [Fail(b"1", gone)]
    assert talk.client(INITIALIZE) == [ToServer(INITIALIZE)]


def test_what_is_remembered_saves_the_question():
    talk = Talk(refused=Era.LEGACY)
    assert talk.client(INITIALIZE) == [ToServer(INITIALIZE)]  # the connection is a fresh one still
    assert len(talk.bridges) == 1


def test_what_is_remembered_wrongly_is_forgotten_and_asked():
    talk = Talk(refused=Era.LEGACY)
    talk.client(PLAIN, INITIALIZE)
    assert talk.server(REFUSED) == [
        Learned(Era.LEGACY, refuses=False), Restart(), ToServer(PLAIN), ToServer(INITIALIZE),
    ]  # fmt: skip
    assert talk.server(LEGACY_RESULT)[-1] == ToClient(LEGACY_RESULT)
    assert talk.talk.mirrors


def test_a_bridge_that_gives_up_at_once_hears_no_more():
    talk = Talk(blind=True)
    talk.client(PLAIN, INITIALIZE, PLAIN)
    assert talk.server(REFUSED) == [
        Restart(), Learned(Era.LEGACY, refuses=False), ToClient(REFUSED),
        Restart(), ToServer(PLAIN), ToServer(PLAIN),
    ]  # fmt: skip


def test_bridging_can_be_turned_off():
    talk = Talk(refused=Era.LEGACY, bridging=False)
    assert talk.client(INITIALIZE) == [ToServer(INITIALIZE)]
    assert talk.server(REFUSED) == [ToClient(REFUSED)]
    assert talk.talk.mirrors


def test_a_process_that_is_silent_at_discover_is_of_the_legacy_era():
    talk = Talk(process=True)
    talk.client(DISCOVER)
    assert talk.talk.deadline == SILENCE_S
    talk.talk.receive_time(SILENCE_S - 0.1)
    assert talk.events() == []
    talk.talk.receive_time(SILENCE_S)
    assert talk.events() == [Restart(), ToServer(DISCOVER)]
    assert talk.talk.deadline == math.inf
    (learned, failed) = talk.server(REFUSED)
    assert str(failed.error) == "no answer to server/discover within 5 s"
    assert learned == Learned(Era.MODERN, refuses=False)


def test_a_process_that_has_answered_is_not_silent():
    talk = Talk(process=True)
    talk.client(DISCOVER)
    talk.talk.receive_failure(b"1", Unreachable("x"), 0.0)
    talk.events()
    talk.talk.receive_time(SILENCE_S)
    assert talk.events() == []


@pytest.mark.parametrize(
    "second",
    [INITIALIZE, parse(b'[{"jsonrpc":"2.0","id":1,"method":"ping"}]')],
    ids=["initialize", "batch"],
)
def test_nobody_waits_for_an_answer_in_an_era_that_the_client_has_given_up(second):
    talk = Talk(process=True)
    talk.client(DISCOVER)
    assert talk.client(second) == [Restart(), ToServer(second)]
    assert talk.talk.deadline == math.inf
    talk.talk.receive_time(SILENCE_S)
    assert talk.events() == []


def test_a_process_that_ends_at_discover_is_of_the_legacy_era():
    talk = Talk(process=True)
    talk.client(DISCOVER)
    assert talk.talk.receive_end(Unreachable("it exited"), 0.0)
    assert talk.events() == [Restart(), ToServer(DISCOVER)]
    assert not talk.talk.receive_end(Unreachable("it exited again"), 0.0)


def test_the_end_of_any_other_server_means_nothing():
    talk = Talk()
    talk.client(DISCOVER)
    assert not talk.talk.receive_end(Unreachable("gone"), 0.0)


def test_the_bridges_own_times_are_kept():
    talk = Talk(refused=Era.LEGACY)
    talk.client(INITIALIZE)
    talk.bridges[0].deadline_ = 5.0
    assert talk.talk.deadline == 5.0
    talk.talk.receive_time(5.0)
    assert talk.events() == [GiveUp(b"0")]


def test_failures_and_forgotten_requests_reach_the_bridge():
    talk = Talk(refused=Era.LEGACY)
    talk.client(INITIALIZE)
    gone = Unreachable("gone")
    talk.talk.receive_failure(b"1", gone, 0.0)
    talk.talk.forget(b"1", 0.0)
    assert talk.events() == [Fail(b"1", gone), GiveUp(b"1")]


def test_a_forgotten_request_is_given_up_without_a_bridge_too():
    talk = Talk()
    talk.talk.forget(b"1", 0.0)
    assert talk.events() == [GiveUp(b"1")]


def test_what_was_answered_already_is_not_said_to_a_bridge():
    talk = Talk()
    talk.client(PLAIN, message(method="notifications/x"), INITIALIZE)
    talk.server(message(id=3, result={}), message(method="notifications/y"))
    said = [event.message.method for event in talk.server(REFUSED)[1:]]
    assert said == ["notifications/x", "initialize"]


def test_a_batch_is_legacy_and_says_nothing_of_the_server():
    talk = Talk()
    batch = parse(b'[{"jsonrpc":"2.0","id":1,"method":"ping"}]')
    assert talk.client(batch, INITIALIZE) == [ToServer(batch), ToServer(INITIALIZE)]
    assert talk.server(batch) == [ToClient(batch)]
    assert talk.server(REFUSED) == [Restart(), ToServer(batch), ToServer(INITIALIZE)]


def test_little_is_kept_of_a_client_that_never_tells():
    talk = Talk()
    talk.client(*[PLAIN] * (2 * MAX_KEPT))
    assert len(talk.talk._kept) == MAX_KEPT


MESSAGES = st.sampled_from(
    [
        INITIALIZE, DISCOVER, LIST, PLAIN, LEGACY_RESULT, DISCOVERED, COMPLETE, REFUSED,
        message(id="mcpctl:discover", result={}), message(method="notifications/initialized"),
        message(id=2, error={"code": -32602, "message": ""}), message(id=9, method="ping"),
    ]
)  # fmt: skip
STEPS = st.tuples(
    st.sampled_from(["client", "server", "evidence", "failure", "end", "time"]),
    MESSAGES,
    st.sampled_from([400, 404, 405, 401, 503]),
)


@given(st.lists(STEPS, max_size=30), st.booleans(), st.sampled_from([None, *Era]))
def test_whatever_happens_nothing_breaks_and_little_is_said(steps, process, refused):
    talk = Talk(refused=refused, process=process)
    for now, (side, one, status) in enumerate(steps):
        match side:
            case "client":
                talk.talk.receive_client(one, now)
            case "server":
                talk.talk.receive_server(one, now)
            case "evidence":
                error = one if one.kind is Kind.ERROR else None
                talk.talk.receive_evidence(one.id or b"1", error, status, now)
            case "failure":
                talk.talk.receive_failure(one.id or b"1", Unreachable("x"), now)
            case "end":
                talk.talk.receive_end(Unreachable("x"), now)
            case _:
                talk.talk.receive_time(now)
        asked = [event for event in talk.events() if isinstance(event, ToServer)]
        assert len(asked) <= now + 2  # never more than was said
        assert talk.talk.deadline >= SILENCE_S
