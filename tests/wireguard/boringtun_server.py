"""A gateway made of mitmproxy_rs (boringtun and smoltcp): sends each UDP datagram back. `PORT KEY_FILE CLIENT_KEY`."""

import asyncio
import sys
from pathlib import Path
from typing import Any

from mitmproxy_rs import wireguard


async def no_tcp(stream: Any) -> None:
    stream.close()


async def send_back(stream: Any) -> None:
    stream.write(await stream.read(65535))
    await stream.drain()
    stream.close()


async def serve(port: int, private: str, client: str) -> None:
    start = wireguard.start_wireguard_server
    server = await start("127.0.0.1", port, private, [client], no_tcp, send_back)
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    server.close()


port, key, client = sys.argv[1:]
asyncio.run(serve(int(port), Path(key).read_text(), client))
