"""The config files of MCP clients, as the daemon sees them: watched, never written."""
