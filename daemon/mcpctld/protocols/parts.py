"""The few members of `params`, `result` and `error` that the daemon looks at.

Each reader takes the JSON text as `msgspec.Raw` and never raises: what is absent, or of a type that
MCP does not give it, reads as the empty value.
"""

from typing import Generic, TypeVar

import msgspec
from msgspec import Raw

T = TypeVar("T")


class Params(msgspec.Struct, frozen=True, gc=False):
    """What is read of the `params` of a request or notification."""

    protocol_version: str | None = None
    """Of `_meta`, from revision 2026-07-28 on."""
    progress_token: bytes = b""
    """JSON text."""
    name: str | None = None
    uri: str | None = None
    task_id: str | None = None
    request_id: bytes = b""
    """JSON text: what `notifications/cancelled` is about."""
    client_name: str | None = None
    client_version: str | None = None
    requested_version: str | None = None
    """`protocolVersion` of `initialize`."""

    def __repr__(self) -> str:  # a URI or a progress token may be a secret
        return f"<Params of {self.client_name!r}, revision {self.protocol_version!r}>"


class InitializeResult(msgspec.Struct, frozen=True, gc=False):
    """What is read of the answer to `initialize`."""

    protocol_version: str | None = None
    server_name: str | None = None
    server_version: str | None = None


def params_of(raw: Raw) -> Params:
    """Read `params`; the client's name is in `clientInfo` of `initialize`, later in `_meta`."""
    params = _read_params(raw)
    meta = _read_meta(params.meta)
    info = _read_info(params.client_info or meta.client_info)
    return Params(
        protocol_version=_text(meta.version),
        progress_token=_token(meta.progress_token),
        name=_text(params.name),
        uri=_text(params.uri),
        task_id=_text(params.task_id),
        request_id=_token(params.request_id),
        client_name=_text(info.name),
        client_version=_text(info.version),
        requested_version=_text(params.version),
    )


def initialize_result_of(raw: Raw) -> InitializeResult:
    """Read the `result` of `initialize`."""
    result = _read_result(raw)
    info = _read_info(result.server_info)
    return InitializeResult(_text(result.version), _text(info.name), _text(info.version))


def error_of(raw: Raw) -> tuple[int, str]:
    """Read an `error`: its code (0 if none) and its text."""
    error = _read_error(raw)
    try:
        code = _decode_int(error.code) if error.code else 0
    except msgspec.DecodeError:
        code = 0
    return code, _text(error.message) or ""


# ---------------------------------------------------------------- how they are read


class _RawParams(msgspec.Struct, gc=False):
    meta: Raw = msgspec.field(default=Raw(), name="_meta")
    name: Raw = Raw()
    uri: Raw = Raw()
    task_id: Raw = msgspec.field(default=Raw(), name="taskId")
    request_id: Raw = msgspec.field(default=Raw(), name="requestId")
    client_info: Raw = msgspec.field(default=Raw(), name="clientInfo")
    version: Raw = msgspec.field(default=Raw(), name="protocolVersion")


class _RawMeta(msgspec.Struct, gc=False):
    progress_token: Raw = msgspec.field(default=Raw(), name="progressToken")
    client_info: Raw = msgspec.field(default=Raw(), name="io.modelcontextprotocol/clientInfo")
    version: Raw = msgspec.field(default=Raw(), name="io.modelcontextprotocol/protocolVersion")


class _RawInfo(msgspec.Struct, gc=False):
    name: Raw = Raw()
    version: Raw = Raw()


class _RawInitializeResult(msgspec.Struct, gc=False):
    version: Raw = msgspec.field(default=Raw(), name="protocolVersion")
    server_info: Raw = msgspec.field(default=Raw(), name="serverInfo")


class _RawError(msgspec.Struct, gc=False):
    code: Raw = Raw()
    message: Raw = Raw()


class _Reader(Generic[T]):
    """Decodes one type of object; gives an empty one for everything else."""

    def __init__(self, kind: type[T]) -> None:
        self._decode = msgspec.json.Decoder(kind).decode
        self._empty = kind()

    def __call__(self, raw: Raw) -> T:
        if not raw:
            return self._empty
        try:
            return self._decode(raw)
        except (msgspec.DecodeError, RecursionError):
            # It was parsed before: so it is of another type, or as deep as the stack just allowed.
            return self._empty


_read_params = _Reader(_RawParams)
_read_meta = _Reader(_RawMeta)
_read_info = _Reader(_RawInfo)
_read_result = _Reader(_RawInitializeResult)
_read_error = _Reader(_RawError)
_decode_text = msgspec.json.Decoder(str).decode
_decode_int = msgspec.json.Decoder(int).decode


def _text(raw: Raw) -> str | None:
    if not raw:
        return None
    try:
        return _decode_text(raw)
    except msgspec.DecodeError:
        return None


def _token(raw: Raw) -> bytes:
    """An id or a progress token: a string or a number, kept as JSON text."""
    token = bytes(raw)
    return token if token and token[0] in b'"-0123456789' else b""
