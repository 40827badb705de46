"""`mcpctl wrap`: an HTTP front for an MCP server that speaks over stdin and stdout."""
