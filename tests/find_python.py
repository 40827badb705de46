"""Print the path of a Python of this version that really runs, or nothing: `find_python.py 3.12`."""

import glob
import os
import shutil
import subprocess
import sys


def candidates(version: str) -> list[str]:
    """Where one may be: on the path, or among the versions that pyenv keeps."""
    on_path = shutil.which(f"python{version}")
    pyenv = os.environ.get("PYENV_ROOT") or os.path.expanduser("~/.pyenv")
    return [
        *([on_path] if on_path else []),
        *sorted(glob.glob(f"{pyenv}/versions/{version}.*/bin/python")),
    ]


def runs(path: str, version: str) -> bool:
    """Whether it starts, is what it is called, and can make a virtual environment."""
    code = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run([path, "-c", code], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and done.stdout.strip() == version


wanted = sys.argv[1]
print(next((path for path in candidates(wanted) if runs(path, wanted)), ""))
