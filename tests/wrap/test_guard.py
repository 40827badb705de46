"""The guard as a whole: where requests come from, and what they prove."""

import ast
import base64
import inspect
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpctld.wrap import credentials as credentials_module
from mcpctld.wrap.attempts import MAX_GUESSES
from mcpctld.wrap.callers import client_key, parse_address
from mcpctld.wrap.credentials import STRONG_LENGTH
from mcpctld.wrap.guard import Guard, Pass, Pending, Refusal, Verdict
from mcpctld.wrap.options import Credentials, OAuth, Options
from mcpctld.wrap.verdicts import refuse
from wrap.heads import field, heads

TOKEN = "0123456789+abcdef/xyz=="
WEAK = "hunter2"
PEER = "8.8.8.8"
OTHER_PEER = "8.8.4.4"
SIX_PN = "fdaa:0:1:a7b::3"
OUR_OAUTH = OAuth(issuer="https://i", audience="https://p", resource="https://p")
ANONYMOUS = Pass("anonymous")


class Issued:
    """The guard's view of access tokens, with one that is known."""

    def known(self, token: str) -> Pass | None:
        return Pass("oauth:alice") if token == "good" else None

    def challenge(self) -> str:
        return 'Bearer resource_metadata="https://p/x"'


def guard(**given) -> Guard:
    options = Options(**{"command": ("cat",), "hosts": ("::",), **given})
    return Guard(options, Issued() if options.oauth else None)


def bearer(token: str = TOKEN) -> Guard:
    return guard(credentials=Credentials(bearer_token=token))


def basic(password: str = WEAK, user: str = "joe") -> Guard:
    return guard(credentials=Credentials(user=user, password=password))


def ask(
    who: Guard, *lines: str, method="POST", path="/mcp", peer=PEER, now: float = 0.0
) -> Verdict:
    return who.check(method, path, heads("Host: h", *lines), peer, now)


def basic_line(text: str, charset: str = "utf-8") -> str:
    return f"Authorization: Basic {base64.b64encode(text.encode(charset)).decode()}"


def status(verdict: Verdict) -> int:
    return verdict.status if isinstance(verdict, Refusal) else 200


# ---------------------------------------------------------------- credentials


def test_without_credentials_everybody_is_let_in():
    assert ask(guard()) == ANONYMOUS
    assert ask(guard(), "Authorization: Bearer whatever") == ANONYMOUS


@pytest.mark.parametrize(
    "value",
    [f"Bearer {TOKEN}", f"bearer {TOKEN}", f"BEARER   {TOKEN}", f"  Bearer {TOKEN} "],
)
def test_the_right_token_is_let_in(value):
    assert ask(bearer(), f"Authorization: {value}") == Pass("bearer")


def test_while_a_token_is_being_changed_both_stand_for_the_same_client():
    who = guard(credentials=Credentials(bearer_token=TOKEN, bearer_token_also=TOKEN[::-1]))
    first, second = (ask(who, f"Authorization: Bearer {token}") for token in (TOKEN, TOKEN[::-1]))
    assert first == second == Pass("bearer")
    assert isinstance(ask(who, f"Authorization: Bearer {TOKEN}x"), Refusal)
    assert TOKEN[::-1] not in repr(Credentials(bearer_token_also=TOKEN[::-1]))


@pytest.mark.parametrize(
    "value",
    [
        "",
        "Bearer",
        "Bearer ",
        TOKEN,
        f"Bearer {TOKEN[:-1]}",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN.upper()}",
        f"Bearer {TOKEN}, Bearer {TOKEN}",
        f"Basic {TOKEN}",
        f"Token {TOKEN}",
        f"Bearer\t{TOKEN}",
        "Bearer \xff",
    ],
)
def test_anything_else_is_not(value):
    assert status(ask(bearer(), f"Authorization: {value}")) == 401


@pytest.mark.parametrize(
    ("user", "password", "line", "expected"),
    [
        ("joe", "p", basic_line("joe:p"), 200),
        ("joe", "p:q", basic_line("joe:p:q"), 200),
        ("joe", "p", basic_line("joe:p").replace("Basic", "basic  "), 200),
        ("jo\xe9", "\xfc", basic_line("jo\xe9:\xfc"), 200),
        ("jo\xe9", "\xfc", basic_line("jo\xe9:\xfc", "latin-1"), 200),
        ("joe", "\u2603", basic_line("joe:\u2603"), 200),
        ("joe", "p", basic_line("joe:q"), 401),
        ("joe", "p", basic_line("jo:ep"), 401),
        ("joe", "p", basic_line("joe"), 401),
        ("joe", "p", "Authorization: Basic !!!", 401),
        ("joe", "p", "Authorization: Bearer p", 401),
    ],
)
def test_user_and_password(user, password, line, expected):
    verdict = ask(basic(password, user), line)
    assert status(verdict) == expected
    assert isinstance(verdict, Refusal) or verdict == Pass(f"user:{user}")


def test_both_kinds_may_be_wanted_and_either_is_enough():
    both = guard(credentials=Credentials(bearer_token=TOKEN, user="joe", password=WEAK))
    assert ask(both, f"Authorization: Bearer {TOKEN}") == Pass("bearer")
    assert ask(both, basic_line(f"joe:{WEAK}")) == Pass("user:joe")
    refusal = ask(both)
    assert isinstance(refusal, Refusal)
    schemes = [value.split()[0] for value in field(refusal, "www-authenticate")]
    assert (refusal.status, schemes) == (401, ["Bearer", "Basic"])


def test_a_second_authorization_header_is_refused_even_when_it_is_the_same():
    line = f"Authorization: Bearer {TOKEN}"
    assert status(ask(bearer(), line, line)) == 400
    assert status(ask(bearer(), line, "authorization: Bearer x")) == 400


def test_what_is_compared_are_digests_in_constant_time():
    tree = ast.parse(inspect.getsource(credentials_module.Expected._compare).lstrip())
    called = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    assert called == {"hmac.compare_digest"}
    loop = next(node for node in ast.walk(tree) if isinstance(node, ast.For))
    assert not any(isinstance(node, ast.Break | ast.Return) for node in ast.walk(loop))
    assert not any(isinstance(node, ast.Compare) for node in ast.walk(tree))


@pytest.mark.parametrize("path", ["/health", "/x/health"])
def test_health_needs_nothing_at_all(path):
    closed = guard(
        path_prefix="/x",
        private=True,
        allowed_hosts=("a.example",),
        credentials=Credentials(bearer_token=TOKEN),
    )
    assert ask(closed, method="GET", path=path) == ANONYMOUS
    assert ask(closed, method="HEAD", path=path) == ANONYMOUS
    assert status(ask(closed, method="POST", path=path)) == 403


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/.well-known/oauth-protected-resource", 200),
        ("HEAD", "/.well-known/oauth-protected-resource/mcp", 200),
        ("POST", "/.well-known/oauth-protected-resource", 401),
        ("GET", "/.well-known/oauth-protected-resources", 401),
        ("GET", "/mcp/.well-known/oauth-protected-resource", 401),
        ("GET", "/.well-known/oauth-protected-resource%2f", 401),
        *[
            ("GET", path, 401)
            for path in ("/metrics", "/", "/health/", "//health", "/Health", "/sse")
        ],
        ("DELETE", "/mcp", 401),
        ("OPTIONS", "/mcp", 401),
    ],
)
def test_only_what_must_be_public_needs_no_credentials(method, path, expected):
    assert status(ask(bearer(), method=method, path=path)) == expected


# ---------------------------------------------------------------- guessing


def exhaust(who: Guard, peer: str = PEER, now: float = 0.0) -> list[int]:
    return [
        status(ask(who, f"Authorization: Bearer guess-{number}", peer=peer, now=now))
        for number in range(MAX_GUESSES + 2)
    ]


def test_guessing_is_slowed_down_and_told_for_how_long():
    who = bearer()
    assert exhaust(who) == [401] * MAX_GUESSES + [429, 429]
    refusal = ask(who, "Authorization: Bearer yet-another", now=20.5)
    assert isinstance(refusal, Refusal)
    assert (refusal.status, field(refusal, "retry-after")) == (429, ["40"])
    assert status(ask(who, "Authorization: Bearer yet-another", now=60)) == 401


def test_a_stale_client_does_not_use_up_its_neighbours_attempts():
    who = basic()
    answers = {status(ask(who, basic_line("joe:old"))) for _ in range(100)}
    assert answers == {401}
    assert ask(who, basic_line(f"joe:{WEAK}")) == Pass("user:joe")


def test_asking_without_credentials_is_no_guess():
    who = basic()
    assert {status(ask(who)) for _ in range(100)} == {401}
    assert ask(who, basic_line(f"joe:{WEAK}")) == Pass("user:joe")


def test_one_address_does_not_lock_another():
    who = basic()
    exhaust(who)
    assert status(ask(who, basic_line(f"joe:{WEAK}"))) == 429
    assert ask(who, basic_line(f"joe:{WEAK}"), peer=OTHER_PEER) == Pass("user:joe")
    assert ask(who, basic_line(f"joe:{WEAK}"), now=60) == Pass("user:joe")


def test_a_secret_that_cannot_be_guessed_is_never_locked_out():
    assert len(TOKEN) >= STRONG_LENGTH
    for who, line in (
        (bearer(), f"Authorization: Bearer {TOKEN}"),
        (basic("p" * STRONG_LENGTH), basic_line(f"joe:{'p' * STRONG_LENGTH}")),
    ):
        exhaust(who)
        assert status(ask(who, line)) == 200


def test_a_whole_ipv6_network_is_one_client():
    who = bearer()
    sent = [
        status(ask(who, f"Authorization: Bearer {number}", peer=f"2600::{number:x}"))
        for number in range(MAX_GUESSES + 1)
    ]
    assert sent == [401] * MAX_GUESSES + [429]
    assert status(ask(who, "Authorization: Bearer x", peer="2600:0:0:1::1")) == 401


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("1.2.3.4", "1.2.3.4"),
        ("::ffff:1.2.3.4", "1.2.3.4"),
        ("2600:1:2:3:4:5:6:7", "2600:1:2:3::"),
        ("fe80::1%eth0", "fe80::"),
        ("", "unknown"),
        ("unix", "unknown"),
    ],
)
def test_under_what_a_client_is_counted(address, key):
    assert client_key(parse_address(address)) == key


# ---------------------------------------------------------------- the private network


@pytest.mark.parametrize(
    ("on_fly", "trusts", "peer", "lines", "expected"),
    [
        # Fly's proxy stands at a private address of the machine's host.
        (True, False, "172.19.0.1", ["Fly-Client-IP: fdaa:0:1::2"], 200),
        (True, False, "172.19.0.1", ["Fly-Client-IP: 1.2.3.4"], 403),
        (True, False, "172.19.0.1", ["Fly-Client-IP: fdaa.evil"], 403),
        (True, False, "172.19.0.1", ["Fly-Client-IP: fdab::1"], 403),
        (True, False, "172.19.0.1", ["Fly-Client-IP: "], 403),
        (True, False, "172.19.0.1", ["Fly-Client-IP: fdaa::1", "Fly-Client-IP: 1.2.3.4"], 403),
        (True, False, "172.19.0.1", [], 403),
        # A neighbour who dials us directly: its own address counts.
        (True, False, SIX_PN, [], 200),
        (True, False, SIX_PN, ["Fly-Client-IP: 1.2.3.4"], 403),
        (True, False, "127.0.0.1", [], 200),
        (True, False, "::1", [], 200),
        (True, False, "::ffff:127.0.0.1", [], 200),
        # From the Internet nobody's header counts.
        (True, False, "8.8.8.8", ["Fly-Client-IP: fdaa::1"], 403),
        (True, False, "8.8.8.8", ["X-Forwarded-For: fdaa::1"], 403),
        # Outside Fly anybody could write it.
        (False, False, "10.0.0.9", ["Fly-Client-IP: fdaa::1"], 403),
        (False, False, "127.0.0.1", [], 200),
        (False, False, SIX_PN, [], 200),
        (False, False, "", [], 403),
        (False, False, "10.0.0.9", [], 403),
        # A reverse proxy of ours, once it is trusted, speaks for its client and not for itself.
        (False, True, "127.0.0.1", ["X-Forwarded-For: 1.2.3.4"], 403),
        (False, True, "127.0.0.1", ["X-Forwarded-For: fdaa::1, 1.2.3.4"], 403),
        (False, True, "127.0.0.1", ["X-Forwarded-For: 1.2.3.4, fdaa::1"], 200),
        (False, True, "127.0.0.1", ["X-Forwarded-For: 1.2.3.4", "X-Forwarded-For: fdaa::1"], 200),
        (False, True, "127.0.0.1", ["X-Forwarded-For: [fdaa::1]:443"], 200),
        (False, True, "127.0.0.1", ["X-Forwarded-For: 127.0.0.1:443"], 200),
        (False, True, "127.0.0.1", ["X-Forwarded-For: unknown"], 403),
        (False, True, "127.0.0.1", ["X-Forwarded-For: "], 403),
        (False, True, "127.0.0.1", [], 200),
        (False, True, "8.8.8.8", ["X-Forwarded-For: fdaa::1"], 403),
        (True, True, "172.19.0.1", ["Fly-Client-IP: 1.2.3.4", "X-Forwarded-For: fdaa::1"], 403),
    ],
)  # fmt: skip
def test_private_lets_in_what_came_over_the_private_network(on_fly, trusts, peer, lines, expected):
    who = guard(
        private=True,
        machine_id="148e21" if on_fly else "",
        trust_forwarded=trusts,
        credentials=Credentials(bearer_token=TOKEN),
    )
    right = f"Authorization: Bearer {TOKEN}"
    assert status(ask(who, right, *lines, peer=peer)) == expected


@settings(derandomize=True, deadline=None)
@given(st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=30))
def test_no_value_of_a_header_opens_the_private_network_from_outside(value):
    who = guard(private=True, trust_forwarded=True, machine_id="148e21")
    lines = [f"{name}: {value}" for name in ("Fly-Client-IP", "X-Forwarded-For")]
    assert status(ask(who, *lines, peer=PEER)) == 403


def test_behind_a_trusted_proxy_each_client_has_its_own_attempts():
    who = guard(credentials=Credentials(user="joe", password=WEAK), trust_forwarded=True)
    for number in range(MAX_GUESSES + 1):
        lines = [f"X-Forwarded-For: {number}.9.9.9, 1.2.3.4", basic_line(f"joe:{number}")]
        last = ask(who, *lines, peer="127.0.0.1")
    assert status(last) == 429
    right = basic_line(f"joe:{WEAK}")
    assert status(ask(who, "X-Forwarded-For: 1.2.3.4", right, peer="127.0.0.1")) == 429
    assert status(ask(who, "X-Forwarded-For: 1.2.3.5", right, peer="127.0.0.1")) == 200


# ---------------------------------------------------------------- pages, and who answers them


def test_a_foreign_page_is_refused_before_its_credentials_are_looked_at():
    assert status(ask(bearer(), "Origin: https://evil.example", "Authorization: Bearer x")) == 403


def test_a_refused_page_can_read_why():
    who = guard(
        credentials=Credentials(bearer_token="short"), allowed_origins=("https://x.example",)
    )
    for line in ("X: y", "Authorization: Bearer wrong"):
        refusal = ask(who, "Origin: https://x.example", line)
        assert isinstance(refusal, Refusal)
        assert field(refusal, "access-control-allow-origin") == ["https://x.example"]
    assert who.cors_headers("https://x.example") != ()
    assert who.cors_headers(None) == ()


def test_a_preflight_needs_no_credentials_but_an_origin_that_may_come():
    who = guard(credentials=Credentials(bearer_token=TOKEN), allowed_origins=("https://x.example",))
    wish = "Access-Control-Request-Method: POST"
    answer = ask(who, "Origin: https://x.example", wish, method="OPTIONS")
    assert isinstance(answer, Refusal)
    assert (answer.status, answer.body) == (204, b"")
    assert status(ask(who, "Origin: https://evil.example", wish, method="OPTIONS")) == 403
    assert status(ask(who, "Origin: https://x.example", wish, method="POST")) == 401


def test_refusals_are_errors_without_an_id():
    for verdict in (ask(bearer()), ask(bearer(), "Authorization: Bearer x")):
        assert isinstance(verdict, Refusal)
        body = json.loads(verdict.body)
        assert body["error"]["message"].startswith("mcpctl: ")
        assert "id" not in body


# ---------------------------------------------------------------- access tokens


def test_a_token_that_is_known_costs_no_waiting():
    assert ask(guard(oauth=OUR_OAUTH), "Authorization: Bearer good") == Pass("oauth:alice")


def test_a_token_that_is_not_known_is_for_its_issuer_to_tell():
    pending = ask(guard(oauth=OUR_OAUTH), "Authorization: bearer new")
    assert isinstance(pending, Pending)
    assert (pending.token, pending.client) == ("new", PEER)
    assert "new" not in repr(pending)


def test_without_a_token_the_way_to_one_is_told():
    refusal = ask(guard(oauth=OUR_OAUTH))
    assert isinstance(refusal, Refusal)
    assert field(refusal, "www-authenticate") == ['Bearer resource_metadata="https://p/x"']


def test_a_fixed_token_works_beside_access_tokens():
    who = guard(oauth=OUR_OAUTH, credentials=Credentials(bearer_token=WEAK))
    assert ask(who, f"Authorization: Bearer {WEAK}") == Pass("bearer")
    assert ask(who, "Authorization: Bearer good") == Pass("oauth:alice")
    assert status(ask(who, basic_line("joe:x"))) == 401


def forged(pending: Pending) -> Refusal:
    return Refusal(401, (("WWW-Authenticate", f"Bearer {len(pending.token)}"),), b"", is_guess=True)


def test_forged_tokens_are_counted_and_genuine_ones_let_in_all_the_same():
    who = guard(oauth=OUR_OAUTH)
    seen = []
    for number in range(MAX_GUESSES + 1):
        pending = ask(who, f"Authorization: Bearer forged-{number}")
        assert isinstance(pending, Pending)
        seen.append(status(who.settle(pending, forged(pending), 0.0)))
    assert seen == [401] * MAX_GUESSES + [429]
    pending = ask(who, "Authorization: Bearer genuine")
    assert isinstance(pending, Pending)
    assert who.settle(pending, Pass("oauth:bob"), 0.0) == Pass("oauth:bob")


def test_a_refusal_that_is_no_guess_is_passed_on_and_not_counted():
    who = guard(oauth=OUR_OAUTH, allowed_origins=("https://x.example",))
    for number in range(3 * MAX_GUESSES):
        pending = ask(who, "Origin: https://x.example", f"Authorization: Bearer old-{number}")
        assert isinstance(pending, Pending)
        outcome = who.settle(pending, refuse(401, "expired"), 0.0)
        assert status(outcome) == 401
        assert isinstance(outcome, Refusal)
        assert field(outcome, "access-control-allow-origin") == ["https://x.example"]


def test_options_that_want_tokens_let_nobody_in_without_them():
    who = Guard(Options(command=("cat",), hosts=("::",), oauth=OUR_OAUTH))
    assert status(ask(who, "Authorization: Bearer good")) == 401


# ---------------------------------------------------------------- secrets


def test_the_guard_keeps_no_secret_in_clear():
    who = guard(credentials=Credentials(bearer_token=TOKEN, user="joe", password=WEAK))
    seen: set[int] = set()

    def held(thing: object) -> str:
        if id(thing) in seen:
            return ""
        seen.add(id(thing))
        inner = list(getattr(thing, "__dict__", {}).values())
        inner += [getattr(thing, name) for name in getattr(thing, "__struct_fields__", ())]
        if isinstance(thing, dict):
            inner += [*thing.keys(), *thing.values()]
        elif isinstance(thing, list | tuple | set | frozenset):
            inner += list(thing)
        return repr(thing) + "".join(held(one) for one in inner)

    assert TOKEN not in held(who)
    assert WEAK not in held(who)
    assert base64.b64encode(f"joe:{WEAK}".encode()).decode() not in held(who)
