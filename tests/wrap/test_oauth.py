"""Access tokens of a real issuer on loopback: which are good, which are not, and what is asked of the issuer."""

import base64
import hashlib
import hmac
import json
import logging
import os
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator

import jwt
import pytest
import trio
import trio.testing
import trustme
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.scripted import Exchange, head
from mcpctld.wrap.guard import Guard, Pass, Pending, Refusal
from mcpctld.wrap.issuer import AGAIN_S, FRESH_S, RETRY_S, USABLE_S, IssuerKeys, metadata_urls
from mcpctld.wrap.oauth import KNOWN_S, MAX_KNOWN, ResourceServer
from mcpctld.wrap.options import OAuth, Options
from mcpctld.wrap.tokens import LEEWAY_S, Untrusted, read_head
from wrap import issuers
from wrap.heads import field, heads
from wrap.issuers import AUDIENCE, METADATA, NOW, OPENID, Clock, Issuer, claims, sign

ALICE = Pass("oauth:alice")
BOUND_S = 30
"""For any one test: far above what it takes."""


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    async with issuers.serve() as made:
        with trio.fail_after(BOUND_S):
            yield made


def server(
    issuer: Issuer,
    clock: Clock,
    *scopes: str,
    oauth: OAuth | None = None,
    timeout_s: float = BOUND_S,
) -> ResourceServer:
    keys = IssuerKeys(issuer.url, clock=clock.monotonic, timeout_s=timeout_s)
    return ResourceServer(oauth or issuer.oauth(*scopes), keys, clock.wall)


def challenge(outcome: Pass | Refusal) -> str:
    assert isinstance(outcome, Refusal)
    return field(outcome, "www-authenticate")[0]


def status(outcome: Pass | Refusal) -> int:
    return outcome.status if isinstance(outcome, Refusal) else 200


# ---------------------------------------------------------------- signatures


@pytest.mark.parametrize(
    "alg", ["RS256", "RS512", "PS256", "ES256", "ES384", "ES512", "EdDSA", "Ed448"]
)
async def test_each_asymmetric_signature_is_understood(issuer, clock, alg):
    issuer.publish(issuers.public_jwk(alg))
    assert await server(issuer, clock).principal(issuer.token(alg)) == ALICE


def segment(value: object) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def by_hand(said: dict, secret: bytes, **named: object) -> str:
    """A token with any head, signed as HS256 would be, or not at all."""
    text = f"{segment(named)}.{segment(said)}"
    signature = hmac.digest(secret, text.encode(), hashlib.sha256) if secret else b""
    return f"{text}.{segment(signature)}"


def public_pem(alg: str) -> bytes:
    public = issuers.private_key(alg).public_key()
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize(
    "alg", ["none", "None", "", "HS256", "HS512", "ES256K", "RS1", None, 7, ["RS256"]]
)
async def test_no_other_way_of_signing_is(issuer, clock, alg):
    # With the public key as the shared secret: what a confused verifier would take.
    for secret in (b"", public_pem("ES256")):
        token = by_hand(claims(issuer.url), secret, alg=alg, kid="one")
        outcome = await server(issuer, clock).principal(token)
        assert (status(outcome), isinstance(outcome, Refusal) and outcome.is_guess) == (401, True)
    assert issuer.asked() == 0


async def test_a_key_that_is_published_for_one_algorithm_is_for_no_other(issuer, clock):
    issuer.publish(issuers.public_jwk("RS256") | {"alg": "RS256"})
    judge = server(issuer, clock)
    assert await judge.principal(issuer.token("RS256")) == ALICE
    assert status(await judge.principal(issuer.token("PS256"))) == 401
    assert status(await judge.principal(issuer.token("ES256"))) == 401


async def test_a_token_of_another_key_is_forged(issuer, clock):
    token = sign(claims(issuer.url), "RS256", "two")
    issuer.publish(issuers.public_jwk("RS256", "one") | {"kid": "two"})
    outcome = await server(issuer, clock).principal(token)
    assert isinstance(outcome, Refusal)
    assert (outcome.status, outcome.is_guess) == (401, True)


async def test_a_token_that_was_changed_is_forged(issuer, clock):
    judge = server(issuer, clock)
    header, payload, signature = issuer.token().split(".")
    for changed in (
        f"{header}.{segment(claims(issuer.url, sub='root'))}.{signature}",
        f"{header}.{payload}.",
        f"{header}.{payload}.{signature[:-8]}",
        f"{header}.{payload}",
        f"{payload}.{header}.{signature}",
    ):
        assert status(await judge.principal(changed)) == 401


async def test_without_a_kid_every_key_of_the_kind_is_tried(issuer, clock):
    issuer.publish(*(issuers.public_jwk("RS256", kid) for kid in ("one", "two")))
    judge = server(issuer, clock)
    assert await judge.principal(issuer.token("RS256", "two")) == ALICE
    assert await judge.principal(sign(claims(issuer.url), "RS256", "two", kid=None)) == ALICE


@pytest.mark.parametrize(
    "unfit",
    [
        {"use": "enc"},
        {"key_ops": ["sign"]},
        {"key_ops": "verify"},
        {"kty": "oct", "k": "c2VjcmV0"},
        {"kty": "EC", "crv": "P-256", "x": "AA"},
        {"kty": "RSA", "n": "AA", "e": "AQAB"},
        {"kty": "OKP", "crv": "X25519", "x": "AA"},
        {"kty": ["RSA"]},
        {"alg": "HS256"},
        {"alg": ["ES256"]},
        {"d": "AA"},
        {"x": None},
        {"x": 5},
        {"x": "\N{SNOWMAN}"},
        {"kid": 1},
    ],
)
async def test_keys_that_are_not_for_this_are_passed_over(issuer, clock, unfit):
    issuer.publish(issuers.public_jwk("ES256", "one") | unfit, issuers.public_jwk("RS256", "good"))
    judge = server(issuer, clock)
    assert status(await judge.principal(issuer.token())) == 401
    assert await judge.principal(issuer.token("RS256", "good")) == ALICE


async def test_a_private_key_that_was_published_proves_nothing(issuer, clock):
    private = issuers.private_key("RS256")
    issuer.publish(
        jwt.get_algorithm_by_name("RS256").to_jwk(private, as_dict=True) | {"kid": "one"}
    )
    assert status(await server(issuer, clock).principal(issuer.token("RS256"))) == 401


async def test_a_short_rsa_key_proves_nothing(issuer, clock):
    short = issuers.rsa_key("short", 1024)
    shown = jwt.get_algorithm_by_name("RS256").to_jwk(short.public_key(), as_dict=True)
    issuer.publish(shown | {"kid": "one"})
    with pytest.warns(jwt.InsecureKeyLengthWarning):
        token = jwt.encode(claims(issuer.url), short, "RS256", headers={"kid": "one"})
    assert status(await server(issuer, clock).principal(token)) == 401


# ---------------------------------------------------------------- what a token says

GOOD = 200
CASES = [
    # times, with a little leeway
    ({"exp": NOW - LEEWAY_S + 1}, GOOD),
    ({"exp": NOW - LEEWAY_S}, 401),
    ({"exp": NOW - 86400}, 401),
    ({"nbf": NOW + LEEWAY_S}, GOOD),
    ({"nbf": NOW + LEEWAY_S + 1}, 401),
    ({"iat": NOW + LEEWAY_S + 1}, 401),
    ({"iat": None}, GOOD),
    ({"exp": None}, 401),
    ({"exp": str(NOW + 300)}, 401),
    ({"exp": True}, 401),
    ({"exp": float("inf")}, 401),
    ({"exp": float("nan")}, 401),
    ({"exp": 10**400}, 401),
    ({"nbf": "now"}, 401),
    ({"iat": True}, 401),
    ({"iat": []}, 401),
    # issuer, exactly
    ({"iss": None}, 401),
    ({"iss": "https://other.example"}, 401),
    ({"iss": []}, 401),
    # audience
    ({"aud": None}, 401),
    ({"aud": "https://p.example"}, 401),
    ({"aud": AUDIENCE + "/"}, 401),
    ({"aud": AUDIENCE.upper()}, 401),
    ({"aud": []}, 401),
    ({"aud": [7, AUDIENCE]}, 401),
    ({"aud": ["https://other.example", AUDIENCE]}, GOOD),
    ({"aud": {"x": AUDIENCE}}, 401),
    # whose
    ({"sub": None}, 401),
    ({"sub": ""}, 401),
    ({"sub": 7}, 401),
    ({"sub": None, "azp": 7}, 401),
]


@pytest.mark.parametrize(
    ("changed", "expected"), CASES, ids=[json.dumps(case[0])[:60] for case in CASES]
)
async def test_what_a_token_must_say(issuer, clock, changed, expected):
    outcome = await server(issuer, clock).principal(issuer.token(**changed))
    assert status(outcome) == expected


async def test_an_issuer_with_a_slash_more_is_another_one(issuer, clock):
    outcome = await server(issuer, clock).principal(issuer.token(iss=issuer.url + "/"))
    assert status(outcome) == 401


@pytest.mark.parametrize("name", ["client_id", "azp"])
async def test_a_program_that_is_nobodys_stands_for_itself(issuer, clock, name):
    token = issuer.token(sub=None, **{name: "robot"})
    assert await server(issuer, clock).principal(token) == Pass("oauth:robot")


@pytest.mark.parametrize(
    ("audience", "claimed", "expected"),
    [
        ("https://p.example", "https://p.example/", GOOD),
        ("https://p.example/", "https://p.example", GOOD),
        ("https://p.example/", "https://p.example/", GOOD),
        ("https://p.example", "https://p.example//", 401),
        ("https://p.example/mcp", "https://p.example/mcp/", 401),
        ("api://tools", "api://tools", GOOD),
        ("tools", "tools", GOOD),
        ("tools", "tools/", 401),
    ],
)
async def test_an_empty_path_may_be_written_as_a_slash(issuer, clock, audience, claimed, expected):
    judge = server(issuer, clock, oauth=issuer.oauth(audience=audience))
    assert status(await judge.principal(issuer.token(aud=claimed))) == expected


@pytest.mark.parametrize(
    ("typ", "expected"),
    [
        *[("at+jwt", GOOD), ("application/AT+JWT", GOOD), ("JWT", GOOD), (None, GOOD)],
        *[("logout+jwt", 401), ("oauth-id-jag+jwt", 401), ("dpop+jwt", 401), (7, 401), ("at", 401)],
    ],
)
async def test_the_type_says_that_it_is_an_access_token(issuer, clock, typ, expected):
    token = sign(claims(issuer.url), typ=typ)
    assert status(await server(issuer, clock).principal(token)) == expected


@pytest.mark.parametrize(
    ("granted", "expected"),
    [
        ({"scope": "a b"}, GOOD),
        ({"scope": "b c a"}, GOOD),
        ({"scp": "a b"}, GOOD),
        ({"scp": ["a", "b"]}, GOOD),
        ({"scope": "a", "scp": ["b"]}, GOOD),
        ({"scope": ["a", "b", 7]}, GOOD),
        ({"scope": "a"}, 403),
        ({"scope": "ab"}, 403),
        ({"scope": ""}, 403),
        ({"scope": None}, 403),
        ({"scope": {"a": "b"}}, 403),
        ({"scp": 7}, 403),
    ],
)
async def test_every_scope_that_is_wanted_must_be_granted(issuer, clock, granted, expected):
    token = issuer.token(**{"scope": None, **granted})
    assert status(await server(issuer, clock, "a", "b").principal(token)) == expected


@pytest.mark.parametrize(
    "token", ["", "x", "a.b.c", "a" * 20_000, "\xff.\xff.\xff", "." * 50, "opaque-token"]
)
async def test_what_is_no_jwt_costs_the_issuer_nothing(issuer, clock, token):
    outcome = await server(issuer, clock).principal(token)
    assert isinstance(outcome, Refusal)
    assert (outcome.status, outcome.is_guess, issuer.asked(METADATA)) == (401, True, 0)


@settings(derandomize=True, deadline=None)
@given(st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit", "b64"]), st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just("RS256"),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=4,
)))  # fmt: skip
def test_no_head_breaks_anything(named):
    try:
        found = read_head(by_hand({}, b"", **named))
    except Untrusted:
        return
    assert found.alg == named["alg"]
    assert found.kid is None or isinstance(found.kid, str)


def test_a_head_that_is_nested_without_end_is_no_jwt():
    deep = segment(b'{"alg":' + b"[" * 5000 + b"]" * 5000 + b"}")
    with pytest.raises(Untrusted):
        read_head(f"{deep}.e30.AA")


# ---------------------------------------------------------------- what clients are told


async def test_a_refusal_leads_to_the_way_in(issuer, clock):
    judge = server(issuer, clock, "a", "b")
    where = 'resource_metadata="https://p.example/.well-known/oauth-protected-resource/mcp"'
    assert judge.challenge() == f'Bearer {where}, scope="a b"'
    told = challenge(await judge.principal("x"))
    assert told.startswith(
        'Bearer error="invalid_token", error_description="the token is no JWT", '
    )
    assert told.endswith(f'{where}, scope="a b"')
    told = challenge(await judge.principal(issuer.token(scope="a")))
    assert told.startswith('Bearer error="insufficient_scope", ')
    assert told.endswith('scope="a b"')


@pytest.mark.parametrize(
    ("resource", "where", "found"),
    [
        ("https://p.example/mcp", "", True),
        ("https://p.example/mcp", "/mcp", True),
        ("https://p.example/mcp", "/mcp/deeper", True),
        ("https://p.example/mcp", "/mcpx", False),
        ("https://p.example/mcp", "/", False),
        ("https://p.example/mcp", "/other", False),
        ("https://p.example", "/mcp", True),
        ("https://p.example/", "", True),
        ("https://p.example", "x", False),
    ],
)
def test_the_metadata_is_at_the_root_and_under_the_path_of_the_resource(resource, where, found):
    judge = ResourceServer(OAuth(issuer="https://i", audience=resource, resource=resource))
    path = f"/.well-known/oauth-protected-resource{where}"
    assert (judge.metadata(path) is not None) is found
    assert judge.metadata("/mcp") is None


def test_the_metadata_says_whose_tokens_are_for_what():
    oauth = OAuth(issuer="https://i/t", audience="api://x", resource="https://p", scopes=("a",))
    told = json.loads(
        ResourceServer(oauth).metadata("/.well-known/oauth-protected-resource") or b""
    )
    assert told == {
        "resource": "https://p",
        "authorization_servers": ["https://i/t"],
        "bearer_methods_supported": ["header"],
        "scopes_supported": ["a"],
    }
    plain = ResourceServer(OAuth(issuer="https://i", audience="https://p", resource="https://p"))
    assert b"scopes" not in (plain.metadata("/.well-known/oauth-protected-resource") or b"")


# ---------------------------------------------------------------- what is remembered


async def test_a_token_that_was_found_good_is_known_until_it_expires(issuer, clock):
    judge, token = server(issuer, clock), issuer.token()
    assert judge.known(token) is None
    assert await judge.principal(token) == ALICE
    assert judge.known(token) == ALICE
    clock.passed = 299
    assert judge.known(token) == ALICE
    clock.passed = 300
    assert judge.known(token) is None


async def test_a_long_lived_token_is_examined_again(issuer, clock):
    judge, token = server(issuer, clock), issuer.token(exp=NOW + 1e6)
    await judge.principal(token)
    clock.passed = KNOWN_S
    assert judge.known(token) is None
    issuer.publish(issuers.public_jwk("RS256"))  # the key was withdrawn
    clock.passed = FRESH_S
    assert status(await judge.principal(token)) == 401


async def test_a_token_that_was_refused_is_not_known(issuer, clock):
    judge, token = server(issuer, clock), issuer.token(aud="https://other.example")
    await judge.principal(token)
    assert judge.known(token) is None


async def test_of_too_many_tokens_the_one_longest_unused_is_forgotten(issuer, clock, monkeypatch):
    monkeypatch.setattr("mcpctld.wrap.oauth.MAX_KNOWN", 2)
    judge = server(issuer, clock)
    first, second, third = (issuer.token(jti=str(number)) for number in range(3))
    await judge.principal(first)
    await judge.principal(second)
    judge.known(first)
    await judge.principal(third)
    assert [judge.known(token) is not None for token in (first, second, third)] == [
        True,
        False,
        True,
    ]
    assert MAX_KNOWN <= 10_000


# ---------------------------------------------------------------- where the keys are


@pytest.mark.parametrize(
    ("issuer", "paths"),
    [
        ("https://a.example", [METADATA, OPENID]),
        ("https://a.example/", [METADATA, OPENID]),
        ("https://a.example/t1", [f"{METADATA}/t1", f"{OPENID}/t1", f"/t1{OPENID}"]),
        ("https://a.example/t/1/", [f"{METADATA}/t/1", f"{OPENID}/t/1", f"/t/1{OPENID}"]),
    ],
)
def test_metadata_is_looked_for_in_the_order_of_the_specification(issuer, paths):
    assert metadata_urls(issuer) == [f"https://a.example{path}" for path in paths]


@pytest.mark.parametrize(
    ("path", "at"),
    [
        ("", METADATA),
        ("", OPENID),
        ("/t1", f"{METADATA}/t1"),
        ("/t1", f"{OPENID}/t1"),
        ("/t1", f"/t1{OPENID}"),
    ],
)
async def test_the_first_document_there_is_counts(clock, path, at):
    async with issuers.serve(path) as issuer:
        issuer.pages.pop(METADATA + path)
        issuer.pages[at] = issuer.metadata()
        with trio.fail_after(BOUND_S):
            assert await server(issuer, clock).principal(issuer.token()) == ALICE
        tried = [exchange.target for exchange in issuer.upstream.seen]
        assert tried[-2:] == [at, "/keys"]


async def redirect(exchange: Exchange) -> None:
    await exchange.answer(302, b"", ("Location", "/elsewhere"))


async def fail(exchange: Exchange) -> None:
    await exchange.answer(500, b"{}")


async def hang(exchange: Exchange) -> None:
    await exchange.client_left()
    await exchange.drop()


async def drip(exchange: Exchange) -> None:
    await exchange.raw(head(200, ("Content-Length", "100000")))
    while True:
        await exchange.raw(b" ")
        await trio.sleep(0.01)


async def flood(exchange: Exchange) -> None:
    await exchange.raw(head(200, ("Transfer-Encoding", "chunked")))
    while True:
        await exchange.chunk(b" " * 65536)


async def garbage(exchange: Exchange) -> None:
    await exchange.raw(b"\0\1\2 not HTTP\r\n\r\n")
    await exchange.drop()


async def packed(exchange: Exchange) -> None:
    await exchange.answer(200, b"\x1f\x8b\x08\0", ("Content-Encoding", "gzip"))


HOSTILE = [
    redirect,
    fail,
    hang,
    drip,
    flood,
    garbage,
    packed,
    b"",
    b"[]",
    b"{}",
    b"{",
    b"\xff",
    b"[" * 100_000,
]


@pytest.mark.parametrize(
    "page", HOSTILE, ids=lambda page: getattr(page, "__name__", repr(page)[:12])
)
@pytest.mark.parametrize("where", ["metadata", "keys"])
async def test_a_slow_or_hostile_issuer_is_given_up(issuer, clock, page, where, caplog):
    issuer.pages[METADATA if where == "metadata" else "/keys"] = page
    issuer.pages["/elsewhere"] = issuer.pages.get("/keys")
    slow = page in (hang, drip)
    judge = server(issuer, clock, timeout_s=0.3 if slow else BOUND_S)
    outcome = await judge.principal(issuer.token())
    assert isinstance(outcome, Refusal)
    assert (outcome.status, outcome.is_guess) == (503, False)
    assert field(outcome, "retry-after") == [f"{RETRY_S:.0f}"]
    [record] = [one for one in caplog.records if one.getMessage() == "issuer.failed"]
    assert record.levelno == logging.WARNING
    assert issuer.asked("/elsewhere") == 0


@pytest.mark.parametrize(
    "changed",
    [
        {"issuer": "https://other.example"},
        {"issuer": None},
        {"issuer": ["x"]},
        {"jwks_uri": None},
        {"jwks_uri": 7},
        {"jwks_uri": "/keys"},
        {"jwks_uri": "http://keys.example/keys"},
        {"jwks_uri": "file:///etc/passwd"},
        {"jwks_uri": "https://x" + "y" * 300 + ".example/"},
    ],
)
async def test_metadata_of_somebody_else_is_not_used(issuer, clock, changed):
    issuer.pages[METADATA] = issuer.metadata(**changed)
    assert status(await server(issuer, clock).principal(issuer.token())) == 503
    assert issuer.asked() == 0


async def test_an_issuer_that_nobody_is_at_is_not_waited_for(clock):
    async with issuers.serve() as issuer:
        token, judge = issuer.token(), server(issuer, clock)
    with trio.fail_after(BOUND_S):
        assert status(await judge.principal(token)) == 503


async def test_no_proxy_stands_between_two_on_one_machine(issuer, clock, monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert await server(issuer, clock).principal(issuer.token()) == ALICE


@pytest.mark.parametrize("trusted", [True, False])
async def test_an_issuer_with_tls_must_be_one_that_is_trusted(clock, trusted):
    authority, tls = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(tls)
    context = ssl.create_default_context()
    (authority if trusted else trustme.CA()).configure_trust(context)
    async with issuers.serve(tls=tls) as issuer:
        keys = IssuerKeys(issuer.url, clock=clock.monotonic, context=context)
        judge = ResourceServer(issuer.oauth(), keys, clock.wall)
        with trio.fail_after(BOUND_S):
            assert status(await judge.principal(issuer.token())) == (200 if trusted else 503)


# ---------------------------------------------------------------- how often the issuer is asked


def hold(issuer: Issuer, answer: object) -> trio.Event:
    """The request for keys is answered when the event is set."""
    gate = trio.Event()

    async def held(exchange: Exchange) -> None:
        await gate.wait()
        await (exchange.answer(500) if answer is fail else exchange.json(answer))

    issuer.pages["/keys"] = held
    return gate


async def ask_at_once(issuer: Issuer, judge: ResourceServer, gate: trio.Event) -> list[int]:
    """What fifty tokens get that come before the keys are there."""
    outcomes = []

    async def ask(number: int) -> None:
        outcomes.append(status(await judge.principal(issuer.token(jti=str(number)))))

    async with trio.open_nursery() as nursery:
        for number in range(50):
            nursery.start_soon(ask, number)
        await issuer.upstream.wait_for("GET", 2)
        await trio.testing.wait_all_tasks_blocked()
        gate.set()
    return outcomes


async def test_keys_are_fetched_once_for_however_many_wait(issuer, clock):
    gate = hold(issuer, issuer.pages["/keys"])
    assert await ask_at_once(issuer, server(issuer, clock), gate) == [GOOD] * 50
    assert (issuer.asked(METADATA), issuer.asked()) == (1, 1)
    sent = [exchange.headers["accept-encoding"] for exchange in issuer.upstream.seen]
    assert sent == ["identity", "identity"]  # what is packed has no length that one could check


async def test_a_fetch_that_fails_fails_for_all_who_wait(issuer, clock):
    gate = hold(issuer, fail)
    assert await ask_at_once(issuer, server(issuer, clock), gate) == [503] * 50
    assert issuer.asked() == 1


async def test_when_the_one_who_fetches_leaves_another_one_does_it(issuer, clock):
    gate = hold(issuer, issuer.pages["/keys"])
    judge, outcomes, first = server(issuer, clock), [], trio.CancelScope()

    async def ask(scope: trio.CancelScope) -> None:
        with scope:
            outcomes.append(await judge.principal(issuer.token()))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask, first)
        await issuer.upstream.wait_for("GET", 2)
        nursery.start_soon(ask, trio.CancelScope())
        await trio.testing.wait_all_tasks_blocked()
        first.cancel()
        await issuer.upstream.wait_for("GET", 4)
        gate.set()
    assert outcomes == [ALICE]


async def test_a_new_key_is_found_as_soon_as_a_token_names_it(issuer, clock):
    judge = server(issuer, clock)
    await judge.principal(issuer.token())
    issuer.publish(issuers.public_jwk("RS256", "one"), issuers.public_jwk("RS256", "two"))
    rotated = sign(claims(issuer.url), "RS256", "two")
    clock.passed = AGAIN_S - 1
    assert status(await judge.principal(rotated)) == 401
    assert issuer.asked() == 1
    clock.passed = AGAIN_S
    assert await judge.principal(rotated) == ALICE
    assert issuer.asked() == 2


async def test_made_up_keys_do_not_make_us_a_nuisance_to_the_issuer(issuer, clock):
    judge = server(issuer, clock)
    for second in range(120):
        clock.passed = second
        outcome = await judge.principal(sign(claims(issuer.url), kid=f"made-up-{second}"))
        assert status(outcome) == 401
    assert issuer.asked() == 4


async def test_an_issuer_that_fails_is_asked_again_soon(issuer, clock):
    keys, issuer.pages["/keys"] = issuer.pages["/keys"], fail
    judge = server(issuer, clock)
    for _ in range(10):
        assert status(await judge.principal(issuer.token())) == 503
    assert issuer.asked() == 1
    issuer.pages["/keys"] = keys
    clock.passed = RETRY_S
    assert await judge.principal(issuer.token()) == ALICE


async def test_old_keys_serve_while_the_issuer_is_away_but_not_for_ever(issuer, clock):
    judge, kept = server(issuer, clock), issuer.token(exp=NOW + 1e6)
    await judge.principal(kept)
    issuer.pages["/keys"] = fail
    clock.passed = FRESH_S + KNOWN_S
    assert await judge.principal(kept) == ALICE
    assert issuer.asked() == 2
    clock.passed = USABLE_S
    assert status(await judge.principal(kept)) == 503


async def test_the_keys_of_a_set_are_bounded(issuer, clock):
    many = [issuers.public_jwk("ES256") | {"kid": f"k{number}"} for number in range(70)]
    issuer.publish(*many)
    judge = server(issuer, clock)
    assert await judge.principal(sign(claims(issuer.url), kid="k63")) == ALICE
    assert status(await judge.principal(sign(claims(issuer.url), kid="k64"))) == 401


# ---------------------------------------------------------------- together, and alone


async def test_guard_and_issuer_together(issuer, clock):
    oauth = issuer.oauth("tools:read")
    judge = server(issuer, clock, oauth=oauth)
    guard = Guard(Options(command=("cat",), hosts=("::",), oauth=oauth), judge)
    request = heads("Host: p.example", f"Authorization: Bearer {issuer.token()}")
    pending = guard.check("POST", "/mcp", request, "8.8.8.8", 0)
    assert isinstance(pending, Pending)
    assert guard.settle(pending, await judge.principal(pending.token), 0) == ALICE
    assert guard.check("POST", "/mcp", request, "8.8.8.8", 0) == ALICE
    assert issuer.asked() == 1


async def test_no_token_reaches_a_log_or_a_representation(issuer, clock, caplog):
    caplog.set_level(logging.DEBUG)
    judge, token = server(issuer, clock), issuer.token()
    await judge.principal(token)
    refused = await judge.principal(issuer.token(aud="x"))
    said = "".join(f"{record.getMessage()} {vars(record)}" for record in caplog.records)
    for shown in (said, repr(vars(judge)), repr(refused)):
        assert token not in shown
        assert token.split(".")[2] not in shown


def test_without_an_issuer_neither_pyjwt_nor_httpx_is_loaded():
    code = (
        "import sys, mcpctld.wrap.guard, mcpctld.wrap.oauth as o, mcpctld.wrap.options as p\n"
        "mcpctld.wrap.guard.Guard(p.parse_options(['cat'], {}))\n"
        "sys.exit(any(name in sys.modules for name in ('jwt', 'httpx', 'cryptography')))"
    )
    assert subprocess.run([sys.executable, "-c", code], env=dict(os.environ)).returncode == 0
