"""What a launch writes down."""

import os
import stat

import pytest

from mcpctld.errors import UserError
from mcpctld.launch.carry_out import digest_of, open_record, without_secrets
from mcpctld.launch.journal import MOST_VERSIONS, Journal, Record
from mcpctld.launch.requests import LaunchRequest, SecretsRequest, read_request
from mcpctld.launch.resolve import resolve
from mcpctld.launch.wish import Wish

WISH = Wish(command="uvx mcp-server-time", server="time", secrets={"KEY": "s3cr3t"})


def record(**more) -> Record:
    return Record(server="time", launch_id="a1", digest="d", app="time", at="local", **more)


def test_what_is_written_is_read_and_private(tmp_path):
    journal = Journal(str(tmp_path))
    assert journal.read("time") is None
    written = record(machine_id="m1", app_state="made", pending="update")
    journal.write(written)
    assert journal.read("time") == written
    assert stat.S_IMODE(os.stat(tmp_path / "launch" / "time.json").st_mode) == 0o600
    assert os.listdir(tmp_path / "launch") == ["time.json"]
    journal.remove("time")
    journal.remove("time")
    assert journal.read("time") is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"server": "time"}', b"\xff"])
def test_a_damaged_record_is_named(tmp_path, content):
    journal = Journal(str(tmp_path))
    journal.write(record())
    file = tmp_path / "launch" / "time.json"
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"time\.json"):
        journal.read("time")


@pytest.mark.parametrize("name", ["../x", "", "a/b", "."])
def test_a_name_cannot_leave_the_folder(tmp_path, name):
    with pytest.raises(UserError):
        Journal(str(tmp_path)).read(name)


def test_the_newest_versions_are_kept_each_once():
    kept = record()
    for number in [*range(10), 8]:
        kept.keep(f"v{number}", {"image": str(number)})
    assert [version.version for version in kept.versions] == ["v5", "v6", "v7", "v9", "v8"]
    assert len(kept.versions) == MOST_VERSIONS


def test_a_record_knows_its_wish_and_none_of_its_secrets(tmp_path):
    journal = Journal(str(tmp_path))
    made = open_record(journal, WISH, resolve(WISH), bytes)
    journal.write(made)
    text = (tmp_path / "launch" / "time.json").read_text()
    assert "s3cr3t" not in text
    assert "mcp-server-time" in text
    assert without_secrets(WISH)["secrets"] == {"KEY": ""}
    user = Wish(command="uvx x", user="joe", password="hunter2")
    assert "hunter2" not in str(without_secrets(user))


def test_other_values_of_secrets_are_the_same_wish_and_other_settings_are_not():
    def digest(**more) -> str:
        given = {"command": "uvx mcp-server-time", "server": "time", "secrets": {"KEY": "1"}}
        return digest_of(resolve(Wish(**{**given, **more})))

    assert digest() == digest(secrets={"KEY": "2"})
    others = [digest(), digest(secrets={"OTHER": "1"}), digest(env={"A": "b"}), digest(vm_memory="512"),
              digest(command="uvx other"), digest(flycast=True), digest(volume="data:/data")]  # fmt: skip
    assert len(set(others)) == len(others)


def test_requests_do_not_show_their_secrets():
    request = read_request(b'{"server": "time", "set": {"A": "s3cr3t"}}', SecretsRequest)
    assert request.set == {"A": "s3cr3t"}
    assert "s3cr3t" not in repr(request)
    with pytest.raises(UserError) as caught:
        read_request(b'{"wish": {"secrets": {"A": ["s3cr3t"]}}}', LaunchRequest)
    assert "s3cr3t" not in str(caught.value)
