"""The shape of the tree that no other tool checks."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a git checkout")

# Kept apart so that this file does not name what it forbids.
FORBIDDEN = [
    "pypi" + ".org",
    "python" + "hosted.org",
    "registry.npm" + "js.org",
    "registry.yarn" + "pkg.com",
    "deb.debian" + ".org",
]
PATHS_OF_ONE_MACHINE = re.compile(r"(?<![\w.])/(?:work|root)/[\w.]")
MAX_LINES = 500


def tracked(pattern: str = "") -> list[Path]:
    argv = ["git", "ls-files", *([pattern] if pattern else [])]
    listed = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True)
    return [ROOT / name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]


def readable(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""


def test_daemon_and_ctl_are_plain_folders_and_never_packages():
    assert not (ROOT / "daemon" / "__init__.py").exists()
    assert not (ROOT / "ctl" / "__init__.py").exists()


def test_no_file_names_a_package_registry():
    named = [
        f"{path.relative_to(ROOT)}: {host}"
        for path in tracked()
        for host in FORBIDDEN
        if host in readable(path)
    ]
    assert named == []


def test_no_file_names_a_path_of_somebodys_machine():
    found = {
        str(path.relative_to(ROOT)): match.group()
        for path in tracked()
        if path.suffix not in (".lock", ".txt")
        and (match := PATHS_OF_ONE_MACHINE.search(readable(path)))
    }
    assert found == {}


@pytest.mark.parametrize("folder", ["daemon", "ctl"])
def test_source_files_stay_short_enough_to_read(folder):
    long = {
        str(path.relative_to(ROOT)): lines
        for path in tracked(f"{folder}/*.py")
        if (lines := len(readable(path).splitlines())) > MAX_LINES
    }
    assert long == {}


@pytest.mark.parametrize("folder", ["daemon", "ctl"])
def test_every_package_and_module_says_what_it_is(folder):
    silent = [
        str(path.relative_to(ROOT))
        for path in tracked(f"{folder}/*.py")
        if not readable(path).lstrip().startswith(('"""', 'r"""'))
    ]
    assert silent == []
