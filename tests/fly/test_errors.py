"""What Fly's refusals mean."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpctl import wire
from mcpctld.fly.errors import LONGEST_TEXT, FlyError, Reason, explain

R = Reason


def says(**members: object) -> bytes:
    return json.dumps(members).encode()


@pytest.mark.parametrize(
    ("status", "body", "reason", "text"),
    [
        (401, says(error="Authenticate: token validation error"), R.DENIED, "token validation error"),
        (401, says(message="Unauthorized"), R.DENIED, "Unauthorized"),
        (403, b"", R.DENIED, "status 403"),
        (404, b"404 page not found\n", R.NOT_FOUND, "404 page not found"),
        (400, says(error="Could not find App \"x\""), R.NOT_FOUND, "Could not find App"),
        (400, says(error="invalid region"), R.INVALID, "invalid region"),
        (408, says(error="deadline_exceeded"), R.TIMED_OUT, "deadline_exceeded"),
        (409, says(error="machine ID 1 lease currently held by a@tokens.fly.io, expires at"), R.LEASE_HELD, "held by"),
        (409, says(status="error", message="lease currently held by b"), R.LEASE_HELD, "held by b"),
        (409, says(error="aborted: current_version is stale"), R.STALE, "stale"),
        (412, says(error="failed_precondition: machine still active"), R.PRECONDITION, "still active"),
        (412, says(error="insufficient resources to create new machine"), R.INSUFFICIENT_CAPACITY, "new"),
        (503, says(error="x", status="insufficient_capacity"), R.INSUFFICIENT_CAPACITY, "x"),
        (422, says(error="x", status="volume_placement_capacity"), R.INSUFFICIENT_CAPACITY, "x"),
        (422, says(error="Validation failed: Name has already been taken"), R.NAME_TAKEN, "taken"),
        (422, says(error="x", status="name_taken"), R.NAME_TAKEN, "x"),
        (422, says(error="volume is attached"), R.INVALID, "attached"),
        (429, says(error="rate limit exceeded"), R.RATE_LIMITED, "rate limit"),
        (500, says(error="boom", status="unknown"), R.UNAVAILABLE, "boom"),
        (502, b"<html><body>Bad Gateway</body></html>", R.UNAVAILABLE, "html"),
        (504, b"", R.UNAVAILABLE, "status 504"),
        (418, b"[]", R.INVALID, "status 418"),
        (400, says(message=7, error="used"), R.INVALID, "used"),
    ],
)  # fmt: skip
def test_refusals_are_told_apart(status, body, reason, text):
    error = explain("start the machine", status, {"fly-request-id": "01ABC"}, body)
    assert error.reason is reason
    assert error.status == status
    assert text in str(error)
    assert str(error).startswith("cannot start the machine: ")
    assert "(request 01ABC); " in str(error)
    assert error.kind in wire.KINDS


def test_a_page_of_html_is_not_quoted():
    headers = {"content-type": "text/html; charset=utf-8"}
    assert "<" not in str(explain("look", 502, headers, b"<html>a page</html>"))


def test_every_reason_has_a_kind_and_an_advice():
    for reason in Reason:
        error = FlyError("do it", reason)
        assert error.kind in wire.KINDS
        assert str(error).partition("; ")[2]


@given(
    st.integers(400, 599),
    st.binary(max_size=200)
    | st.recursive(
        st.none() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["error", "message", "status", "x"]), inner),
    ).map(lambda value: json.dumps(value).encode()),
)  # fmt: skip
@settings(deadline=None, derandomize=True, max_examples=30)
def test_any_body_becomes_an_error_of_one_line(status, body):
    error = explain("do it", status, {}, body)
    assert "\n" not in str(error)
    assert len(error.detail) <= LONGEST_TEXT
