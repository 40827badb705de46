"""`mcpctl conformance` with stand-ins for npm and Node.js; the real ones are in `make conformance`."""

import json
import os
import socket
import sys
from pathlib import Path

import pytest

from mcpctl import conformance_suite, wire

CHECKS = {
    "ping": [{"id": "ping", "status": "SUCCESS"}],
    "tools-list": [
        {"id": "tools-list", "status": "SUCCESS"},
        {"id": "order", "status": "WARNING", "errorMessage": "the order changes"},
        {"id": "shape", "status": "FAILURE", "errorMessage": "no inputSchema"},
        {"id": "said", "status": "INFO", "description": "an event"},
    ],
    "hints": [{"id": "ttl", "status": "WARNING", "description": "no ttlMs"}],
}

NODE = """#!{python}
import json, os, sys
if sys.argv[1:] == ["--version"]:
    print("{version}")
    sys.exit()
with open("{asked}", "a") as asked:
    asked.write(json.dumps(sys.argv[1:]) + "\\n")
values = dict(zip(sys.argv, sys.argv[1:]))
checks = json.loads('''{checks}''')
wanted = [name for name in checks if values.get("--scenario", name) == name]
if not wanted:
    print("Unknown scenario")
for number, name in enumerate(wanted):
    print(f"=== Running scenario: {{name}} ===", flush=True)
    folder = f"{{values['--output-dir']}}/server-{{name}}-2026-11-20T18-00-0{{number}}-000Z"
    os.mkdir(folder)
    with open(folder + "/checks.json", "w") as file:
        json.dump(checks[name], file)
"""

NPM = """#!{python}
import json, os, sys
with open("{asked}", "a") as asked:
    asked.write(json.dumps(sys.argv[1:]) + "\\n")
print("progress of npm")
assert os.path.exists("package-lock.json")
os.makedirs("node_modules/@modelcontextprotocol/conformance/dist")
sys.exit({code})
"""


class Programs:
    """A PATH with nothing in it but what a test puts there."""

    def __init__(self, folder, monkeypatch):
        self.folder = folder / "bin"
        self.folder.mkdir()
        monkeypatch.setenv("PATH", str(self.folder))

    def put(self, name, text, **values):
        asked = self.folder / f"{name}.asked"
        script = text.format(
            python=sys.executable, asked=asked, checks=json.dumps(CHECKS), **values
        )
        (self.folder / name).write_text(script)
        (self.folder / name).chmod(0o755)

    def asked(self, name):
        """The arguments of each run of a program."""
        file = self.folder / f"{name}.asked"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


@pytest.fixture
def programs(places, monkeypatch):
    """npm, and a Node.js that is new enough."""
    made = Programs(places, monkeypatch)
    made.put("node", NODE, version="v22.20.0")
    made.put("npm", NPM, code=0)
    return made


@pytest.fixture
def url():
    """A server that accepts connections."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"


def servers_file(name, text):
    folder = Path(wire.config_dir(), "servers")
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.toml").write_text(text)


def test_it_prints_each_scenario_with_its_first_problem_and_exits_with_1(programs, url, run):
    code, out, err = run("conformance", url)
    lines = out.splitlines()
    assert code == 1
    assert lines[0].split() == ["SCENARIO", "PASSED", "FAILED", "FIRST", "PROBLEM"]
    assert [line.split(maxsplit=3) for line in lines[1:4]] == [
        ["ping", "1", "0"],
        ["tools-list", "1", "1", "no inputSchema"],
        ["hints", "0", "0", "warning: no ttlMs"],
    ]
    assert lines[4] == "3 scenarios, 1 of them with failed checks"
    assert [line for line in err.splitlines() if line.startswith("mcpctl: ")][-3:] == [
        "mcpctl: ping",
        "mcpctl: tools-list",
        "mcpctl: hints",
    ]


def test_as_json(programs, url, run):
    code, out, _ = run("conformance", url, "--json", "--spec-version", "2026-07-28")
    document = json.loads(out)
    assert code == 1
    assert document["suite"] == conformance_suite.version()
    assert (document["url"], document["spec_version"]) == (url, "2026-07-28")
    assert document["scenarios"][1] == {
        "scenario": "tools-list",
        "passed": 1,
        "failed": 1,
        "problems": [
            {"check": "order", "status": "WARNING", "message": "the order changes"},
            {"check": "shape", "status": "FAILURE", "message": "no inputSchema"},
        ],
    }


def test_one_scenario_at_one_revision(programs, url, run):
    code, out, _ = run("conformance", url, "--scenario", "ping", "--spec-version", "2025-06-18")
    assert (code, out.splitlines()[-1]) == (0, "1 scenarios, 0 of them with failed checks")
    program, *rest = programs.asked("node")[0]
    assert program.startswith(wire.state_dir())
    assert rest[:-1] == [
        *("server", "--url", url, "--scenario", "ping"),
        *("--spec-version", "2025-06-18", "--output-dir"),
    ]


def test_a_warning_alone_is_no_failure(programs, url, run):
    assert run("conformance", url, "--scenario", "hints")[0] == 0


def test_a_scenario_that_the_suite_does_not_know(programs, url, run):
    code, out, err = run("conformance", url, "--scenario", "nonsense")
    assert (code, out) == (2, "")
    assert "the suite ran no scenario: Unknown scenario" in err


# ---------------------------------------------------------------- installing


def test_the_suite_is_installed_once_and_pinned(programs, url, run):
    run("conformance", url)
    run("conformance", url)
    assert programs.asked("npm") == [
        ["ci", "--ignore-scripts", "--omit=dev", "--no-audit", "--no-fund"]
    ]
    (folder,) = Path(wire.state_dir(), "conformance").iterdir()
    assert folder.name.startswith(conformance_suite.version())
    for name in ("package.json", "package-lock.json"):
        assert (folder / name).read_bytes() == (conformance_suite.FILES / name).read_bytes()


def test_it_works_without_npm_once_installed(programs, url, run):
    run("conformance", url)
    (programs.folder / "npm").unlink()
    assert run("conformance", url, "--scenario", "ping")[0] == 0


def test_a_former_version_is_removed(programs, url, run):
    old = Path(wire.state_dir(), "conformance", "0.1.0-00000000", "node_modules")
    old.mkdir(parents=True)
    run("conformance", url)
    assert not old.parent.exists()


def test_npm_that_fails_leaves_nothing_behind(programs, url, run):
    programs.put("npm", NPM, code=7)
    code, out, err = run("conformance", url)
    assert (code, out) == (6, "")
    assert "npm could not install the suite (exit code 7)" in err
    assert list(Path(wire.state_dir(), "conformance").iterdir()) == []


def test_what_npm_says_is_not_part_of_the_answer(programs, capfd):
    conformance_suite.installed()
    out, err = capfd.readouterr()
    assert out == ""
    assert "progress of npm" in err


def test_without_npm_it_says_how_to_get_it(programs, url, run):
    (programs.folder / "npm").unlink()
    code, _, err = run("conformance", url)
    assert code == 2
    assert "npm, which was not found" in err
    assert conformance_suite.GET_NODE in err


@pytest.mark.parametrize(
    ("version", "said"),
    [("v20.20.2", "is v20.20.2"), ("", "of an unknown version"), (None, "there is no 'node'")],
)
def test_without_a_node_that_is_new_enough_it_says_how_to_get_one(
    programs, url, run, version, said
):
    if version is None:
        (programs.folder / "node").unlink()
    else:
        programs.put("node", NODE, version=version)
    code, out, err = run("conformance", url)
    assert (code, out) == (2, "")
    assert "needs Node.js 22 or later" in err
    assert said in err
    assert conformance_suite.GET_NODE in err
    assert programs.asked("npm") == []


def test_the_pin_is_the_one_that_our_own_runs_use():
    ours = Path(__file__).parents[1] / "conformance" / "package.json"
    pinned = json.loads(ours.read_text())["dependencies"][conformance_suite.PACKAGE]
    assert pinned == conformance_suite.version()


def test_no_lock_file_names_where_a_package_was_downloaded():
    for folder in (conformance_suite.FILES, Path(__file__).parents[1] / "conformance"):
        assert '"resolved"' not in (folder / "package-lock.json").read_text()


# ---------------------------------------------------------------- which server


def test_a_server_by_its_name(programs, url, run):
    servers_file("plain", f'url = "{url}"\n')
    assert run("conformance", "plain", "--scenario", "ping")[0] == 0
    assert url in programs.asked("node")[0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('url = "http://x/mcp"\nheaders = {Authorization = "Bearer ${secret:t}"}', "headers"),
        ('url = "http://x/mcp"\ninstance = "m1"', "headers"),
        ('command = ["/bin/cat"]', "is a command"),
        ("url = ", "cannot read"),
    ],
)
def test_a_server_that_needs_more_than_its_url_is_refused(programs, run, text, said):
    servers_file("notes", text)
    code, out, err = run("conformance", "notes")
    assert (code, out) == (2, "")
    assert said in err
    assert programs.asked("npm") == []


def test_an_unknown_name(programs, run):
    code, _, err = run("conformance", "nobody")
    assert code == 4
    assert "there is no server 'nobody'" in err


@pytest.mark.parametrize("target", ["http://me:pw@host/mcp", "ftp://host/", "../x"])
def test_a_target_that_is_neither_url_nor_name(programs, run, target):
    assert run("conformance", target)[0] == 2


def test_nothing_answers(programs, run):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    code, _, err = run("conformance", f"http://127.0.0.1:{port}/mcp")
    assert code == 6
    assert f"nothing answers at 127.0.0.1:{port}: Connection refused" in err
    assert programs.asked("npm") == []


def test_the_results_are_not_left_in_the_temporary_folder(
    programs, url, run, tmp_path, monkeypatch
):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    run("conformance", url)
    assert os.listdir(tmp_path) == []
