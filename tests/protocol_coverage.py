"""Each module of `protocols/` must be covered whole, lines and branches, by its own test file alone.

`protocols/x.py` belongs to `tests/protocols/test_x.py`, `protocols/mcp/y.py` to `tests/protocols/mcp/test_y.py`.
A module without a test file fails, and so does a test file without a module. Covered by luck does not count.
"""

import concurrent.futures
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import mcpctld.protocols

ROOT = Path(mcpctld.protocols.__file__).parent
TESTS = Path(__file__).parent / "protocols"


def pairs() -> dict[Path, Path]:
    """Each module with the test file that must cover it."""
    modules = sorted(path for path in ROOT.rglob("*.py") if path.name != "__init__.py")
    return {path: TESTS / path.relative_to(ROOT).parent / f"test_{path.name}" for path in modules}


def strays(expected: set[Path]) -> list[Path]:
    """Test files that belong to no module."""
    return sorted(path for path in TESTS.rglob("test_*.py") if path not in expected)


def covers(module: Path, test: Path) -> bool:
    """Run one test file and demand 100 % of its module."""
    with tempfile.TemporaryDirectory() as folder:
        data = f"--data-file={folder}/coverage"
        run = [sys.executable, "-m", "coverage", "run", data, "--branch", f"--include={module}"]
        pytest = ["-m", "pytest", "-q", "-p", "no:cacheprovider", str(test)]
        tested = subprocess.run([*run, *pytest], capture_output=True, text=True)
        if tested.returncode:
            print(tested.stdout[-3000:], tested.stderr[-1000:])
            return False
        report = [
            sys.executable,
            "-m",
            "coverage",
            "report",
            data,
            "--fail-under=100",
            "--show-missing",
        ]
        reported = subprocess.run(report, capture_output=True, text=True)
        if reported.returncode:
            print(reported.stdout, reported.stderr)
        return reported.returncode == 0


def main() -> int:
    """Check all pairs, as many at once as there are cores; the exit code."""
    expected = pairs()
    failed = [f"{path} belongs to no module" for path in strays(set(expected.values()))]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as cores:
        for found in cores.map(verdict, *zip(*expected.items(), strict=True)):
            (print if found.startswith("100 %") else failed.append)(found)
    print("\n".join(failed))
    print(f"{len(expected) - len(failed)} passed, {len(failed)} failed")
    return 1 if failed else 0


def verdict(module: Path, test: Path) -> str:
    """What to say of a module and its test file."""
    name = module.relative_to(ROOT)
    if not test.exists():
        return f"{name} has no {test.name}"
    return (
        f"100 %  {name}" if covers(module, test) else f"{name} is not covered whole by {test.name}"
    )


if __name__ == "__main__":
    sys.exit(main())
