"""Tokens as flyctl takes them, and as Fly wants them to be sent."""

import pytest

from mcpctld.errors import Denied, UserError
from mcpctld.fly.tokens import Token, find_token

M, N, USER = "fm2_abc", "fm1r_def", "fo1_user"


@pytest.mark.parametrize(
    ("text", "machines", "graphql"),
    [
        (M, f"FlyV1 {M}", f"FlyV1 {M}"),
        (USER, f"Bearer {USER}", f"Bearer {USER}"),
        (f"FlyV1 {M}", f"FlyV1 {M}", f"FlyV1 {M}"),
        (f"Bearer FlyV1 {M},{N}", f"FlyV1 {M},{N}", f"FlyV1 {M},{N}"),
        (f"  flyv1   bearer {M} \n", f"FlyV1 {M}", f"FlyV1 {M}"),
        (
            f"{USER},{M}",
            f"FlyV1 {M}",
            f"FlyV1 {M},{USER}",
        ),  # a mixture is refused by the Machines API
        (f"{M},fm1a_x,", f"FlyV1 {M},fm1a_x", f"FlyV1 {M},fm1a_x"),
        (f"{M}, FlyV1 {N}", f"FlyV1 {M},{N}", f"FlyV1 {M},{N}"),
    ],
)
def test_how_a_token_is_sent(text, machines, graphql):
    token = Token(text)
    assert token.header() == machines
    assert token.graphql_header() == graphql
    assert not any(part in repr(token) + str(token) for part in (M, N, USER))


@pytest.mark.parametrize("text", ["", "  ", "Bearer ", ",,", "fm2_a b", "fm2_\nx", "fm2_é"])
def test_what_cannot_be_sent_is_refused_without_being_shown(text):
    with pytest.raises(UserError) as caught:
        Token(text)
    assert text.strip() == "" or "fm2_" not in str(caught.value)
    assert "FLY_API_TOKEN" in str(caught.value)


FILE = f"access_token: FlyV1 {M}\nlast_login: 2026-01-01T00:00:00Z\n"


@pytest.mark.parametrize(
    ("environ", "file", "expected"),
    [
        ({"FLY_ACCESS_TOKEN": "fo1_a", "FLY_API_TOKEN": "fo1_b"}, FILE, "Bearer fo1_a"),
        ({"FLY_API_TOKEN": "fo1_b"}, FILE, "Bearer fo1_b"),
        ({"FLY_ACCESS_TOKEN": " ", "FLY_API_TOKEN": "fo1_b"}, FILE, "Bearer fo1_b"),
        ({}, FILE, f"FlyV1 {M}"),
        ({"FLY_API_TOKEN": ""}, FILE, f"FlyV1 {M}"),
    ],
)
def test_where_a_token_comes_from(tmp_path, environ, file, expected):
    (tmp_path / ".fly").mkdir()
    (tmp_path / ".fly" / "config.yml").write_text(file)
    assert find_token(environ, str(tmp_path)).header() == expected


@pytest.mark.parametrize("file", [None, "", "access_token:\n", "[]", "other: x", "access_token: 7"])
def test_without_a_token_it_is_said_how_to_get_one(tmp_path, file):
    (tmp_path / ".fly").mkdir()
    if file is not None:
        (tmp_path / ".fly" / "config.yml").write_text(file)
    with pytest.raises(Denied, match=r"fly tokens create org.*--local"):
        find_token({}, str(tmp_path))


@pytest.mark.parametrize("content", [b"access_token: [fm2_abc", b"\xff\xfe", b"a: b: fm2_abc"])
def test_a_broken_file_is_named_and_not_quoted(tmp_path, content):
    (tmp_path / ".fly").mkdir()
    (tmp_path / ".fly" / "config.yml").write_bytes(content)
    with pytest.raises(UserError, match=r"config\.yml") as caught:
        find_token({}, str(tmp_path))
    assert M not in str(caught.value)
