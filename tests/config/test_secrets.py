"""Secrets: stored privately, found again, never shown."""

import json
import os
import resource
import threading
import time
import traceback

import keyring
import keyring.backend
import keyring.backends.chainer
import keyring.backends.fail
import keyring.backends.null
import keyring.errors
import pytest
import trio

from mcpctld.config import secretstore, vaults
from mcpctld.config.secrets import (
    FilledSpec,
    SecretStore,
    fill,
    missing_secrets,
    secret_names,
)
from mcpctld.errors import Denied, TimedOut, Unreachable, UserError
from mcpctld.model import Server, ServerSpec

VALUE = "hunter2-very-secret"


class MemoryKeyring(keyring.backend.KeyringBackend):
    """A keyring in memory, which counts its calls and fails on demand."""

    priority = 1

    def __init__(self):
        super().__init__()
        self.held, self.calls, self.failure = {}, 0, None

    def _called(self):
        self.calls += 1
        if self.failure:
            raise self.failure

    def get_password(self, service, username):
        self._called()
        return self.held.get((service, username))

    def set_password(self, service, username, password):
        self._called()
        self.held[service, username] = password

    def delete_password(self, service, username):
        self._called()
        del self.held[service, username]


@pytest.fixture
def login_keyring():
    """Makes its argument the keyring of this login."""
    before = keyring.get_keyring()
    yield keyring.set_keyring
    keyring.set_keyring(before)


@pytest.fixture
def memory(login_keyring):
    backend = MemoryKeyring()
    login_keyring(backend)
    return backend


@pytest.fixture
def store(tmp_path):
    """A store in a private file."""
    return SecretStore(str(tmp_path / "state"), "file")


def web(**headers):
    return Server(name="web", spec=ServerSpec(url="https://a", headers=headers), file="web.toml")


def secret_file(tmp_path):
    return tmp_path / "state" / "secrets.json"


# ---------------------------------------------------------------- the file


async def test_a_secret_is_found_again_by_the_next_daemon(store, tmp_path):
    await store.set("web", "token", VALUE)
    again = SecretStore(str(tmp_path / "state"), "file")
    assert again.known("web") == []
    await again.open()
    assert again.known("web") == ["token"]
    assert await again.get("web", "token") == VALUE
    assert await again.get("web", "other") is None
    assert await again.get("other", "token") is None


async def test_the_file_and_its_folder_are_private(store, tmp_path):
    await store.set("web", "token", VALUE)
    assert secret_file(tmp_path).stat().st_mode & 0o777 == 0o600
    assert secret_file(tmp_path).parent.stat().st_mode & 0o777 == 0o700
    assert json.loads(secret_file(tmp_path).read_text()) == {"web": {"token": VALUE}}


async def test_names_are_sorted_and_deleting_forgets_them(store):
    for key in ("b", "a"):
        await store.set("web", key, VALUE)
    await store.set("other", "a", VALUE)
    assert await store.names("web") == ["a", "b"]
    await store.delete("web", "b")
    assert await store.names("web") == ["a"]
    await store.delete("web")
    await store.delete("web")
    assert await store.names("web") == []
    assert await store.get("web", "a") is None
    assert await store.get("other", "a") == VALUE


async def test_a_new_value_replaces_the_one_in_memory(store):
    await store.set("web", "token", "old")
    assert await store.get("web", "token") == "old"
    await store.set("web", "token", "new")
    assert await store.get("web", "token") == "new"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
async def test_a_file_that_others_can_get_at_is_not_used(store, tmp_path, mode):
    await store.set("web", "token", VALUE)
    secret_file(tmp_path).chmod(mode)
    with pytest.raises(Denied, match=f"chmod 600 {secret_file(tmp_path)}"):
        await store.get("web", "token")
    with pytest.raises(Denied):
        await store.set("web", "token", "new")


async def test_a_file_of_another_user_is_not_used(store, tmp_path, monkeypatch):
    await store.set("web", "token", VALUE)
    owner = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: owner + 1)
    with pytest.raises(Denied, match=f"belongs to user {owner}, not to you"):
        await store.get("web", "token")


async def test_a_file_behind_a_link_is_not_used(store, tmp_path):
    await store.set("web", "token", VALUE)
    secret_file(tmp_path).rename(tmp_path / "elsewhere")
    secret_file(tmp_path).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="cannot be opened"):
        await store.get("web", "token")


@pytest.mark.parametrize("text", ["", "{", '{"web": {"token": 1}}', '["hunter2"]', "\0"])
async def test_a_damaged_file_is_neither_used_nor_overwritten_nor_quoted(
    store, tmp_path, text, caplog
):
    secret_file(tmp_path).parent.mkdir(mode=0o700)
    secret_file(tmp_path).write_text(text)
    secret_file(tmp_path).chmod(0o600)
    with pytest.raises(UserError, match="it is damaged") as caught:
        await store.set("web", "token", VALUE)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert secret_file(tmp_path).read_text() == text
    await store.open()
    assert "it is damaged" in caplog.records[-1].error


async def test_a_full_disk_is_told_and_leaves_the_old_secrets(store, tmp_path):
    await store.set("web", "token", "old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(UserError, match="cannot write"):
            await store.set("web", "token", "x" * 10_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert await store.get("web", "token") == "old"


@pytest.mark.parametrize("value", ["", "a\0b", "x" * 65537, "\ud800"])
async def test_a_value_that_cannot_be_used_is_refused_without_quoting_it(store, value):
    with pytest.raises(UserError, match="cannot store the secret web/token") as caught:
        await store.set("web", "token", value)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(("server", "key"), [("a/b", "c"), ("a", "b/c"), ("", "c"), ("a", "..")])
async def test_a_name_that_cannot_be_one_is_refused(store, server, key):
    with pytest.raises(UserError, match="as the name of a"):
        await store.set(server, key, VALUE)


def test_a_mode_that_does_not_exist_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("MCPCTL_SECRETS", "vault")
    with pytest.raises(UserError, match="write file or keyring"):
        SecretStore(str(tmp_path))


async def test_values_are_in_no_repr(store, memory, tmp_path):
    await store.set("web", "token", VALUE)
    await store.get("web", "token")
    filled = await fill(web(Authorization="Bearer ${secret:token}"), store)
    shown = [repr(store), repr(filled), str(filled), f"{filled}", repr(filled.__rich_repr__())]
    with_keyring = SecretStore(str(tmp_path / "other"), "keyring")
    await with_keyring.set("web", "token", VALUE)
    shown.append(repr(with_keyring))
    assert not [text for text in shown if VALUE in text]


# ---------------------------------------------------------------- the keyring


async def test_a_safe_keyring_is_preferred_and_its_names_are_kept_beside_it(memory, tmp_path):
    store = SecretStore(str(tmp_path), "auto")
    await store.set("web", "token", VALUE)
    assert memory.held == {("mcpctl", "web/token"): VALUE}
    assert not (tmp_path / "secrets.json").exists()
    assert VALUE not in (tmp_path / "secrets-index.json").read_text()
    again = SecretStore(str(tmp_path), "auto")
    assert await again.names("web") == ["token"]
    assert await again.get("web", "token") == VALUE
    await again.delete("web")
    assert memory.held == {}
    assert await again.names("web") == []


async def test_a_value_in_memory_costs_no_question_to_the_keyring(memory, tmp_path):
    store = SecretStore(str(tmp_path), "auto")
    await store.set("web", "token", VALUE)
    await store.get("web", "token")
    calls = memory.calls
    for _ in range(10):
        assert await store.get("web", "token") == VALUE
    assert memory.calls == calls


async def test_names_and_servers_without_secrets_ask_no_keyring(monkeypatch, tmp_path):
    monkeypatch.setattr(secretstore, "find_keyring", lambda: pytest.fail("it was asked"))
    store = SecretStore(str(tmp_path), "auto")
    await store.open()
    assert await store.names("web") == []
    assert await fill(web(A="b"), store) == FilledSpec(url="https://a", headers={"A": "b"})


async def test_a_secret_put_into_the_keyring_by_hand_is_found(memory, tmp_path):
    memory.held["mcpctl", "web/token"] = VALUE
    store = SecretStore(str(tmp_path), "auto")
    assert await store.get("web", "token") == VALUE


async def test_a_secret_moves_into_the_keyring_when_it_is_set_anew(memory, tmp_path):
    await SecretStore(str(tmp_path), "file").set("web", "token", "old")
    store = SecretStore(str(tmp_path), "auto")
    assert await store.get("web", "token") == "old"
    await store.set("web", "token", "new")
    assert await store.get("web", "token") == "new"
    assert json.loads((tmp_path / "secrets.json").read_text()) == {}


async def test_a_stale_value_in_the_keyring_does_not_hide_a_newer_one_in_the_file(memory, tmp_path):
    await SecretStore(str(tmp_path), "auto").set("web", "token", "old")
    await SecretStore(str(tmp_path), "file").set("web", "token", "new")
    assert await SecretStore(str(tmp_path), "auto").get("web", "token") == "new"


async def test_a_secret_in_a_keyring_that_is_gone_is_said_to_be_there(memory, tmp_path):
    await SecretStore(str(tmp_path), "auto").set("web", "token", VALUE)
    store = SecretStore(str(tmp_path), "file")
    with pytest.raises(Unreachable, match="it is in the keyring, which is not available"):
        await store.get("web", "token")
    with pytest.raises(Unreachable):
        await store.delete("web")


@pytest.mark.parametrize(
    ("failure", "kind", "words"),
    [
        (keyring.errors.KeyringLocked("no"), Denied, "the keyring is locked; unlock it"),
        (keyring.errors.InitError("no bus"), Unreachable, "InitError: no bus"),
        (keyring.errors.PasswordSetError("no"), Unreachable, "MCPCTL_SECRETS=file"),
        (OSError(5, "broken"), Unreachable, "the keyring failed"),
    ],
)
async def test_a_failing_keyring_is_explained(memory, tmp_path, failure, kind, words):
    store = SecretStore(str(tmp_path), "auto")
    await store.set("web", "token", VALUE)
    memory.failure = failure
    with pytest.raises(kind, match=words):
        await store.get("web", "token")
    with pytest.raises(kind, match=words):
        await store.set("web", "token", "new")
    with pytest.raises(kind, match=words):
        await store.delete("web", "token")
    memory.failure = None
    assert await store.get("web", "token") == VALUE


async def test_deleting_what_the_keyring_does_not_hold_or_not_let_go(memory, tmp_path, monkeypatch):
    def refuse(*_):
        raise keyring.errors.PasswordDeleteError("read only")

    store = SecretStore(str(tmp_path), "auto")
    await store.delete("web", "token")
    await store.set("web", "token", VALUE)
    monkeypatch.setattr(memory, "delete_password", refuse)
    with pytest.raises(Unreachable, match=r"cannot delete the secret web/token: .*read only"):
        await store.delete("web")
    assert await store.names("web") == ["token"]


async def test_a_keyring_that_quotes_the_value_in_its_error_is_not_quoted(memory, tmp_path):
    memory.failure = ValueError(f"cannot encode {VALUE}")
    with pytest.raises(Unreachable, match=r"the keyring failed \(ValueError\)") as caught:
        await SecretStore(str(tmp_path), "auto").set("web", "token", VALUE)
    assert VALUE not in "".join(traceback.format_exception(caught.value))


async def test_a_failed_set_lists_no_name(memory, tmp_path):
    memory.failure = keyring.errors.KeyringLocked()
    store = SecretStore(str(tmp_path), "auto")
    with pytest.raises(Denied):
        await store.set("web", "token", VALUE)
    assert await store.names("web") == []


async def test_a_keyring_that_never_answers_is_bounded(memory, tmp_path, monkeypatch):
    store = SecretStore(str(tmp_path), "auto")
    await store.set("web", "token", VALUE)
    released = threading.Event()
    monkeypatch.setattr(memory, "get_password", lambda *_: released.wait(10))
    monkeypatch.setattr(secretstore, "KEYRING_S", 0.05)
    try:
        with trio.fail_after(5), pytest.raises(TimedOut, match="no answer within"):
            await store.get("web", "token")
    finally:
        released.set()


async def test_a_keyring_that_hangs_while_it_is_looked_for_counts_as_none(
    tmp_path, monkeypatch, caplog
):
    released = threading.Event()
    monkeypatch.setattr(secretstore, "find_keyring", lambda: released.wait(10))
    monkeypatch.setattr(secretstore, "PROBE_S", 0.05)
    store = SecretStore(str(tmp_path), "auto")
    try:
        with trio.fail_after(5):
            await store.set("web", "token", VALUE)
    finally:
        released.set()
    assert (tmp_path / "secrets.json").exists()
    assert caplog.records[-1].message == "secrets.no_keyring"


class PlaintextKeyring(MemoryKeyring):
    """Stands for the ones that store in clear."""


PlaintextKeyring.__module__ = "keyrings.alt.file"


@pytest.mark.parametrize(
    "backend",
    [keyring.backends.fail.Keyring(), keyring.backends.null.Keyring(), PlaintextKeyring()],
)
async def test_a_keyring_that_is_not_safe_is_not_used(login_keyring, tmp_path, backend):
    login_keyring(backend)
    store = SecretStore(str(tmp_path / "auto"), "auto")
    await store.set("web", "token", VALUE)
    assert (tmp_path / "auto" / "secrets.json").exists()
    forced = SecretStore(str(tmp_path / "forced"), "keyring")
    with pytest.raises(Unreachable, match="none that stores safely"):
        await forced.set("web", "token", VALUE)
    with pytest.raises(Unreachable, match="none that stores safely"):
        await forced.get("web", "token")
    assert not (tmp_path / "forced").exists()


def test_of_several_keyrings_the_first_safe_one_is_taken(login_keyring, monkeypatch):
    chainer, memory = keyring.backends.chainer.ChainerBackend, MemoryKeyring()
    monkeypatch.setattr(chainer, "backends", [PlaintextKeyring(), memory])
    login_keyring(chainer())
    found = vaults.find_keyring()
    found.set("web", "token", VALUE)
    assert memory.held == {("mcpctl", "web/token"): VALUE}


def test_a_keyring_that_cannot_be_looked_for_is_none(monkeypatch, caplog):
    def broken():
        raise keyring.errors.InitError("no bus")

    monkeypatch.setattr(keyring, "get_keyring", broken)
    assert vaults.find_keyring() is None
    assert caplog.records[-1].error == "InitError: no bus"


# ---------------------------------------------------------------- filling in


async def test_references_in_headers_and_env_are_filled_in(store):
    await store.set("web", "user", "ann")
    await store.set("web", "pass", "p\nq")
    spec = ServerSpec(
        command=["/bin/echo"], env={"A": "${secret:user}:${secret:pass}", "B": "$${x}"}, cwd="/"
    )
    filled = await fill(Server(name="web", spec=spec), store)
    assert isinstance(filled, ServerSpec)
    assert filled.env == {"A": "ann:p\nq", "B": "${x}"}
    assert (filled.command, filled.cwd) == (["/bin/echo"], "/")
    assert spec.env["A"] == "${secret:user}:${secret:pass}"
    filled = await fill(web(Authorization="Basic ${secret:user}"), store)
    assert filled.headers == {"Authorization": "Basic ann"}


async def test_missing_secrets_are_named_with_the_command_to_set_them(store):
    server = web(A="${secret:one} ${secret:two}", B="${secret:three}")
    await store.set("web", "two", VALUE)
    assert secret_names(server.spec) == ["one", "two", "three"]
    assert missing_secrets(server, store) == ["one", "three"]
    with pytest.raises(Denied) as caught:
        await fill(server, store)
    assert str(caught.value) == (
        "cannot open a session with web: it refers to secrets that are not stored (one, three); "
        "run: mcpctl secret set web one; mcpctl secret set web three"
    )


@pytest.mark.parametrize("value", ["a\r\nEvil: b", "a\n", "\N{EURO SIGN}", "a\x7f"])
async def test_a_secret_that_no_header_can_carry_is_refused_without_quoting_it(store, value):
    await store.set("web", "token", value)
    with pytest.raises(UserError, match="cannot send the header A to web") as caught:
        await fill(web(A="${secret:token}"), store)
    assert value not in str(caught.value)


async def test_filling_in_from_memory_is_cheap(store):
    await store.set("web", "token", VALUE)
    server = web(Authorization="Bearer ${secret:token}")
    await fill(server, store)
    best = float("inf")
    for _ in range(20):
        start = time.perf_counter()
        for _ in range(50):
            await fill(server, store)
        best = min(best, (time.perf_counter() - start) / 50)
    assert best < 100e-6  # 9 us on a quiet machine; a thread or D-Bus would cost far more
