"""Visual Studio Code, whose servers moved out of `settings.json` in 1.102 (June 2025)."""

from mcpctl.clients._vscode import make

CLIENT = make("vscode", "VS Code", "Code", ".vscode-server", flag="vscode")
