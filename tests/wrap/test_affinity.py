"""Ids that name a machine, and cannot be forged."""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpctld.wrap.affinity import HERE, Affinity, Replay, replay_headers

SECRET = b"a secret in common"


def affinity(machine: str = "m1", secret: bytes = SECRET, *, replays: bool = True) -> Affinity:
    return Affinity(machine, secret, os.urandom, replays=replays)


def test_an_id_names_its_machine_and_is_used_once():
    made = [affinity().new_id() for _ in range(100)]
    assert len(set(made)) == 100
    for id in made:
        assert id.split(".")[0] == "m1"
        assert all(0x21 <= ord(char) <= 0x7E for char in id)  # visible ASCII (MCP, Transports)


def test_machines_with_the_same_secret_know_each_others_ids():
    one, other = affinity("m1"), affinity("m2")
    assert one.owner(other.new_id()) == Replay("m2")
    assert other.owner(one.new_id()) == Replay("m1")


def test_our_own_ids_stay_here():
    one = affinity()
    assert one.owner(one.new_id()) is None


@pytest.mark.parametrize("secret", [b"", b"another secret"])
def test_machines_without_a_secret_in_common_replay_nothing(secret: bytes):
    assert affinity("m1", secret).owner(affinity("m2", secret and SECRET).new_id()) is None


def test_a_machine_without_a_secret_makes_one_up():
    first, second = affinity("m1", b""), affinity("m1", b"")
    named = first.new_id().rpartition(".")[0]
    assert first._sign(named) == first._sign(named)
    assert first._sign(named) != second._sign(named)


@pytest.mark.parametrize(
    "change",
    [
        lambda id: id.replace("m2", "m3"),
        lambda id: id.replace("m2", "M2"),
        lambda id: "m3." + id,
        lambda id: id[:-1] + ("A" if id[-1] != "A" else "B"),
        lambda id: id[:-1],
        lambda id: id + "=",
        lambda id: id.rpartition(".")[0] + ".",
        lambda id: id.rpartition(".")[0],
        lambda id: id + "\u00e9",
        lambda id: id + "\ud800",
        lambda id: "m2;instance=evil." + id.partition(".")[2],
    ],
)
def test_a_forged_id_is_nobodys(change):
    assert affinity("m1").owner(change(affinity("m2").new_id())) is None


@settings(deadline=None, derandomize=True)
@given(st.text(max_size=80))
def test_no_text_is_anybodys(text: str):
    assert affinity().owner(text) is None


@pytest.mark.parametrize(
    "ours", [affinity("m1", replays=False), affinity("")], ids=["replay is off", "not on Fly"]
)
def test_nothing_is_replayed_where_there_is_no_replay(ours: Affinity):
    assert ours.owner(affinity("m2").new_id()) is None


def test_a_machine_without_a_name_has_ids_too():
    assert affinity("").new_id().startswith(f"{HERE}.")


def test_neither_secret_nor_key_is_shown():
    shown = repr(affinity())
    assert "m1" in shown
    assert "secret" not in shown


def test_a_replay_comes_back_when_the_machine_is_gone():
    ((name, value),) = replay_headers("m2")
    assert name == "fly-replay"
    assert dict(part.split("=") for part in value.split(";")) == {
        "instance": "m2",
        "timeout": "10s",
        "fallback": "force_self",
    }
