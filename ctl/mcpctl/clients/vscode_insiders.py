"""The daily build of VS Code."""

from mcpctl.clients._vscode import make

CLIENT = make("vscode-insiders", "VS Code Insiders", "Code - Insiders", ".vscode-server-insiders")
