"""A bare MCP client for standard input and output: it sends what the test says, byte for byte."""

import contextlib
import dataclasses
import json
import signal
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import trio

LATEST = "2025-11-25"
CLIENT = {"name": "raw", "version": "1"}
ANSWER_S = 20.0
"""The longest wait for one line."""


class EndOfOutputError(Exception):
    """The other side closed its standard output."""


@dataclasses.dataclass(slots=True)
class RawClient:
    """A running command and the two pipes to it."""

    process: trio.Process
    buffer: bytearray = dataclasses.field(default_factory=bytearray)
    waiting: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    """Messages read while waiting for another one, in order."""
    errors: bytearray = dataclasses.field(default_factory=bytearray)
    """What came on standard error."""
    errors_ended: trio.Event = dataclasses.field(default_factory=trio.Event)

    # ------------------------------------------------------------ bytes

    async def write(self, data: bytes) -> None:
        """Bytes as they are."""
        assert self.process.stdin is not None
        await self.process.stdin.send_all(data)

    async def line(self) -> bytes:
        """The next line without its newline; raises `EndOfOutputError`."""
        assert self.process.stdout is not None
        searched = 0
        with trio.fail_after(ANSWER_S):
            while (at := self.buffer.find(b"\n", searched)) < 0:
                searched = len(self.buffer)
                chunk = await self.process.stdout.receive_some(1 << 18)
                if not chunk:
                    raise EndOfOutputError(self.errors.decode(errors="replace"))
                self.buffer += chunk
        found = bytes(self.buffer[:at])
        del self.buffer[: at + 1]
        return found

    # ------------------------------------------------------------ messages

    async def send(self, message: Mapping[str, Any]) -> None:
        """One message as a line of compact JSON."""
        await self.write(json.dumps(message, separators=(",", ":")).encode() + b"\n")

    async def notify(self, method: str, params: Mapping[str, Any] | None = None) -> None:
        """A notification."""
        await self.send({"jsonrpc": "2.0", "method": method, "params": params or {}})

    async def request(
        self, ident: Any, method: str, params: Mapping[str, Any] | None = None
    ) -> None:
        """A request; its answer is fetched by `answer`."""
        await self.send({"jsonrpc": "2.0", "id": ident, "method": method, "params": params or {}})

    async def message(self) -> dict[str, Any]:
        """The next message, kept ones first."""
        return self.waiting.pop(0) if self.waiting else json.loads(await self.line())

    async def answer(self, ident: Any) -> dict[str, Any]:
        """The response with this id; what comes before it is kept for `message`."""
        return await self._until(lambda seen: _is_answer(seen, ident))

    async def notified(self, method: str) -> dict[str, Any]:
        """The next notification (or request of the server) with this method."""
        return await self._until(lambda seen: seen.get("method") == method)

    async def ask(self, ident: Any, method: str, params: Mapping[str, Any] | None = None) -> Any:
        """A request and its answer."""
        await self.request(ident, method, params)
        return await self.answer(ident)

    async def call(self, ident: Any, tool: str, **arguments: Any) -> Any:
        """`tools/call` and its answer."""
        return await self.ask(ident, "tools/call", {"name": tool, "arguments": arguments})

    async def initialize(self, version: str = LATEST, **capabilities: Any) -> dict[str, Any]:
        """The handshake of the revisions before 2026-07-28, if the server takes it; the answer."""
        params = {"protocolVersion": version, "capabilities": capabilities, "clientInfo": CLIENT}
        answer = await self.ask("init", "initialize", params)
        if "result" in answer:
            await self.notify("notifications/initialized")
        return answer

    async def _until(self, wanted: Any) -> dict[str, Any]:
        for index, kept in enumerate(self.waiting):
            if wanted(kept):
                return self.waiting.pop(index)
        while not wanted(message := json.loads(await self.line())):
            self.waiting.append(message)
        return message

    # ------------------------------------------------------------ the end

    async def close_stdin(self) -> None:
        """As a client does that is finished."""
        assert self.process.stdin is not None
        await self.process.stdin.aclose()

    async def finish(self, within_s: float = 30.0) -> int:
        """Close standard input and wait for the exit code."""
        await self.close_stdin()
        return await self.exit(within_s)

    async def exit(self, within_s: float = 30.0) -> int:
        """Wait for the exit code, and for the rest of standard error."""
        with trio.fail_after(within_s):
            await self.errors_ended.wait()
            return await self.process.wait()

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to the command."""
        self.process.send_signal(number)


def _is_answer(message: Mapping[str, Any], ident: Any) -> bool:
    # 1 == True and 1 == 1.0 in Python, but not in JSON-RPC.
    same = message.get("id") == ident and type(message.get("id")) is type(ident)
    return same and "method" not in message


async def _collect_errors(client: RawClient) -> None:
    assert client.process.stderr is not None
    with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        async for chunk in client.process.stderr:
            client.errors += chunk
    client.errors_ended.set()


@contextlib.asynccontextmanager
async def run(argv: Sequence[str], env: Mapping[str, str]) -> AsyncIterator[RawClient]:
    """Start a command; at the end of the block it is killed if it still runs."""
    async with trio.open_nursery() as nursery:
        process = await trio.lowlevel.open_process(
            list(argv), env=dict(env), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )  # fmt: skip
        client = RawClient(process)
        nursery.start_soon(_collect_errors, client)
        try:
            yield client
        finally:
            with trio.CancelScope(shield=True), contextlib.suppress(ProcessLookupError):
                process.kill()
                await process.wait()
            nursery.cancel_scope.cancel()
            for pipe in (process.stdin, process.stdout, process.stderr):
                with trio.CancelScope(shield=True):
                    await pipe.aclose()
