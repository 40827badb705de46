"""Which names and which web pages are let in (DNS rebinding), and what browsers are told (CORS)."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpctld.wrap.options import Credentials, Options
from mcpctld.wrap.origins import Origins, parse_authority
from wrap.heads import field, heads

TOKEN = Credentials(bearer_token="t" * 24)
PUBLIC = ("::",)


def origins(**given) -> Origins:
    return Origins(Options(command=("cat",), **given))


def status(rules: Origins, *lines: str, forwarded: bool = False) -> int:
    """What the rules answer; 200 for nothing."""
    refusal = rules.check(heads(*lines), forwarded=forwarded)
    assert refusal == rules.check(heads(*lines), forwarded=forwarded)  # also the second time
    return refusal.status if refusal else 200


# ---------------------------------------------------------------- Host


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", 200),
        ("LOCALHOST:8080", 200),
        ("localhost.", 200),
        ("127.0.0.1:1", 200),
        ("[::1]:8080", 200),
        ("[::1]", 200),
        ("127.0.0.1:", 200),
        ("evil.example", 403),
        ("evil.example:8080", 403),
        ("localhost.evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("0.0.0.0:8080", 403),
        ("10.1.2.3", 403),
        ("app.internal", 403),
        ("", 400),
        ("a b", 400),
        ("localhost, evil.example", 400),
        ("localhost:8080:1", 400),
        ("[::1", 400),
        ("user@localhost", 400),
        ("localhost/evil", 400),
    ],
)
def test_on_loopback_only_names_of_this_machine_count(host, expected):
    assert status(origins(), f"Host: {host}") == expected


def test_on_loopback_a_request_must_say_whom_it_is_for():
    assert status(origins()) == 400
    assert status(origins(), "Host: localhost", "Host: localhost") == 400


@pytest.mark.parametrize(
    ("given", "host", "expected"),
    [
        ({"allowed_hosts": ("a.example",)}, "a.example:99", 200),
        ({"allowed_hosts": ("a.example:99",)}, "a.example:99", 200),
        ({"allowed_hosts": ("a.example:99",)}, "a.example:98", 403),
        ({"allowed_hosts": ("A.Example",)}, "a.example", 200),
        ({"allowed_hosts": ("[fd00::1]",)}, "[FD00::1]:80", 200),
        ({"allowed_hosts": ("*",)}, "evil.example", 200),
        ({"public_url": "https://p.example:8/x"}, "p.example", 200),
        ({"public_url": "https://[fd00::2]/"}, "[fd00::2]", 200),
        ({"hosts": ("127.0.0.9",)}, "127.0.0.9:80", 200),
        ({"hosts": PUBLIC}, "whatever.example", 200),
        ({"hosts": PUBLIC}, "not, one", 400),
        ({"hosts": PUBLIC, "allowed_hosts": ("a.example",)}, "whatever.example", 403),
        ({"hosts": PUBLIC, "allowed_hosts": ("a.example",)}, "10.0.0.1", 403),
        ({"hosts": PUBLIC, "allowed_hosts": ("a.example",)}, "localhost:8080", 200),
        ({"hosts": PUBLIC, "private": True, "credentials": TOKEN}, "custom.example", 200),
        ({"hosts": PUBLIC, "private": True}, "custom.example", 403),
        ({"hosts": PUBLIC, "private": True}, "app.flycast", 200),
        ({"hosts": PUBLIC, "private": True}, "app.internal:8080", 200),
        ({"hosts": PUBLIC, "private": True}, "[fdaa::3]:8080", 200),
        ({"hosts": PUBLIC, "private": True}, "flycast.evil.example", 403),
    ],
)
def test_names_that_were_allowed_count_too(given, host, expected):
    assert status(origins(**given), f"Host: {host}") == expected


def test_elsewhere_a_request_without_a_host_is_taken():
    assert status(origins(hosts=PUBLIC)) == 200


def test_a_refusal_tells_what_to_do_and_answers_no_request():
    refusal = origins().check(heads("Host: evil.example"), forwarded=False)
    assert refusal is not None
    body = json.loads(refusal.body)
    assert "--allowed-host evil.example" in body["error"]["message"]
    assert (body["jsonrpc"], "id" in body, body["error"]["data"]["source"]) == (
        "2.0",
        False,
        "mcpctl",
    )
    assert field(refusal, "content-type") == ["application/json"]


# ---------------------------------------------------------------- Origin


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        ("http://localhost:6274", 200),
        ("https://127.0.0.1", 200),
        ("http://[::1]:3000", 200),
        ("HTTP://LOCALHOST", 200),
        ("http://evil.example", 403),
        ("http://localhost.evil.example", 403),
        ("null", 403),
        ("", 403),
        ("localhost", 403),
        ("http://localhost/path", 403),
        ("http://localhost, http://evil.example", 403),
    ],
)
def test_on_loopback_pages_of_this_machine_may_come(origin, expected):
    assert status(origins(), "Host: localhost:8080", f"Origin: {origin}") == expected


@pytest.mark.parametrize(
    ("given", "lines", "expected"),
    [
        # Same origin, whatever the port says or leaves out.
        ({"credentials": TOKEN}, ["Host: a.example", "Origin: https://a.example"], 200),
        ({"credentials": TOKEN}, ["Host: a.example:443", "Origin: https://a.example"], 200),
        ({"credentials": TOKEN}, ["Host: a.example", "Origin: http://a.example:80"], 200),
        ({"credentials": TOKEN}, ["Host: a.example:8080", "Origin: http://a.example"], 403),
        ({"credentials": TOKEN}, ["Host: a.example", "Origin: https://b.example"], 403),
        ({"credentials": TOKEN}, ["Origin: https://b.example"], 403),
        # A name that anybody could have pointed at us proves nothing where there are no credentials.
        ({}, ["Host: evil.example", "Origin: http://evil.example"], 403),
        ({}, ["Host: 10.0.0.7:8080", "Origin: http://10.0.0.7:8080"], 200),
        ({}, ["Host: app.flycast", "Origin: http://app.flycast"], 200),
        ({"public_url": "https://p.example"}, ["Host: p.example", "Origin: https://p.example"], 200),
        # What was allowed.
        ({"allowed_origins": ("https://x.example",)}, ["Host: h", "Origin: https://X.example"], 200),
        ({"allowed_origins": ("https://x.example",)}, ["Host: h", "Origin: http://x.example"], 403),
        ({"allowed_origins": ("https://x.example",)}, ["Host: h", "Origin: https://x.example:8"], 403),
        ({"allowed_origins": ("*",)}, ["Host: h", "Origin: null"], 200),
        ({"allowed_origins": ("null",)}, ["Host: h", "Origin: null"], 200),
        # Away from loopback a page of the visitor's own machine is a foreign one.
        ({}, ["Host: h", "Origin: http://localhost:6274"], 403),
    ],
)  # fmt: skip
def test_elsewhere_a_page_comes_from_here_or_was_allowed(given, lines, expected):
    assert status(origins(hosts=PUBLIC, **given), *lines) == expected


@pytest.mark.parametrize(
    ("lines", "forwarded", "expected"),
    [
        (["X-Forwarded-Host: a.example", "Origin: https://a.example"], True, 200),
        (["X-Forwarded-Host: a.example", "Origin: https://a.example"], False, 403),
        (["X-Forwarded-Host: evil.example, a.example", "Origin: https://a.example"], True, 200),
        (["X-Forwarded-Host: a.example, evil.example", "Origin: https://a.example"], True, 403),
        (["X-Forwarded-Host: a.example", "X-Forwarded-Proto: https", "Origin: https://a.example"], True, 200),
        (["X-Forwarded-Host: a.example", "X-Forwarded-Proto: https", "Origin: http://a.example"], True, 403),
        (["X-Forwarded-Host: a b", "Origin: https://a.example"], True, 400),
        (["X-Forwarded-Host: a b"], False, 200),
    ],
)  # fmt: skip
def test_behind_a_proxy_the_name_that_it_was_asked_for_counts(lines, forwarded, expected):
    rules = origins(allowed_hosts=("a.example",))
    assert status(rules, "Host: 127.0.0.1:8080", *lines, forwarded=forwarded) == expected


def test_a_page_that_rebinds_cannot_lend_itself_a_forwarded_name():
    lines = ["Host: evil.example:8080", "X-Forwarded-Host: localhost", "Origin: http://localhost"]
    assert status(origins(), *lines, forwarded=True) == 403


def test_what_was_allowed_once_does_not_let_its_neighbour_in():
    rules = origins()
    assert status(rules, "Host: localhost", "Origin: http://localhost:1") == 200
    assert status(rules, "Host: localhost", "Origin: http://evil.example") == 403
    assert status(rules, "Host: evil.example", "Origin: http://localhost:1") == 403
    assert status(rules, "Host: localhost", "Origin: http://localhost:1") == 200


@settings(derandomize=True, deadline=None)
@given(st.text("aZ09.:[]/@,- \t\xdf\u0130\u2460", max_size=12))
def test_no_text_in_a_host_breaks_anything(text):
    parsed = parse_authority(text)
    if parsed is not None:
        assert parsed[0] == parsed[0].lower()
        assert parsed[1] is None or 0 <= parsed[1] < 100_000


# ---------------------------------------------------------------- CORS


def test_a_page_of_another_origin_may_read_what_it_needs():
    told = dict(origins().cors("http://localhost:6274"))
    assert told["Access-Control-Allow-Origin"] == "http://localhost:6274"
    assert "Mcp-Session-Id" in told["Access-Control-Expose-Headers"]
    assert told["Vary"] == "Origin"


@pytest.mark.parametrize("origin", [None, "http://evil.example", "null", "nonsense"])
def test_no_other_page_may(origin):
    assert origins().cors(origin) == ()
    assert origins(hosts=PUBLIC).cors(origin) == ()


PREFLIGHT = [
    "Host: localhost",
    "Origin: http://localhost:6274",
    "Access-Control-Request-Method: POST",
]


def test_a_browser_that_asks_beforehand_is_told_what_it_may_send():
    wanted = "authorization,mcp-param-city, x-anything"
    answer = origins().preflight(heads(*PREFLIGHT, f"Access-Control-Request-Headers: {wanted}"))
    assert answer is not None
    assert answer.status == 204
    assert field(answer, "access-control-allow-origin") == ["http://localhost:6274"]
    assert field(answer, "access-control-allow-headers") == [wanted]
    assert "DELETE" in field(answer, "access-control-allow-methods")[0]
    assert field(answer, "access-control-allow-private-network") == []


@pytest.mark.parametrize("wanted", ["", "a, b: c", "a;b", "a,,b"])
def test_what_is_no_list_of_names_is_not_echoed(wanted):
    answer = origins().preflight(heads(*PREFLIGHT, f"Access-Control-Request-Headers: {wanted}"))
    assert answer is not None
    assert "Last-Event-ID" in field(answer, "access-control-allow-headers")[0]


def test_a_public_page_may_be_let_into_a_private_network():
    rules = origins(allowed_origins=("https://x.example",))
    lines = ["Origin: https://x.example", "Access-Control-Request-Method: POST"]
    answer = rules.preflight(heads(*lines, "Access-Control-Request-Private-Network: true"))
    assert answer is not None
    assert field(answer, "access-control-allow-private-network") == ["true"]


def test_a_page_that_may_not_cross_is_promised_nothing():
    lines = ["Origin: https://x.example", "Access-Control-Request-Method: POST"]
    answer = origins(hosts=PUBLIC).preflight(heads(*lines))
    assert answer is not None
    assert answer.headers == ()


@pytest.mark.parametrize("lines", [[], PREFLIGHT[:2], PREFLIGHT[2:]])
def test_any_other_request_is_no_preflight(lines):
    assert origins().preflight(heads(*lines)) is None
