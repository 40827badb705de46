"""Run both programs from an environment that holds only what the wheel requires: `without_development.py BIN`.

A package that only development installs, imported at run time by mistake, shows here and nowhere else.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

SERVER = """
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if "id" in message:
        result = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}}
        result["serverInfo"] = {"name": "n", "version": "1"}
        if message["method"] == "tools/list":
            result = {"tools": [{"name": "only", "inputSchema": {"type": "object"}}]}
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)
"""


def run(programs: Path, env: dict[str, str], *argv: str) -> str:
    """Run a program of ours: its stdout. Any failure ends the check."""
    done = subprocess.run(
        [str(programs / argv[0]), *argv[1:]], env=env, capture_output=True, text=True, timeout=60
    )
    if done.returncode:
        sys.exit(f"{' '.join(argv)} exited with {done.returncode}\n{done.stdout}{done.stderr}")
    print(f"$ {' '.join(argv[:3])} … ok")
    return done.stdout


def main() -> None:
    """Help, versions, and one server used through the daemon from adding it to stopping."""
    programs = Path(sys.argv[1])
    with tempfile.TemporaryDirectory(prefix="mc") as home:
        places = {
            f"MCPCTL_{place}_DIR": f"{home}/{place.lower()}"
            for place in ("CONFIG", "STATE", "RUNTIME")
        }
        env = {"PATH": os.environ["PATH"], "HOME": home, "MCPCTL_SECRETS": "file", **places}
        script = Path(home, "server.py")
        script.write_text(SERVER)
        for words in (
            ["mcpctl", "--help"],
            ["mcpctl", "--version"],
            ["mcpctld", "--help"],
            ["mcpctld", "--version"],
        ):
            run(programs, env, *words)
        run(
            programs,
            env,
            "mcpctl",
            "add",
            "--server",
            "tiny",
            "--",
            str(programs / "python"),
            str(script),
        )
        assert "only" in run(programs, env, "mcpctl", "tools", "tiny")
        assert "tiny" in run(programs, env, "mcpctl", "status")
        formats = [word for name in ("cursor", "codex", "goose") for word in ("--client", name)]
        assert "Goose" in run(programs, env, "mcpctl", "add", "--server", "tiny", *formats)
        assert "cursor, goose" in run(programs, env, "mcpctl", "list")
        assert "config.toml" in run(programs, env, "mcpctl", "clients")
        run(programs, env, "mcpctl", "daemon", "stop")


main()
