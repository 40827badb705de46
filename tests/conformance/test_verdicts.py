"""What counts as a pass: nothing fails, or what fails was expected and is proven not to be ours."""

import tomllib

import pytest
import verdicts
from cells import ASKED_FOR, BY_NAME, CELLS, CONTROLS, selected
from suite import NO_RESULT, Outcome, outcome
from verdicts import Expected, Verdict, judge

FRONT = BY_NAME["front 2025-11-25"]
PASSED = Outcome(2, {})


def failing(*checks):
    return Outcome(1, dict.fromkeys(checks, "why"))


def expected(*checks):
    return (Expected("scenario", frozenset(checks), FRONT, "the front does it"),)


def never(cell, scenario):
    raise AssertionError("no control is needed")


def showing(found):
    return lambda cell, scenario: found


def test_checks_are_summed_up_and_warnings_are_problems():
    checks = [
        {"id": "a", "status": "SUCCESS"},
        {"id": "b", "status": "FAILURE", "errorMessage": "first"},
        {"id": "b", "status": "FAILURE", "errorMessage": "second"},
        {"id": "c", "status": "WARNING", "description": "should"},
        {"id": "d", "status": "INFO"},
        {"id": "e", "status": "SKIPPED"},
    ]
    assert outcome(checks) == Outcome(1, {"b": "first", "c": "should"})


def test_a_scenario_that_shows_nothing_is_no_pass():
    assert outcome([{"id": "a", "status": "SKIPPED"}]).problems.keys() == {NO_RESULT}


def test_a_pass():
    assert judge("scenario", PASSED, (), never) == Verdict(True, "ok")


def test_an_unexpected_failure():
    verdict = judge("scenario", failing("a"), (), never)
    assert verdict == Verdict(False, "FAILED", ("a: why",))


def test_an_expected_failure_is_proven_by_its_control():
    verdict = judge("scenario", failing("a"), expected("a"), showing(failing("a", "b")))
    assert (verdict.good, verdict.word) == (True, "expected")
    assert verdict.remarks == ("fails in 'front 2025-11-25' too: the front does it",)


def test_an_expected_failure_that_the_control_does_not_show_is_ours():
    verdict = judge("scenario", failing("a", "b"), expected("a", "b"), showing(failing("a")))
    assert verdict == Verdict(False, "FAILED", ("b: does not fail in 'front 2025-11-25'",))


def test_one_more_check_that_fails_is_not_covered():
    verdict = judge("scenario", failing("a", "b"), expected("a"), never)
    assert verdict == Verdict(False, "FAILED", ("b: why",))


@pytest.mark.parametrize("found", [PASSED, failing("a")])
def test_a_line_that_is_no_longer_needed_fails(found):
    verdict = judge("scenario", found, expected("a", "b"), never)
    assert not verdict.good
    assert verdict.remarks[-1] == "b: it passes now; take it off the list"


def test_a_line_for_a_scenario_that_is_not_run_is_told():
    assert verdicts.unknown(expected("a"), {"other": PASSED}) == ["scenario"]


def test_every_file_belongs_to_a_run_and_names_controls_only():
    names = {cell.name.replace(" ", "-"): cell for cell in (*CELLS, *ASKED_FOR)}
    for file in verdicts.EXPECTED.iterdir():
        for entry in verdicts.expectations(names[file.stem]):
            assert entry.control not in CELLS or entry.control.shape.value == "gate"
            assert entry.checks
            assert entry.why


def test_a_file_that_says_nonsense_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(verdicts, "EXPECTED", tmp_path)
    file = tmp_path / "fixture-2025-11-25.toml"
    file.write_text('[[expected]]\nscenario = "a"\nchecks = ["b"]\ncontrol = "nobody"\nwhy = "c"\n')
    assert tomllib.loads(file.read_text())
    with pytest.raises(SystemExit, match=r"fixture-2025-11-25\.toml"):
        verdicts.expectations(BY_NAME["fixture 2025-11-25"])


def test_words_select_runs():
    assert [cell.name for cell in selected(["sandwich", "2026-07-28"])] == [
        "sandwich 2026-07-28",
        "sandwich 2026-07-28 bridged",
    ]
    assert selected([]) == list(CELLS)
    assert set(selected(["front"])) <= set(CONTROLS)
    assert selected(["nonsense"]) == []
