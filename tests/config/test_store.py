"""What is in force: the last good version of everything, and help for what is not there."""

import pytest

from mcpctld.config.store import Reloaded, ServerStore
from mcpctld.errors import NotFound, UserError
from mcpctld.model import Server, ServerSpec, Settings

GOOD = 'url = "https://mcp.example/mcp"\n'


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "servers").mkdir(mode=0o700)
    return tmp_path


@pytest.fixture
def store(folder):
    return ServerStore(str(folder))


def write(folder, name, text=GOOD):
    (folder / "servers" / f"{name}.toml").write_text(text)


async def test_a_reload_tells_what_was_added_changed_and_removed(folder, store):
    for name in ("c", "a", "b"):
        write(folder, name)
    assert await store.reload() == Reloaded(added=("a", "b", "c"))
    assert list(store.servers) == ["a", "b", "c"]
    write(folder, "b", 'url = "https://other.example"\n')
    (folder / "servers" / "a.toml").unlink()
    write(folder, "d")
    assert await store.reload() == Reloaded(added=("d",), changed=("b",), removed=("a",))
    assert store.get("b").spec.url == "https://other.example"


async def test_a_reload_without_a_change_is_false(folder, store):
    write(folder, "a")
    assert await store.reload()
    assert not await store.reload()


async def test_a_broken_file_keeps_the_last_good_server_in_force_and_heals(folder, store):
    write(folder, "a")
    await store.reload()
    write(folder, "a", "url = ")
    assert await store.reload() == Reloaded(errors_changed=True)
    assert store.get("a").spec.url == "https://mcp.example/mcp"
    assert len(store.errors) == 1
    write(folder, "a")
    assert await store.reload() == Reloaded(errors_changed=True)
    assert store.errors == []


async def test_a_deleted_file_ends_even_a_broken_server(folder, store):
    write(folder, "a")
    await store.reload()
    write(folder, "a", "url = ")
    await store.reload()
    (folder / "servers" / "a.toml").unlink()
    assert (await store.reload()).removed == ("a",)
    assert store.errors == []


async def test_servers_stay_when_their_folder_cannot_be_listed(folder, store):
    write(folder, "a")
    await store.reload()
    (folder / "servers").rename(folder / "away")
    (folder / "servers").write_text("")
    assert (await store.reload()).removed == ()
    assert store.get("a")


async def test_broken_settings_keep_the_last_good_ones_in_force(folder, store):
    (folder / "config.toml").write_text("max_sessions = 7\n")
    assert (await store.reload()).settings_changed
    (folder / "config.toml").write_text("max_sessions = many\n")
    assert not (await store.reload()).settings_changed
    assert store.settings == Settings(max_sessions=7)
    (folder / "config.toml").unlink()
    assert (await store.reload()).settings_changed
    assert store.settings == Settings()


async def test_an_unknown_name_is_answered_with_the_likely_one_and_a_way_on(folder, store):
    write(folder, "slack")
    write(folder, "github")
    await store.reload()
    with pytest.raises(NotFound) as caught:
        store.get("slak")
    assert str(caught.value) == (
        "cannot find a server named 'slak': did you mean 'slack'? known: github, slack; "
        "add one with: mcpctl add --server NAME --url URL"
    )


async def test_an_unknown_name_is_answered_with_ten_names_at_most(folder, store):
    for number in range(12):
        write(folder, f"s{number:02}")
    await store.reload()
    with pytest.raises(NotFound, match=r"known: s00, .*, s09 and 2 more;"):
        store.get("zzz")


async def test_an_unknown_name_among_no_servers_says_where_they_would_be(folder, store):
    with pytest.raises(NotFound, match=f"there are none in {folder}/servers"):
        store.get("a")


async def test_a_name_whose_file_never_was_good_is_answered_with_its_error(folder, store):
    write(folder, "a", "url = 3\n")
    await store.reload()
    with pytest.raises(UserError, match=r"cannot use the server 'a': .*expected str"):
        store.get("a")


def test_a_greeting_makes_a_server_named_after_its_url(store):
    fields = [
        ("cwd", "/tmp"),
        ("url", "http://LocalHost:8080/mcp?x=1"),
        ("transport", "http-sse"),
        ("era", "modern"),
        ("instance", "abc123"),
        ("header", "X-Trace: on"),
        ("header", "Authorization:Bearer ${literal}"),
        ("timeout", "2.5"),
    ]
    assert store.adhoc(fields) == Server(
        name="localhost:8080",
        spec=ServerSpec(
            url="http://LocalHost:8080/mcp?x=1",
            transport="http-sse",
            era="modern",
            instance="abc123",
            headers={"X-Trace": "on", "Authorization": "Bearer $${literal}"},
            call_timeout_s=2.5,
        ),
    )


def test_the_smallest_greeting_needs_a_url_only(store):
    server = store.adhoc([("url", "https://[::1]/")])
    assert server == Server(name="[::1]", spec=ServerSpec(url="https://[::1]/"))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ([("cwd", "/")], "neither a server nor a URL"),
        ([("url", "file:///etc/passwd")], "cannot attach to this URL"),
        ([("url", "https://a"), ("transport", "stdio")], "goes with command"),
        ([("url", "https://a"), ("transport", "ws")], "write one of auto, streamable-http"),
        (
            [("url", "https://a"), ("era", "2026-07-28")],
            "write one of auto, mirror, legacy, modern",
        ),
        ([("url", "https://a"), ("timeout", "soon")], "a number of seconds"),
        ([("url", "https://a"), ("timeout", "-1")], "above 0"),
        ([("url", "https://a"), ("header", "no colon")], "'Name: value'"),
        ([("url", "https://a"), ("header", "A: b"), ("header", "a: c")], "given twice"),
        ([("url", "https://a"), ("header", "A: b\udcff")], "Latin-1"),
        ([("url", "https://a\udcff")], "cannot attach"),
        ([("url", "https://a"), ("header", "A: ${secret:token}")], "configured servers only"),
        ([("url", "http://mcp.example"), ("header", "Authorization: x")], "use https"),
    ],
)
def test_a_greeting_is_held_to_the_rules_of_files(store, fields, words):
    with pytest.raises(UserError, match=words) as caught:
        store.adhoc(fields)
    str(caught.value).encode()


def test_a_greeting_never_makes_a_command(store):
    server = store.adhoc([("url", "https://a"), ("command", "/bin/sh"), ("env", "A=b")])
    assert (server.spec.command, server.spec.env, server.kind) == (None, {}, "http")
