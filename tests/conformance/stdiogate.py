"""Lets one era of MCP through to a stdio server that speaks both.

    stdiogate.py legacy|modern COMMAND ...      in the command's place

What belongs to the other era is refused as `eragate` refuses it over HTTP; every other line passes byte by byte.
"""

import functools
import json
import subprocess
import sys
from typing import Any, Literal

import trio

Era = Literal["legacy", "modern"]

MODERN = "2026-07-28"
VERSION_KEY = "io.modelcontextprotocol/protocolVersion"
CHUNK = 64 * 1024


def refusal(era: Era, line: bytes) -> bytes | None:
    """The answer to a line that is not of `era`, empty where none is due; None for a line that is."""
    message = json.loads(line)
    if message.get("method") in (None, "notifications/cancelled"):  # alike in both
        return None
    if is_modern(message) == (era == "modern"):
        return None
    if "id" not in message:
        return b""
    return json.dumps(
        {"jsonrpc": "2.0", "id": message["id"], "error": error(era, message)}
    ).encode()


def is_modern(message: dict[str, Any]) -> bool:
    """Whether it is of 2026-07-28, by its envelope."""
    meta = (message.get("params") or {}).get("_meta") or {}
    return message["method"] != "initialize" and VERSION_KEY in meta


def error(era: Era, message: dict[str, Any]) -> dict[str, Any]:
    if era == "legacy":
        return {"code": -32601, "message": "Method not found"}
    if message["method"] != "initialize":
        return {"code": -32602, "message": f"params._meta lacks {VERSION_KEY}"}
    asked = (message.get("params") or {}).get("protocolVersion")
    data = {"supported": [MODERN], "requested": asked}
    return {"code": -32022, "message": f"Unsupported protocol version: {asked}", "data": data}


async def filter_lines(era: Era, process: trio.Process) -> None:
    """Our standard input to the server's, but for what is refused."""
    stdin = trio.lowlevel.FdStream(0)
    stdout = trio.wrap_file(sys.stdout.buffer)
    kept = b""
    assert process.stdin is not None
    async for data in stdin:
        *lines, kept = (kept + data).split(b"\n")
        for line in lines:
            answer = refusal(era, line)
            if answer is None:
                await process.stdin.send_all(line + b"\n")
            elif answer:
                await stdout.write(answer + b"\n")
                await stdout.flush()
    await process.stdin.aclose()


async def main(era: Era, command: list[str]) -> None:
    async with trio.open_nursery() as nursery:
        run = functools.partial(trio.run_process, command, stdin=subprocess.PIPE, check=False)
        process = await nursery.start(run)  # its stdout is ours
        nursery.start_soon(filter_lines, era, process)
        await process.wait()
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2:])  # type: ignore[arg-type]
