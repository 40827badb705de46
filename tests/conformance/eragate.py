"""Lets one era of MCP through to an HTTP server that speaks both.

    eragate.py legacy|modern HOST:PORT      listens on a free loopback port

What belongs to the other era is refused as servers refuse it that never heard of it: a server of the
time before 2026-07-28 that knows sessions only, or one of 2026-07-28 that has dropped the handshake.
Each connection carries one exchange, byte by byte, so that streams and disconnects arrive as they are.
"""

import dataclasses
import functools
import json
import sys
from typing import Any, Literal

import trio

Era = Literal["legacy", "modern"]

MODERN = "2026-07-28"
VERSION_KEY = "io.modelcontextprotocol/protocolVersion"
MAX_HEAD = 64 * 1024
CHUNK = 64 * 1024


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """An HTTP request: its bytes, and what the gate looks at."""

    raw: bytes
    method: str
    headers: dict[str, str]
    message: Any
    """The body as JSON, or None."""

    @property
    def is_modern(self) -> bool:
        """Whether it is of 2026-07-28, by its header or, where that is missing, by its envelope."""
        if self.headers.get("mcp-protocol-version") == MODERN:
            return True
        message = self.message if isinstance(self.message, dict) else {}
        params = message.get("params")
        meta = params.get("_meta") if isinstance(params, dict) else None
        enveloped = isinstance(meta, dict) and VERSION_KEY in meta
        return enveloped and message.get("method") != "initialize"


# ---------------------------------------------------------------- the two refusals


def refuse_modern(_: Request) -> bytes:
    """What the TypeScript SDK 1 says to a request without a session."""
    error = {"code": -32000, "message": "Bad Request: Server not initialized"}
    return response(400, {"jsonrpc": "2.0", "error": error, "id": None})


def refuse_legacy(request: Request) -> bytes:
    """What the TypeScript SDK 2 says where it serves 2026-07-28 alone."""
    message = request.message if isinstance(request.message, dict) else {}
    if request.method != "POST":
        return response(405, None)
    if message.get("method") == "initialize":
        asked = (message.get("params") or {}).get("protocolVersion")
        error = {
            "code": -32022,
            "message": f"Unsupported protocol version: {asked}",
            "data": {"supported": [MODERN], "requested": asked},
        }
    else:
        error = {"code": -32020, "message": "the MCP-Protocol-Version header is missing"}
    return response(400, {"jsonrpc": "2.0", "id": message.get("id"), "error": error})


def response(status: int, body: Any) -> bytes:
    data = b"" if body is None else json.dumps(body).encode()
    kind = "" if body is None else "Content-Type: application/json\r\n"
    head = f"HTTP/1.1 {status} Refused\r\n{kind}Content-Length: {len(data)}\r\nConnection: close\r\n\r\n"
    return head.encode() + data


def refusal(era: Era, request: Request) -> bytes | None:
    """The answer to a request that is not of `era`; None for one that is."""
    if era == "legacy":
        return refuse_modern(request) if request.is_modern else None
    return None if request.is_modern else refuse_legacy(request)


# ---------------------------------------------------------------- bytes


async def read_request(stream: trio.SocketStream) -> Request | None:
    """The next request, or None when the connection ends before it is whole."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = await stream.receive_some(CHUNK)
        if not more or len(data) > MAX_HEAD:
            return None
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    while len(body) < int(headers.get("content-length", "0")):
        more = await stream.receive_some(CHUNK)
        if not more:
            return None
        body += more
    kept = [line for line in lines if not line.lower().startswith("connection:")]
    raw = "\r\n".join([first, *kept, "Connection: close", "", ""]).encode("latin-1") + body
    return Request(raw, first.split(" ")[0], headers, parse(body))


def parse(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None


async def pump(source: trio.SocketStream, sink: trio.SocketStream, scope: trio.CancelScope) -> None:
    """Copy until `source` ends or breaks; then everything is over."""
    try:
        async for data in source:
            await sink.send_all(data)
    except trio.BrokenResourceError:
        pass
    scope.cancel()


async def exchange(era: Era, host: str, port: int, client: trio.SocketStream) -> None:
    """One connection: refuse its request, or hand it on and both ways through."""
    async with client:
        try:
            if (request := await read_request(client)) is None:
                return
            if (refused := refusal(era, request)) is not None:
                await client.send_all(refused)
                return
            async with await trio.open_tcp_stream(host, port) as server:
                await server.send_all(request.raw)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(pump, server, client, nursery.cancel_scope)
                    nursery.start_soon(pump, client, server, nursery.cancel_scope)
        except (trio.BrokenResourceError, OSError):
            pass  # one side has gone; the other one sees its connection end


def main() -> None:
    era, target = sys.argv[1:]
    if era not in ("legacy", "modern"):
        raise SystemExit(f"unknown era {era!r}")
    host, _, port = target.rpartition(":")
    handler = functools.partial(exchange, era, host, int(port))
    trio.run(functools.partial(trio.serve_tcp, handler, 0, host="127.0.0.1"))


if __name__ == "__main__":
    main()
