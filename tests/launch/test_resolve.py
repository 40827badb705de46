import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpctld.errors import UserError
from mcpctld.launch.resolve import WishRefused, resolve
from mcpctld.launch.sizes import Guest
from mcpctld.launch.volumes import Volume
from mcpctld.launch.wish import Wish

TIME = "uvx mcp-server-time"


def test_a_command_is_all_that_has_to_be_said():
    found = resolve(Wish(command=TIME))
    assert (found.server, found.app, found.app_is_said) == (
        "mcp-server-time",
        "mcp-server-time",
        False,
    )
    assert (found.org, found.region, found.at) == ("personal", None, "fly.io")
    assert (found.image, found.wrapper, found.cmd) == (
        "flyio/mcp",
        "mcpctl",
        ["uvx", "mcp-server-time"],
    )
    assert found.entrypoint[-1] == "--"
    assert (found.transport, found.path, found.internal_port) == ("streamable-http", "/mcp", 8080)
    assert found.health_path == "/health"
    assert (found.guest, found.volume, found.files) == (Guest(), None, [])
    assert (found.bearer, found.secret_names) == (True, ["FLY_MCP_BEARER_TOKEN"])
    assert (found.auto_stop, found.policy, found.notes) == ("suspend", "attached", [])


@pytest.mark.parametrize(
    ("fields", "server", "app", "said"),
    [
        ({"server": "My.Time"}, "My.Time", "my-time", False),
        ({"name": "app-1"}, "app-1", "app-1", True),
        ({"server": "time", "name": "app-1"}, "time", "app-1", True),
        ({"image": "acme/notes"}, "notes", "notes", False),
        ({"image": "flyio/mcp"}, "mcp-server-time", "mcp-server-time", False),
    ],
)
def test_names_are_taken_from_what_is_said(fields, server, app, said):
    found = resolve(Wish(command=TIME, **fields))
    assert (found.server, found.app, found.app_is_said) == (server, app, said)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"wrapper": "fly"}, {"transport": "fly-wrap", "path": "/", "health_path": None}),
        ({"transport": "http", "port": 3001}, {"transport": "streamable-http", "path": "/mcp", "internal_port": 3001}),
        ({"transport": "http", "port": 3001}, {"health_path": None, "wrapper": "none"}),
        ({"transport": "sse", "port": 3001}, {"transport": "http-sse", "path": "/sse"}),
        ({"policy": "always"}, {"policy": "always", "auto_stop": "off"}),
        ({"auto_stop": "stop"}, {"auto_stop": "stop"}),
        ({"region": "atl"}, {"region": "dfw"}),
        ({"org": "acme"}, {"org": "acme"}),
        ({"at": "local"}, {"at": "local"}),
        ({"volume": "d:/d"}, {"volume": Volume(name="d", path="/d")}),
        ({"vm_memory": "2gb"}, {"guest": Guest(memory_mb=2048)}),
        ({"env": {"A": "b"}}, {"env": {"A": "b"}}),
        ({"bearer": False}, {"bearer": False, "secret_names": []}),
        ({"setup": ["RUN echo hi"]}, {"setup": ["echo hi"]}),
        ({"flycast": True}, {"flycast": True}),
        ({"machine_config": {"schedule": "daily"}}, {"overlay": {"schedule": "daily"}}),
    ],
)  # fmt: skip
def test_each_wish_has_its_place(fields, expected):
    found = resolve(Wish(command=TIME, **fields))
    assert {key: getattr(found, key) for key in expected} == expected


def test_user_and_password_take_the_place_of_the_token():
    found = resolve(Wish(command=TIME, user="me", password="hush", secrets={"A": "b"}))
    assert found.secrets == {"A": "b", "FLY_MCP_USER": "me", "FLY_MCP_PASSWORD": "hush"}
    assert not found.bearer
    assert found.secret_names == ["A", "FLY_MCP_PASSWORD", "FLY_MCP_USER"]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"command": "uvx 'x"}, "no closing quotation"),
        ({"command": ""}, "say what to launch"),
        ({"command": "npx -y"}, "--server NAME"),
        ({"server": "../x"}, "cannot use '../x' as the name of a server"),
        ({"name": "My_App"}, "cannot use 'My_App' as the name of an app"),
        ({"server": "x" * 64, "name": ""}, "name of an app"),
        ({"user": "me"}, "--user and --password go together"),
        ({"password": "p"}, "--user and --password go together"),
        ({"user": "m:e", "password": "p"}, "cannot have a colon"),
        ({"env": {"1A": "x"}}, "'1A' cannot be the name of a variable"),
        ({"secrets": {"a-b": "x"}}, "'a-b' cannot be the name of a variable"),
        (
            {"env": {"A": "x"}, "secrets": {"A": "y"}},
            "variable A is given by --env and by --secret",
        ),
        ({"env": {"FLY_X": "x"}}, "Fly keeps names that begin with FLY_"),
        ({"secrets": {"FLY_MCP_USER": "x"}}, "secret FLY_MCP_USER is set by"),
        ({"env": {"A": "a\0"}}, "variable A has a NUL"),
        ({"port": 80}, "--port is where a server listens that speaks HTTP itself"),
        ({"port": 0, "transport": "http"}, "0 is not a port"),
        ({"port": 65536, "transport": "sse"}, "65536 is not a port"),
        ({"region": "nowhere"}, "three letters"),
        ({"volume": "x"}, "needs a folder"),
        ({"vm_memory": "1"}, "steps of 256"),
        ({"file_literal": {"x": ""}}, "absolute"),
        ({"machine_config": {"vm": 1}}, "no field vm"),
        ({"setup": ["COPY a b"]}, "cannot do COPY"),
    ],
)
def test_what_cannot_be_is_refused(fields, reason):
    with pytest.raises(WishRefused, match=reason) as refused:
        resolve(Wish(**{"command": TIME, **fields}))
    assert len(refused.value.problems) == 1


def test_all_problems_are_told_at_once():
    wish = Wish(command="uvx 'x", region="nowhere", volume="x", vm_memory="1", server="time")
    with pytest.raises(WishRefused) as refused:
        resolve(wish)
    assert len(refused.value.problems) == 4
    assert str(refused.value) == "; ".join(refused.value.problems)


@pytest.mark.parametrize(
    ("fields", "note"),
    [
        ({"vm_size": "performance-2x"}, "this one will be stopped"),
        ({"vm_memory": "256"}, "256 MB of memory are little"),
        ({"bearer": False}, "nobody is asked for credentials"),
        (
            {"transport": "http", "port": 1, "image": "a/b"},
            "the server itself has to check who calls it",
        ),
        ({"region": "atl"}, "region atl is closed"),
        ({"setup": ["x"]}, "at each cold start"),
    ],
)
def test_what_the_user_should_know_is_said(fields, note):
    notes = resolve(Wish(command=TIME, **fields)).notes
    assert [text for text in notes if note in text] == notes


@pytest.mark.parametrize(
    "fields",
    [
        {"flycast": True, "bearer": False},
        {"vm_size": "performance-2x", "auto_stop": "stop"},
        {"vm_size": "performance-2x", "policy": "always"},
    ],
)
def test_and_nothing_where_nothing_is_wrong(fields):
    assert resolve(Wish(command=TIME, **fields)).notes == []


def test_secrets_are_never_shown():
    wish = Wish(command=TIME, secrets={"A": "hush"}, password="hush", user="me")
    assert "hush" not in repr(wish)
    assert "hush" not in repr(resolve(wish))


def test_a_wish_that_was_kept_without_its_secrets_is_whole():
    wish = Wish(command=TIME, user="me", file_secret={"/k": "KEY"})
    with pytest.raises(WishRefused):
        resolve(wish)
    found = resolve(wish, kept=True)
    assert (found.secrets, found.bearer) == ({}, False)
    assert found.files == [{"guest_path": "/k", "secret_name": "KEY"}]


def test_a_builder_can_do_more():
    wish = Wish(command="x --flag", image="acme/x", wrapper="fly")
    with pytest.raises(WishRefused, match="needs a build"):
        resolve(wish)
    assert resolve(wish, builder=True).cmd == ["x", "--flag"]


texts = st.text(max_size=12) | st.sampled_from(
    ["uvx x", "d:/d", "512mb", "iad", base64.b64encode(b"x").decode()]
)
names = st.dictionaries(texts, texts, max_size=2)


@settings(derandomize=True, deadline=None, max_examples=150)
@given(
    st.builds(
        Wish,
        command=st.none() | texts,
        image=st.none() | texts,
        server=st.none() | texts,
        name=st.none() | texts,
        region=st.none() | texts,
        volume=st.none() | texts,
        vm_memory=st.none() | texts,
        port=st.none() | st.integers(),
        transport=st.sampled_from(["stdio", "http", "sse"]),
        wrapper=st.sampled_from(["mcpctl", "fly"]),
        setup=st.lists(texts, max_size=2),
        secrets=names,
        env=names,
        file_local=names,
        file_secret=names,
        user=st.none() | texts,
        password=st.none() | texts,
    ),
    st.booleans(),
)
def test_any_wish_is_resolved_or_refused(wish, builder):
    try:
        found = resolve(wish, builder=builder)
    except UserError:
        return
    assert found.app
    assert found.server
    assert found.image
