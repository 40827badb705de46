"""The MCP server of the contract suite: one set of habits, spoken over every transport.

As a program (`python -I -S peer.py`) it is a stdio server; in the tests the same class stands behind HTTP servers.
It uses nothing but the standard library.
"""

import base64
import json
import os
import sys


class Dead(Exception):
    """The server is to end here and now."""


class Peer:
    """Hears lines, and says what is to be said in return."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []

    def react(self, line: bytes) -> list[bytes]:
        """The lines that answer `line`."""
        self.heard.append(line)
        message = json.loads(line)
        if isinstance(message, list):
            return [b"[%s]" % b",".join(self.answer(part) for part in message if "id" in part)]
        if "id" not in message or "method" not in message:
            return []
        said = message.get("params", {}).get("say", [])
        said = [base64.b64decode(text) for text in said]
        if message["method"] == "never":
            return said
        if message["method"] == "die":
            raise Dead
        if message["method"] == "flood":
            params = message["params"]
            said = [tick(number, params["size"]) for number in range(params["count"])]
        return [*said, self.answer(message)]

    def answer(self, message: dict) -> bytes:
        """The result of one request."""
        result: object = {}
        if message["method"] == "initialize":
            result = {
                "protocolVersion": message["params"]["protocolVersion"],
                "capabilities": {},
                "serverInfo": {"name": "peer", "version": "1"},
            }
        elif message["method"] == "heard":
            result = [base64.b64encode(line).decode() for line in self.heard]
        elif message["method"] == "pid":
            result = os.getpid()
        elif message["method"] == "raw":  # an answer in bytes of the test's choice, but for its id
            answer = base64.b64decode(message["params"]["answer"])
            return answer.replace(b'"odd"', json.dumps(message["id"]).encode())
        elif message["method"] == "big":
            result = "x" * message["params"]["size"]
        return json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}).encode()


def tick(number: int, size: int) -> bytes:
    """One notification of many."""
    params = {"number": number, "padding": "." * size}
    return json.dumps({"jsonrpc": "2.0", "method": "tick", "params": params}).encode()


def main() -> None:
    """Be a stdio server."""
    peer = Peer()
    for line in sys.stdin.buffer:
        try:
            said = peer.react(line.rstrip(b"\n"))
        except Dead:
            sys.stderr.write("struck by lightning\n")
            sys.stderr.flush()
            os._exit(3)
        for answer in said:
            sys.stdout.buffer.write(answer + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
