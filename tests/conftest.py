"""Fixtures of all tests, and the rule that a test skipped in CI is a failure unless listed."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# Test modules are imported without a search path of their own; what they share is imported by name.
sys.path.insert(0, str(Path(__file__).parent))

from harness import Home

ALLOWED_SKIPS = Path(__file__).parent / "allowed_skips.txt"


def pytest_configure(config: pytest.Config) -> None:
    """A run in the background of a script inherits an ignored SIGINT, and every process of a test with it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def home() -> Iterator[Home]:
    """A throw-away home; whatever the test leaves running in it fails the test."""
    with Home() as made:
        yield made


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    """Show what the daemon said beside a failure."""
    report = yield
    if report.when == "call" and report.failed:
        for argument in getattr(item, "funcargs", {}).values():
            made = getattr(argument, "home", argument)
            if isinstance(made, Home):
                report.sections.append(("the daemon", made.transcript()))
                report.sections.append(("processes", "\n".join(map(repr, made.processes()))))
                break
    return report


def unlisted_skips(reporter: pytest.TerminalReporter) -> list[str]:
    """Skips of this run whose reason does not stand in `allowed_skips.txt`."""
    lines = ALLOWED_SKIPS.read_text().splitlines()
    allowed = {line.strip() for line in lines if line.strip() and not line.startswith("#")}
    found = []
    for report in reporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if reason.removeprefix("Skipped: ") not in allowed:
            found.append(f"{report.nodeid}: {reason}")
    return found


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if not os.environ.get("MCPCTL_REQUIRE") or reporter is None:
        return
    if skips := unlisted_skips(reporter):
        reporter.section("skipped without leave (tests/allowed_skips.txt)", red=True)
        for line in skips:
            reporter.line(line)
        if session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
