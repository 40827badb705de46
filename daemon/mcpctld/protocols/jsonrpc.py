"""JSON-RPC 2.0 messages as MCP uses them: only the envelope is read, the bytes are carried.

Read: `id`, `method`, and on demand a few members of `params`, `result` and `error`; nothing else.
Not checked: the value of `jsonrpc` (some servers get it wrong and nothing depends on it) and the
shape of `params`. Batches exist in revision 2025-03-26 only; whether one is welcome is the caller's
decision.

In the order of this file: parsing, ids, readers of parts (see `parts`), writers, splicing (see
`splice`).
"""

import enum
import json
import re
from collections.abc import Hashable
from decimal import Decimal, InvalidOperation

import msgspec
from msgspec import Raw

from mcpctld.protocols import parts
from mcpctld.protocols.excerpt import EXCERPT_BYTES
from mcpctld.protocols.parts import InitializeResult, Params
from mcpctld.protocols.splice import find_id, guess_id, insert_id, one_line, replace_id

__all__ = [
    "Batch",
    "Kind",
    "Malformed",
    "Message",
    "parse",
    "id_key",
    "InitializeResult",
    "Params",
    "read_error",
    "read_initialize_result",
    "read_params",
    "error_line",
    "notification_line",
    "request_line",
    "result_line",
    "new_request",
    "new_notification",
    "new_result",
    "new_error",
    "error_text",
    "guess_id",
    "one_line",
    "with_id",
    "INTERNAL_ERROR",
    "INVALID_REQUEST",
    "PARSE_ERROR",
]


PARSE_ERROR = -32700
INVALID_REQUEST = -32600
INTERNAL_ERROR = -32603
"""Codes of JSON-RPC 2.0 §5.1."""


class Kind(enum.Enum):
    """What a message is."""

    REQUEST = "request"
    NOTIFICATION = "notification"
    RESULT = "result"
    ERROR = "error"


class Malformed(Exception):
    """The line is not a JSON-RPC message.

    `code` is what JSON-RPC wants answered (`PARSE_ERROR` or `INVALID_REQUEST`), `reason` says why,
    `id` is the raw id to answer to, `b"null"` where none could be read.
    """

    def __init__(self, code: int, reason: str, id: bytes = b"null") -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.id = id


class _Envelope(msgspec.Struct, gc=False):
    """The members that matter; `Raw` ones are views into the line, not copies."""

    id: Raw = Raw()
    method: str = ""
    params: Raw = Raw()
    result: Raw = Raw()
    error: Raw = Raw()


class Message(msgspec.Struct, frozen=True, gc=False):
    """One request, notification or response. Made by `parse`."""

    raw: bytes
    """Exactly as received."""
    kind: Kind
    id: bytes
    """The JSON text of the id; `b""` when absent. On an error response it may be `b"null"`."""
    method: str
    """Empty for responses."""
    _envelope: _Envelope

    @property
    def params(self) -> bytes:
        """The JSON text of `params`, copied on each use; `b""` when absent."""
        return bytes(self._envelope.params)

    @property
    def result(self) -> bytes:
        """The JSON text of `result`, copied on each use; `b""` when absent."""
        return bytes(self._envelope.result)

    @property
    def error(self) -> bytes:
        """The JSON text of `error`, copied on each use; `b""` when absent."""
        return bytes(self._envelope.error)

    def __repr__(self) -> str:  # params and results may hold secrets: never shown
        id_ = self.id.decode(errors="replace")
        return f"<{self.kind.value} {self.method} id={id_} of {len(self.raw)} bytes>"


class Batch(msgspec.Struct, frozen=True):
    """Several messages in one array (revision 2025-03-26)."""

    raw: bytes
    messages: list[Message]

    def __repr__(self) -> str:
        return f"<batch of {len(self.messages)} messages, {len(self.raw)} bytes>"


# ---------------------------------------------------------------- parsing

_decode_envelope = msgspec.json.Decoder(_Envelope).decode
_decode_array = msgspec.json.Decoder(list[Raw]).decode


def parse(line: bytes) -> Message | Batch:
    """Read the envelope of one JSON text. Raises `Malformed`.

    Repeated members: the last one counts. A message with both `method` and `result` is a request.
    A batch with one malformed message is malformed as a whole.
    """
    try:
        if not line.isascii():
            line.decode()  # msgspec does not look at the encoding of what it skips
        return _message(line, _decode_envelope(line))
    except UnicodeDecodeError as exc:
        raise Malformed(PARSE_ERROR, f"invalid UTF-8 at byte {exc.start}") from exc
    except RecursionError as exc:
        raise Malformed(PARSE_ERROR, "nested too deeply") from exc
    except msgspec.ValidationError as exc:
        return _parse_unusual(line, exc)
    except msgspec.DecodeError as exc:
        return _parse_lone_surrogates(line, exc)


def _message(line: bytes, envelope: _Envelope) -> Message:
    id_ = bytes(envelope.id)
    if id_ and id_[0] not in _ID_START:
        raise Malformed(INVALID_REQUEST, "the id is neither a string nor a number")
    if envelope.method:
        if not id_:
            return Message(line, Kind.NOTIFICATION, id_, envelope.method, envelope)
        if id_ == b"null":  # MCP, base protocol: the id MUST NOT be null
            raise Malformed(INVALID_REQUEST, "the id of a request is null")
        return Message(line, Kind.REQUEST, id_, envelope.method, envelope)
    return Message(line, _response_kind(envelope, id_), id_, "", envelope)


_ID_START = b'"-0123456789n'  # msgspec has checked the rest of the token


def _response_kind(envelope: _Envelope, id_: bytes) -> Kind:
    # Some servers send both members, the unused one as null (JSON-RPC 1.0 wanted that).
    if envelope.error and not (envelope.result and bytes(envelope.error) == b"null"):
        return Kind.ERROR
    if not envelope.result:
        raise Malformed(
            INVALID_REQUEST, "neither a method nor a result nor an error", id_ or b"null"
        )
    if id_ in (b"", b"null"):
        raise Malformed(INVALID_REQUEST, "a result without an id")
    return Kind.RESULT


def _parse_unusual(line: bytes, cause: msgspec.ValidationError) -> Message | Batch:
    """A value that is no object, or an object whose method is no string."""
    text = line.lstrip()
    if text.startswith(b"["):
        return _parse_batch(line)
    if not text.startswith(b"{"):
        raise Malformed(INVALID_REQUEST, "neither an object nor an array") from cause
    # The rest of the text was not looked at, it may be anything.
    id_ = guess_id(line[:EXCERPT_BYTES], line[-EXCERPT_BYTES:]) or b"null"
    raise Malformed(INVALID_REQUEST, "the method is not a string", id_) from cause


def _parse_batch(line: bytes) -> Batch:
    try:
        items = _decode_array(line)
    except RecursionError as exc:
        raise Malformed(PARSE_ERROR, "nested too deeply") from exc
    except msgspec.DecodeError as exc:
        # Lone surrogates in a batch: of one revision, from a broken peer; not worth carrying.
        raise Malformed(PARSE_ERROR, f"not JSON: {exc}") from exc
    if not items:
        raise Malformed(INVALID_REQUEST, "an empty batch")
    messages = []
    for item in items:
        message = parse(bytes(item))
        if isinstance(message, Batch):
            raise Malformed(INVALID_REQUEST, "a batch within a batch")
        messages.append(message)
    return Batch(line, messages)


def _parse_lone_surrogates(line: bytes, cause: msgspec.DecodeError) -> Message:
    r"""Read a copy in which they are replaced, and carry the original.

    RFC 8259 §8.2 allows `"\ud800"`, msgspec does not.
    """
    if b"\\u" not in line:
        raise Malformed(PARSE_ERROR, f"not JSON: {cause}") from cause
    try:
        message = _message(line, _decode_envelope(_SURROGATES.sub(_without_lone, line)))
    except RecursionError as exc:
        raise Malformed(PARSE_ERROR, "nested too deeply") from exc
    except msgspec.DecodeError as exc:
        raise Malformed(PARSE_ERROR, f"not JSON: {exc}") from exc
    if b"\\ufffd" in message.id:  # the id must go back as it came
        return msgspec.structs.replace(message, id=find_id(line))
    return message


# A pair of surrogates or one alone, with all the backslashes in front.
_SURROGATES = re.compile(
    rb"(?<!\\)(?P<run>\\++)"
    rb"u(?:(?P<pair>[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    rb"|[dD][89a-fA-F][0-9a-fA-F]{2})"
)


def _without_lone(match: re.Match[bytes]) -> bytes:
    literal = len(match["run"]) % 2 == 0  # escaped backslashes, then a plain `u`
    if match["pair"]:
        return match[0][:-6] + b"\\ufffd" if literal else match[0]
    return match[0] if literal else match["run"] + b"ufffd"


def id_key(id: bytes) -> Hashable:
    r"""A key under which equal ids meet: `1` and `1.0`, `"a"` and `"\u0061"`.

    `1` and `"1"` stay apart.
    """
    if id.isdigit():
        return id
    if id.startswith(b'"'):
        return id if b"\\" not in id else _unescaped(id)
    if id in (b"", b"null"):
        return id
    try:
        number = Decimal(id.decode())
    except InvalidOperation:  # an exponent beyond 10 ** 18
        return id
    if number.adjusted() < _WRITTEN_OUT and number == int(number):
        return b"%d" % int(number)
    return number


def _unescaped(id: bytes) -> bytes:
    text = json.dumps(json.loads(id), ensure_ascii=False)
    return text.encode(errors="surrogatepass")


_WRITTEN_OUT = 40  # digits: larger whole numbers with an exponent are not expanded


# ---------------------------------------------------------------- readers of parts


def read_params(message: Message) -> Params:
    """What is needed of `params`; never raises."""
    return parts.params_of(message._envelope.params)


def read_initialize_result(message: Message) -> InitializeResult:
    """What is needed of the answer to `initialize`; never raises."""
    return parts.initialize_result_of(message._envelope.result)


def read_error(message: Message) -> tuple[int, str]:
    """The code and text of an error response; 0 and `""` where missing or of a wrong type."""
    return parts.error_of(message._envelope.error)


# ---------------------------------------------------------------- writers


def request_line(id: bytes, method: str, params: object | None = None) -> bytes:
    """A request of our own, without a newline.

    `id` is JSON text, `params` anything that `json.dumps` can write.
    """
    return b'{"jsonrpc":"2.0","id":%b,%b}' % (id, _call(method, params))


def notification_line(method: str, params: object | None = None) -> bytes:
    """A notification of our own, without a newline."""
    return b'{"jsonrpc":"2.0",%b}' % _call(method, params)


def result_line(id: bytes, result: bytes) -> bytes:
    """A result, without a newline; both arguments are JSON text."""
    return b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (id, result)


def error_line(id: bytes, code: int, message: str, data: dict[str, object] | None = None) -> bytes:
    """An error, without a newline; an empty `id` becomes null."""
    error: dict[str, object] = {"code": code, "message": message}
    if data is not None:
        error["data"] = data
    return b'{"jsonrpc":"2.0","id":%b,"error":%b}' % (id or b"null", _encode(error))


def _call(method: str, params: object | None) -> bytes:
    if params is None:
        return b'"method":%b' % _encode(method)
    return b'"method":%b,"params":%b' % (_encode(method), _encode(params))


def _encode(value: object) -> bytes:
    # ASCII with escapes: whatever stands in a message of an operating system can be written.
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()


# ---------------------------------------------------------------- messages of our own, made of JSON text

# The parts come from messages that were parsed, so nothing is parsed again, and nothing can fail.


def new_request(id: bytes, method: str, params: bytes = b"") -> Message:
    """A request; `id` and `params` are JSON text, no `params` when empty."""
    line = b'{"jsonrpc":"2.0","id":%b,%b}' % (id, _call_text(method, params))
    return Message(line, Kind.REQUEST, id, method, _Envelope(params=Raw(params)))


def new_notification(method: str, params: bytes = b"") -> Message:
    """A notification; `params` is JSON text, none when empty."""
    line = b'{"jsonrpc":"2.0",%b}' % _call_text(method, params)
    return Message(line, Kind.NOTIFICATION, b"", method, _Envelope(params=Raw(params)))


def new_result(id: bytes, result: bytes) -> Message:
    """A result; both arguments are JSON text."""
    return Message(result_line(id, result), Kind.RESULT, id, "", _Envelope(result=Raw(result)))


def new_error(id: bytes, error: bytes) -> Message:
    """An error; both arguments are JSON text, `error` that of an object."""
    line = b'{"jsonrpc":"2.0","id":%b,"error":%b}' % (id, error)
    return Message(line, Kind.ERROR, id, "", _Envelope(error=Raw(error)))


def error_text(code: int, message: str, data: dict[str, object] | None = None) -> bytes:
    """The error object of `new_error`."""
    error: dict[str, object] = {"code": code, "message": message}
    return _encode(error if data is None else {**error, "data": data})


def _call_text(method: str, params: bytes) -> bytes:
    if not params:
        return b'"method":%b' % _encode(method)
    return b'"method":%b,"params":%b' % (_encode(method), params)


# ---------------------------------------------------------------- splicing


def with_id(message: Message, id: bytes) -> bytes:
    """The text of the message with another id (JSON text), a new first member if it had none.

    Every other byte stays as it was. Of several ids the last is replaced: the one `parse` read.
    """
    return replace_id(message.raw, id) if message.id else insert_id(message.raw, id)
