import json


def test_set_stores_a_value_that_is_not_shown(daemon, run):
    run("add", "--server", "x", "--url", "https://one/")
    assert run("secret", "set", "x", "K=v4lue") == (0, "set K of x\n", "")
    assert daemon.secrets == {("x", "K"): "v4lue"}


def test_set_reads_the_variable_of_that_name(daemon, run, monkeypatch):
    monkeypatch.setenv("K", "from-env")
    run("add", "--server", "x", "--url", "https://one/")
    run("secret", "set", "x", "K")
    assert daemon.secrets == {("x", "K"): "from-env"}


def test_set_for_an_unknown_server_stores_nothing(daemon, run):
    code, _, err = run("secret", "set", "nope", "K=v")
    assert code == 4
    assert "no server 'nope'" in err
    assert daemon.secrets == {}


def test_list_says_which_secrets_are_missing(daemon, run):
    run("add", "--server", "x", "--url", "https://one/")
    assert run("secret", "list", "x")[1].split() == [
        "SECRET",
        "STATE",
        "basic",
        "set",
        "token",
        "missing",
    ]
    answer = json.loads(run("secret", "list", "x", "--json")[1])
    assert answer == {"secrets": ["basic", "token"], "missing": ["token"]}


def test_remove_takes_one_or_all(daemon, run):
    daemon.secrets = {("x", "a"): "1", ("x", "b"): "2", ("y", "a"): "3"}
    assert run("secret", "remove", "x", "a")[0] == 0
    assert set(daemon.secrets) == {("x", "b"), ("y", "a")}
    assert run("secret", "remove", "x")[0] == 0
    assert set(daemon.secrets) == {("y", "a")}
