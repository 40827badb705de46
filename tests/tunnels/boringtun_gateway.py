"""A gateway made of mitmproxy_rs (boringtun and smoltcp): answers for every name, and echoes HTTP bodies.

`PORT KEY_FILE CLIENT_KEY`
"""

import asyncio
import sys
from pathlib import Path
from typing import Any

from mitmproxy_rs import wireguard

sys.path.insert(0, str(Path(__file__).parent.parent))

from mcpctld.protocols.inet.dns.message import Kind
from mcpctld.protocols.inet.dns.serving import encode_reply, read_question
from tunnels.private import Inside


async def http(stream: Any) -> None:
    """Each POST is answered with its own body."""
    data = b""
    while True:
        while b"\r\n\r\n" not in data:
            if not (more := await stream.read(65536)):
                stream.close()
                return
            data += more
        head, _, data = data.partition(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        while len(data) < length:
            data += await stream.read(65536)
        stream.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length + data[:length])
        await stream.drain()
        data = data[length:]


async def names(stream: Any) -> None:
    question = read_question(await stream.read(65535))
    assert question is not None
    records = Inside().names(question.name, question.kind) if question.kind == Kind.AAAA else []
    stream.write(encode_reply(question, records, 5))
    await stream.drain()
    stream.close()


async def serve(port: int, private: str, client: str) -> None:
    start = wireguard.start_wireguard_server
    server = await start("127.0.0.1", port, private, [client], http, names)
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    server.close()


port, key, client = sys.argv[1:]
asyncio.run(serve(int(port), Path(key).read_text(), client))
