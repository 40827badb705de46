"""VSCodium: VS Code without its maker's marks."""

from mcpctl.clients._vscode import make

CLIENT = make("vscodium", "VSCodium", "VSCodium", ".vscodium-server")
