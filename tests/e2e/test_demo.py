"""`make demo` does what it says."""

import os
import subprocess
import sys
from pathlib import Path

from harness import all_processes

DEMO = Path(__file__).parents[2] / "demo" / "demo.py"


def test_the_demo_succeeds_and_leaves_nothing(tmp_path: Path) -> None:
    env = {**os.environ, "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, str(DEMO)], env=env, capture_output=True, text=True, timeout=240,
        check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "mcpctl add --server clock -- mcp-server-time" in done.stdout
    assert "the machine sleeps" in done.stdout
    assert "the next call woke it" in done.stdout
    assert "100 calls at once" in done.stdout
    assert list(all_processes(b"mcpctl-demo-")) == []
    assert list(tmp_path.iterdir()) == []
