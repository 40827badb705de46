"""An MCP server on stdio that does as little as it can: what the HTTP fronts are put before.

It speaks the revisions with a handshake. Its one tool echoes its text. It ends with its stdin.
"""

import json
import os

READ_BYTES = 1 << 20
LATEST = "2025-11-25"
TOOLS = [
    {"name": "echo", "description": "Answers with its text.", "inputSchema": {"type": "object"}}
]


def answer(message: dict) -> bytes:
    """The line that answers a request."""
    params = message.get("params") or {}
    match message["method"]:
        case "initialize":
            result = {
                "protocolVersion": params.get("protocolVersion", LATEST),
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "echo", "version": "1"},
            }
        case "tools/list":
            result = {"tools": TOOLS}
        case "tools/call":
            result = {"content": [{"type": "text", "text": params["arguments"]["text"]}]}
        case "ping":
            result = {}
        case _:
            return _line(message, error={"code": -32601, "message": "method not found"})
    return _line(message, result=result)


def _line(message: dict, **outcome: object) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": message["id"], **outcome}).encode() + b"\n"


def main() -> None:
    kept = b""
    while data := os.read(0, READ_BYTES):
        *lines, kept = (kept + data).split(b"\n")
        messages = [json.loads(line) for line in lines if line.strip()]
        answers = b"".join(answer(message) for message in messages if "id" in message)
        while answers:
            answers = answers[os.write(1, answers) :]


if __name__ == "__main__":
    main()
