"""Which era of MCP a side speaks: by its own messages, or by how it answers ours.

MCP 2026-07-28, Versioning, "Compatibility Matrix" and "Protocol Version Negotiation"; how servers in use answer was
observed with the SDKs of 2024 to 2026.
"""

import enum

import msgspec

from mcpctld.protocols.jsonrpc import Batch, Kind, Message, read_error
from mcpctld.protocols.mcp.headers import modern_params
from mcpctld.protocols.mcp.methods import MODERN
from mcpctld.protocols.mcp.objects import open_object

METHOD_NOT_FOUND = -32601
UNSUPPORTED_VERSION = -32022
MODERN_CODES = frozenset({-32020, -32021, UNSUPPORTED_VERSION})
"""Errors that only servers of the modern era answer."""


class Era(enum.Enum):
    """`LEGACY`: a handshake and sessions, up to 2025-11-25. `MODERN`: each request says all, from 2026-07-28 on."""

    LEGACY = "legacy"
    MODERN = "modern"

    @property
    def other(self) -> "Era":
        """The other one."""
        return Era.LEGACY if self is Era.MODERN else Era.MODERN


class Verdict(enum.Enum):
    """What an answer says of the era in which it was asked for."""

    SPEAKS = "speaks"
    REFUSES = "refuses"
    UNSURE = "unsure"
    """Maybe it refuses: ask in another way."""
    SILENT = "silent"
    """It says nothing about the era."""


def era_of(message: Message | Batch) -> Era | None:
    """The era of a client by one of its messages; None when it does not tell.

    `initialize` is legacy whatever it carries. `server/discover` alone does not bind the client to anything.
    """
    if isinstance(message, Batch):
        return Era.LEGACY
    if message.method == "initialize":
        return Era.LEGACY
    if message.method == "server/discover" or modern_params(message) is not None:
        return Era.MODERN
    return None


def judge(request: Message, answer: Message | None, status: int | None = None) -> Verdict:
    """What the answer to a client's first request says of the request's own era.

    `answer` is the result or JSON-RPC error, None when there was only an HTTP `status` that refuses.
    """
    if status is not None and is_silent(status):
        return Verdict.SILENT
    if request.method == "initialize":
        return _judge_initialize(answer)
    if answer is None:
        return Verdict.REFUSES
    if answer.kind is Kind.RESULT:
        return _judge_result(request, answer)
    return _judge_error(request, answer)


def is_silent(status: int) -> bool:
    """Whether an HTTP status says nothing about eras: credentials are wanted, or something is down."""
    return status in (401, 403, 407, 408, 409, 429) or status >= 500


def _judge_initialize(answer: Message | None) -> Verdict:
    if answer is None:
        return Verdict.SILENT
    if answer.kind is Kind.RESULT and _version(answer) != MODERN:
        return Verdict.SPEAKS
    # A result that names a revision without a handshake is one that no legacy client can go on with.
    return Verdict.UNSURE


def _version(answer: Message) -> str | None:
    named = open_object(answer.result).get("protocolVersion", b"null")
    return next(iter(_texts(b"[" + named + b"]")), None)


def _judge_result(request: Message, answer: Message) -> Verdict:
    result = open_object(answer.result)
    if request.method == "server/discover":
        return (
            Verdict.SPEAKS if MODERN in _texts(result.get("supportedVersions")) else Verdict.REFUSES
        )
    return Verdict.SPEAKS if "resultType" in result else Verdict.REFUSES


def _judge_error(request: Message, answer: Message) -> Verdict:
    code, _ = read_error(answer)
    if code == UNSUPPORTED_VERSION:
        data = open_object(open_object(answer.error).get("data", b""))
        return Verdict.SPEAKS if MODERN in _texts(data.get("supported")) else Verdict.REFUSES
    if code in MODERN_CODES:
        return Verdict.SPEAKS
    # A modern server has `server/discover` (MUST); what else went wrong with another request is not known.
    return Verdict.REFUSES if request.method == "server/discover" else Verdict.UNSURE


_decode_texts = msgspec.json.Decoder(list[str]).decode


def _texts(value: bytes | None) -> list[str]:
    try:
        return _decode_texts(value or b"[]")
    except msgspec.DecodeError:
        return []
