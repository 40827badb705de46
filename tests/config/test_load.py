"""Reading the folder: every file gives a server or one clear error, and nothing makes it raise."""

import os

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpctld.config.files import MAX_FILE_BYTES, Found, check_trust
from mcpctld.config.load import load_folder
from mcpctld.errors import UserError
from mcpctld.model import ServerSpec, Settings

GOOD = 'url = "https://mcp.example/mcp"\n'


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "servers").mkdir(mode=0o700)
    return tmp_path


def write(folder, name, text, mode=0o600):
    path = folder / "servers" / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(mode)
    return path


def only_error(folder):
    loaded = load_folder(str(folder))
    assert loaded.servers == {}
    (error,) = loaded.errors
    return error


def test_an_absent_folder_holds_no_servers_and_the_default_settings(tmp_path):
    loaded = load_folder(str(tmp_path / "none"))
    assert (loaded.servers, loaded.settings, loaded.errors) == ({}, Settings(), [])
    assert loaded.complete


def test_a_file_holds_exactly_the_specification(folder):
    text = (
        'url = "https://mcp.example/mcp"\ntransport = "streamable-http"\ninstance = "abc123"\n'
        'connect_timeout_s = 5\n[headers]\nAuthorization = "Bearer ${secret:token}"\n'
    )
    path = write(folder, "slack.toml", text)
    loaded = load_folder(str(folder))
    assert loaded.errors == []
    server = loaded.servers["slack"]
    assert (server.name, server.file, server.kind) == ("slack", str(path), "http")
    assert server.spec == ServerSpec(
        url="https://mcp.example/mcp",
        transport="streamable-http",
        instance="abc123",
        connect_timeout_s=5.0,
        headers={"Authorization": "Bearer ${secret:token}"},
    )


def test_a_byte_order_mark_and_a_symbolic_link_are_fine(folder, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"\xef\xbb\xbf" + GOOD.encode())
    (folder / "servers" / "linked.toml").symlink_to(elsewhere)
    assert list(load_folder(str(folder)).servers) == ["linked"]


def test_other_files_are_passed_over(folder):
    for name in ("README", ".slack.toml", ".#slack.toml", "slack.toml~", "slack.toml.new"):
        write(folder, name, "broken [")
    loaded = load_folder(str(folder))
    assert (loaded.servers, loaded.errors) == ({}, [])


@pytest.mark.parametrize("name", ["a b", "-a", "a" * 65, "ü", "_a", "a\n"])
def test_a_file_name_that_is_no_server_name_is_an_error(folder, name):
    write(folder, f"{name}.toml", GOOD)
    assert "rename the file" in only_error(folder)["message"]


def test_a_file_name_that_is_not_utf8_can_still_be_told(folder):
    with open(os.fsencode(folder) + b"/servers/\xff.toml", "wb") as file:
        file.write(GOOD.encode())
    assert b"\\\\xff.toml" in msgspec.json.encode(only_error(folder))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("url = [\n", "it is not TOML: "),
        ('url = "https://a"\nurl = "https://b"\n', "line 2"),
        ("a = " + "[" * 5000, "it is not TOML: it is nested too deeply"),
        ("a = " + "9" * 5000, "it is not TOML"),
        (b'url = "\xff"', "byte 8 is not UTF-8"),
        (b"\0\0\0", "line 1, column 1"),
        ('ulr = "https://a"\n', "unknown field 'ulr'; did you mean 'url'?"),
        ('command = ["/bin/echo"]\nargs = ["x"]\n', "did you mean 'command'?"),
        ("zzzzz = 1\n", "the fields are url, transport, headers"),
        ("url = 3\n", "url: expected str | null, got int"),
        ('url = "https://a"\ntransport = "ws"\n', "transport: invalid enum value 'ws'"),
        ('url = "https://a"\nera = "2025-11-25"\n', "era: invalid enum value '2025-11-25'"),
        ('url = "https://a"\nheaders = { A = 1 }\n', "headers (a value in it): expected str"),
        ('command = ["/bin/echo", 1]\n', "command[1]: expected str, got int"),
        ("url = 2020-01-01\n", "url: expected"),
        ('url = "https://a"\ncall_timeout_s = ' + "9" * 400, "call_timeout_s"),
        ("", "exactly one of url"),
    ],
)
def test_contents_that_cannot_be_used_are_one_clear_error(folder, text, words):
    path = write(folder, "x.toml", text)
    error = only_error(folder)
    assert error["file"] == str(path)
    assert words in error["message"]
    assert "\n" not in error["message"]


def test_a_fifo_does_not_block(folder):
    os.mkfifo(folder / "servers" / "x.toml")
    assert only_error(folder)["message"] == "it is not a regular file"


def test_a_folder_in_place_of_a_file_is_an_error(folder):
    (folder / "servers" / "x.toml").mkdir()
    assert only_error(folder)["message"] == "it is not a regular file"


def test_a_link_to_nothing_and_a_circle_of_links_are_errors(folder):
    (folder / "servers" / "a.toml").symlink_to(folder / "nothing")
    (folder / "servers" / "b.toml").symlink_to(folder / "servers" / "b.toml")
    first, second = load_folder(str(folder)).errors
    assert first["message"] == "it is a symbolic link to nothing"
    assert second["message"].startswith("it cannot be opened: ")


def test_a_file_that_goes_away_while_the_folder_is_read_was_never_there(folder, monkeypatch):
    write(folder, "x.toml", GOOD)
    real = os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: [*real(path), "gone.toml"])
    loaded = load_folder(str(folder))
    assert (list(loaded.servers), loaded.errors) == (["x"], [])


def test_a_huge_file_is_not_read(folder):
    path = write(folder, "x.toml", "")
    os.truncate(path, 100 * 1024 * 1024)
    assert only_error(folder)["message"] == "it is larger than 1024 KiB"
    os.truncate(path, MAX_FILE_BYTES)
    assert "not TOML" in only_error(folder)["message"]


def test_a_file_in_place_of_the_folder_is_an_error_and_says_nothing_about_servers(tmp_path):
    (tmp_path / "servers").write_text("")
    loaded = load_folder(str(tmp_path))
    assert not loaded.complete
    assert "cannot be listed" in loaded.errors[0]["message"]


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
@pytest.mark.parametrize(
    "text",
    ['command = ["/bin/echo"]\n', GOOD + 'headers = { Authorization = "${secret:token}" }\n'],
)
def test_a_command_or_secret_in_a_file_that_others_can_write_is_refused(folder, mode, text):
    path = write(folder, "x.toml", text, mode)
    assert f"chmod go-w {path}" in only_error(folder)["message"]


def test_a_command_in_a_folder_that_others_can_write_is_refused(folder):
    write(folder, "x.toml", 'command = ["/bin/echo"]\n')
    (folder / "servers").chmod(0o770)
    assert "chmod go-w" in only_error(folder)["message"]


def test_a_url_alone_may_stand_in_a_file_that_others_can_write(folder):
    write(folder, "x.toml", GOOD, 0o666)
    assert list(load_folder(str(folder)).servers) == ["x"]


def test_a_file_of_another_user_is_refused_and_one_of_root_is_not(folder):
    path = str(folder / "servers" / "x.toml")
    with pytest.raises(UserError, match="belongs to user 4242"):
        check_trust(Found(b"", 0o600, 4242), path)
    check_trust(Found(b"", 0o644, 0), path)
    with pytest.raises(UserError, match="cannot be examined"):
        check_trust(Found(b"", 0o600, 0), str(folder / "gone" / "x.toml"))


def test_settings_are_read_and_their_slips_named(folder):
    settings = folder / "config.toml"
    settings.write_text('log_level = "debug"\nmax_sessions = 3\n')
    loaded = load_folder(str(folder))
    assert loaded.settings == Settings(log_level="debug", max_sessions=3)
    settings.write_text("max_session = 3\n")
    loaded = load_folder(str(folder))
    assert loaded.settings is None
    assert loaded.errors == [
        {
            "file": str(settings),
            "message": "unknown field 'max_session'; did you mean 'max_sessions'?",
        }
    ]
    settings.write_text("max_sessions = 0\n")
    assert "1 or more" in load_folder(str(folder)).errors[0]["message"]


VALUES = st.sampled_from(
    ['"x"', "1", "-1.5", "inf", "true", "[]", '["/a"]', "{}", '{a="b"}', '"https://a"', "'''"]
)
FIELDS = st.sampled_from([*ServerSpec.__struct_fields__, "x", "[headers]"])


@given(st.lists(st.tuples(FIELDS, VALUES)), st.binary(max_size=50))
def test_nothing_in_a_file_makes_loading_raise(tmp_path_factory, lines, tail):
    folder = tmp_path_factory.mktemp("any")
    (folder / "servers").mkdir()
    text = "".join(f"{field} = {value}\n" for field, value in lines).encode()
    write(folder, "x.toml", text + tail)
    loaded = load_folder(str(folder))
    assert ("x" in loaded.servers) != ("x" in loaded.broken)
    msgspec.json.encode(loaded.errors)
