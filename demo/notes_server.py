"""A small MCP server over HTTP, built with the official Python SDK: it keeps notes in memory.

python notes_server.py PORT
"""

import sys

from mcp.server.mcpserver import Context, MCPServer

server = MCPServer("notes", instructions="Keeps notes as long as it runs.", log_level="WARNING")
notes: list[str] = []


@server.tool()
def add_note(text: str) -> int:
    """Keep a note; answers how many there are."""
    notes.append(text)
    return len(notes)


@server.tool()
def list_notes() -> list[str]:
    """All notes, oldest first."""
    return notes


@server.tool()
async def read_aloud(ctx: Context) -> str:
    """Go through the notes one by one, reporting progress."""
    for number, note in enumerate(notes, start=1):
        await ctx.report_progress(number, len(notes), note)
    return f"read {len(notes)} notes"


if __name__ == "__main__":
    server.run(transport="streamable-http", host="127.0.0.1", port=int(sys.argv[1]))
