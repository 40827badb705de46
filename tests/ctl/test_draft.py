import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpctl import server_draft
from mcpctl.errors import UsageError
from mcpctl.server_draft import http_draft, stdio_draft
from mcpctld.config import check, references
from mcpctld.model import ServerSpec

URL = "https://mcp.example.com/mcp"


def test_a_url_alone_is_the_whole_file():
    assert http_draft(URL, transport=None, instance=None).spec == {"url": URL}


def test_what_is_given_stands_in_the_file():
    draft = http_draft(URL, ["X-Team: a, b"], transport="http-sse", instance="d8d9")
    assert draft.spec == {
        "url": URL,
        "transport": "http-sse",
        "instance": "d8d9",
        "headers": {"X-Team": "a, b"},
    }
    assert check.server_problems(ServerSpec(**draft.spec)) == []


def test_a_bearer_token_is_a_secret_that_the_header_names():
    draft = http_draft(URL, authorization=("Bearer", "bearer-token", "t0ken"))
    assert draft.spec["headers"] == {"Authorization": "Bearer ${secret:bearer-token}"}
    assert draft.secrets == {"bearer-token": "t0ken"}
    assert "t0ken" not in repr(draft)


@pytest.mark.parametrize("name", ["Authorization", "Cookie", "X-Auth-Token", "x-api-key", "Secret"])
def test_the_value_of_a_header_that_looks_secret_is_moved_out_of_the_file(name):
    draft = http_draft(URL, [f"{name}:  v4lue "])
    assert draft.secrets == {name.lower(): "v4lue"}
    assert draft.spec["headers"] == {name: f"${{secret:{name.lower()}}}"}
    assert [name in note for note in draft.notes] == [True]
    assert "v4lue" not in str(draft.notes)


def test_a_header_may_name_a_secret_itself():
    draft = http_draft(URL, ["X-Token: k=${secret:tok} ${x}"], {"tok": "v"})
    assert draft.spec["headers"] == {"X-Token": "k=${secret:tok} $${x}"}
    assert draft.secrets == {"tok": "v"}
    assert draft.notes == []


def test_a_secret_that_no_header_names_is_pointed_out():
    assert "no header uses secret tok" in http_draft(URL, secrets={"tok": "v"}).notes[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"headers": ["no colon"]}, "write it as 'NAME: VALUE'"),
        ({"headers": ["A: 1", "a: 2"]}, "header a is given twice"),
        ({"headers": ["X-Key: a\r\nb"]}, "line break"),
        ({"headers": ["X-Key:"]}, "is empty"),
        ({"headers": ["X-Key: 1"], "secrets": {"x-key": "2"}}, "secret x-key is given twice"),
        (
            {"headers": ["authorization: 1"], "authorization": ("Bearer", "bearer-token", "t")},
            "two Authorization headers",
        ),
        ({"url": "ftp://host/"}, "must begin with http:// or https://"),
        ({"url": "https:///path"}, "must begin with"),
        ({"url": "https://[::1/"}, "cannot use URL"),
    ],
)
def test_a_url_server_that_cannot_be_is_refused(arguments, message):
    with pytest.raises(UsageError, match=message):
        http_draft(**{"url": URL, **arguments})


def test_credentials_in_a_url_are_refused_and_not_repeated():
    with pytest.raises(UsageError, match="--bearer-token") as caught:
        http_draft("https://user:hunter2@host/")
    assert "hunter2" not in str(caught.value)


def test_a_command_runs_with_the_environment_of_now_and_no_more():
    environ = {"PATH": "/bin", "LC_ALL": "C", "HOME": "/h", "AWS_TOKEN": "x", "LANG": "\udcff"}
    draft = stdio_draft(["/bin/x", "-y"], ["A=1=2"], {}, environ, cwd="/srv")
    assert draft.spec == {
        "command": ["/bin/x", "-y"],
        "env": {"PATH": "/bin", "LC_ALL": "C", "HOME": "/h", "A": "1=2"},
        "cwd": "/srv",
    }
    assert check.server_problems(ServerSpec(**draft.spec)) == []


def test_a_secret_of_a_command_is_a_variable():
    draft = stdio_draft(["/x"], [], {"API_KEY": "v"}, {})
    assert draft.spec["env"] == {"API_KEY": "${secret:API_KEY}"}
    assert draft.secrets == {"API_KEY": "v"}


def test_a_variable_in_the_file_that_looks_secret_is_pointed_out():
    draft = stdio_draft(["/x"], ["API_KEY=v", "B=1"], {}, {})
    assert ["--secret API_KEY" in note for note in draft.notes] == [True]


@pytest.mark.parametrize(
    ("variables", "secrets", "message"),
    [
        (["A"], {}, "write --env A=VALUE"),
        (["1A=2"], {}, "cannot be the name of a variable"),
        ([], {"x-y": "v"}, "cannot be the name of a variable"),
        (["A=1"], {"A": "v"}, "by --env and by --secret"),
    ],
)
def test_a_variable_that_cannot_be_is_refused(variables, secrets, message):
    with pytest.raises(UsageError, match=message):
        stdio_draft(["/x"], variables, secrets, {})


@given(st.text(alphabet="${}secret:ab"))
def test_recorded_text_means_itself_to_the_daemon(text):
    escaped = server_draft.escape(text)
    assert not references.is_stray(escaped)
    assert references.substitute(escaped, {}) == text


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("", ""),
        ("plain $HOME {x}", "plain $HOME {x}"),
        ("Bearer ${secret:k}", "Bearer V"),
        ("${secret:k}${secret:k}", "VV"),
        ("$${secret:k}", "${secret:k}"),
        ("${HOME}", "${HOME}"),
        ("${secret:}", "${secret:}"),
        ("${", "${"),
    ],
)
def test_text_that_was_given_keeps_its_references_and_nothing_else(written, sent):
    assert references.substitute(server_draft.escape_text(written), {"k": "V"}) == sent


@given(st.text(alphabet="${}secret:k"))
def test_the_daemon_never_refuses_a_value_for_what_stands_in_it(text):
    assert not references.is_stray(server_draft.escape_text(text))


@pytest.mark.parametrize("name", ["", "../x", ".x", "a b", "a/b", "x" * 65, "-x", "a\n"])
def test_a_name_that_is_no_file_name_is_refused(name):
    with pytest.raises(UsageError, match="name of a server"):
        server_draft.check_name(name)
