"""`mcpctld.clients`: what a look at a file means, by tables; no watcher, no daemon."""

import json

import pytest

from mcpctl.clients import Client, Machine, Place, clients
from mcpctld.clients import looking
from mcpctld.clients.looking import look_at
from mcpctld.clients.places import MOST_PROJECTS, project_files, user_files
from mcpctld.clients.seen import Seen
from mcpctld.clients.watched import GONE, Look, Watched

OURS = {"command": "mcpctl", "args": ["attach", "notes"]}
OTHER = {"command": "x", "env": {"TOKEN": "5d41402abc4b2a76"}}


def client(name="one", **how):
    return Client(name, name.title(), lambda _: (), lambda _: (), "restart it", **how)


WIPER = {"wipes": True, "processes": ("no-such-process",)}


@pytest.fixture
def watched(tmp_path):
    """A file of one client; `how` is the client's, `place` the place's."""

    def made(place=None, **how):
        path = str(tmp_path / "f.json")
        return Watched(path, ((client(**how), Place(path, **(place or {}))),))

    return made


def see(watched, text, *, running=False, now=0.0):
    """Write the file (None: delete it), look, judge and accept: the verdict."""
    with open(watched.path, "w") as file:
        file.write(text if isinstance(text, str) else json.dumps({"mcpServers": text}))
    look, _ = look_at(watched)
    return accept(watched, look, running=running, now=now)


def accept(watched, look, *, running=False, now=0.0):
    verdict = watched.judge(look, running=running, now=now)
    if verdict.judgement.verdict in ("changed", "wiped"):
        watched.accept(look, verdict)
    return verdict


def test_a_file_that_never_was_there_is_not_shown(watched):
    file = watched()
    look, _ = look_at(file)
    assert look.is_missing
    accept(file, Look(GONE, {}))
    assert file.shown() is None
    assert not file.was_there


def test_what_a_file_says_is_shown_without_its_secrets(watched):
    file = watched()
    see(file, {"a": OTHER, "n": OURS})
    shown = file.shown()
    assert shown["servers"] == [{"name": "a", "server": None}, {"name": "n", "server": "notes"}]
    assert (shown["state"], shown["problem"], shown["clients"], shown["scope"]) == (
        "read", None, ["one"], "user",
    )  # fmt: skip
    assert "5d41402abc4b2a76" not in repr(shown) + repr(file.known) + repr(vars(file))


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({"env": {"TOKEN": "another"}}, "changed"),
        ({"command": "y"}, "changed"),
        ({"timeout": 3}, ""),
        ({"disabled": True}, ""),
    ],
)
def test_a_server_has_changed_when_it_is_reached_in_another_way(watched, change, verdict):
    file = watched()
    see(file, {"a": OTHER})
    told = see(file, {"a": {**OTHER, **change}}).judgement
    assert told.changed == (("mcpServers\0a",) if verdict else ())


@pytest.mark.parametrize(
    "text", ["", " \n", "{", '{"mcpServers": {"a": {"comm', '{"a": 1} x', "\xff"]
)
def test_a_file_that_is_not_whole_removes_nothing(watched, text):
    file = watched(**WIPER)
    see(file, {"a": OTHER, "n": OURS})
    assert see(file, text, running=True).judgement.verdict == "unsure"
    assert file.named() == {"notes"}
    assert file.report("it is broken")
    assert not file.report("it is broken")
    assert file.shown()["state"] == "unreadable"
    assert see(file, {"a": OTHER, "n": OURS}).judgement.verdict == "same"
    assert file.recover()
    assert not file.recover()
    assert file.shown()["state"] == "read"


def test_an_empty_file_that_never_said_anything_is_whole(watched):
    file = watched()
    assert see(file, "").judgement.verdict == "changed"
    assert file.shown()["servers"] == []


def test_a_file_that_has_gone_names_nothing(watched):
    file = watched(**WIPER)
    accept(file, Look(GONE, {}))
    see(file, {"n": OURS})
    told = accept(file, Look(GONE, {}), running=True)
    assert told.judgement.verdict == "changed"
    assert told.judgement.removed == ("mcpServers\0n",)
    assert (file.named(), file.shown()["state"]) == (frozenset(), "gone")


@pytest.mark.parametrize(
    ("place", "named"),
    [
        ({}, {"notes"}),
        ({"why_not": "another file is better"}, {"notes"}),
        ({"scope": "system"}, {"notes"}),
        ({"scope": "project"}, set()),
        ({"unread": True, "why_not": "nobody reads it"}, set()),
    ],
)
def test_which_files_name_servers(watched, place, named):
    file = watched(place=place)
    see(file, {"a": OTHER, "n": OURS})
    assert file.named() == named


def test_what_was_wiped_is_kept_as_it_was_written(watched):
    file = watched(**WIPER)
    memory = {"a": OTHER}
    see(file, memory)
    written = '{"args": ["attach", "notes"],  "command": "mcpctl"}'
    see(file, f'{{"mcpServers": {{"a": {json.dumps(OTHER)}, "n": {written}}}}}')
    told = see(file, memory, running=True)
    assert [(entry.name, entry.text) for entry in told.lost] == [("n", written)]
    file.count_put_back(1)
    assert file.shown()["put_back"] == 1


def test_a_put_back_that_was_refused_does_not_count(watched):
    file = watched(**WIPER)
    for round_ in range(6):
        see(file, {})
        see(file, {"n": OURS})
        told = see(file, {}, running=True, now=float(round_))
        assert told.lost
        file.count_put_back(0)
    assert file.shown()["put_back"] == 0


def test_the_fourth_time_within_an_hour_is_told(watched):
    file = watched(**WIPER)
    see(file, {})
    for round_ in range(4):
        see(file, {"n": OURS})
        told = see(file, {}, running=True, now=float(round_))
        assert bool(told.lost) == (round_ < 3)
        if told.lost:
            file.count_put_back(1)
    assert "loses n again and again: One" in file.shown()["problem"]


def test_a_large_file_is_read_by_a_process_of_its_own(watched):
    file = watched(**WIPER)
    file.owners = ((clients()["gemini"], file.owners[0][1]),)
    large = {"filler": "x" * looking.LARGE, "mcpServers": {"a": OTHER, "n": OURS}}
    see(file, json.dumps(large))
    look, _ = look_at(file)
    assert look == Look(look.digest, is_large=True)
    assert file.named() == {"notes"}
    small = watched(**WIPER)
    see(small, {"a": OTHER, "n": OURS})
    assert [one.digest for one in small._entries.values()] == [
        one.digest for one in file._entries.values()
    ]
    del large["mcpServers"]["n"]
    see(file, json.dumps(large))
    assert file.named() == frozenset()
    told = see(file, json.dumps(large)[:-2])
    assert told.judgement.verdict == "unsure"


def test_a_process_that_fails_is_a_file_that_cannot_be_read(watched, monkeypatch):
    file = watched()
    monkeypatch.setattr(looking, "LARGE", 0)
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    see(file, {"a": OTHER})
    look, _ = look_at(file)
    assert not file.is_whole(look)
    assert "failed" in look.problem


def test_equal_bytes_are_not_read_again(watched, monkeypatch):
    file = watched()
    see(file, {"a": OTHER})
    monkeypatch.setattr(looking, "understand", None)
    look, _ = look_at(file)
    assert accept(file, look).judgement.verdict == "same"


def test_a_comment_that_the_client_cannot_read_is_a_problem(watched):
    file = watched(strict=True)
    see(file, '{"mcpServers": {"a": {"command": "x"}}} // mine')
    assert (file.shown()["state"], "comments" in file.shown()["problem"]) == ("read", True)


def test_the_text_of_a_file_is_not_kept(watched):
    from mcpctl.editing.json_layout import parse

    see(watched(), {"a": OTHER})
    assert parse.cache_info().currsize == 0


def test_the_files_of_a_user_and_those_of_projects():
    found = user_files(Machine("linux", "/home/ann", {}))
    assert [place.section for _, place in found["/home/ann/.claude.json"]] == [
        ("mcpServers",), ("projects", "*", "mcpServers"),
    ]  # fmt: skip
    assert {client.name for owners in found.values() for client, _ in owners} == set(clients())
    project = project_files(["/p", "relative", "/p", "/"])
    assert {"/p/.mcp.json", "/p/.vscode/mcp.json", "/.mcp.json"} <= project.keys()
    assert len(project["/p/.vscode/mcp.json"]) > 1
    assert all(place.scope == "project" for owners in project.values() for _, place in owners)
    many = project_files(f"/{number}" for number in range(100))
    assert sum(path.endswith("/.mcp.json") for path in many) == MOST_PROJECTS
    assert "/99/.mcp.json" in many


def test_whoever_wants_to_know_is_told_which_servers_are_named():
    seen, told = Seen(), []
    seen.on_named(told.append)
    assert told == []
    for names in ({"a"}, {"a"}, {"a", "b"}, set()):
        seen.name(frozenset(names))
    assert told == [{"a"}, {"a", "b"}, frozenset()]
    seen.on_named(told.append)
    assert told[-1] == frozenset()
