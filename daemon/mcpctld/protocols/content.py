"""Content codings of HTTP bodies (RFC 9110 §8.4.1): gzip, deflate, identity.

`deflate` is taken in both meanings that servers give it: the zlib format (RFC 1950), as the
standard says, and bare RFC 1951 data. Several codings on one body are not supported.
"""

import zlib
from collections.abc import Iterator
from typing import Protocol

PIECE_BYTES = 256 * 1024
"""A megabyte can inflate to a gigabyte: output comes in pieces, and whoever gets them knows when to stop."""


class ContentError(Exception):
    """The body cannot be decoded: an unknown coding, or corrupt data."""


class _Inflate(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    @property
    def unconsumed_tail(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


_IDENTITY = ("", "identity")
_GZIP = ("gzip", "x-gzip")
_GZIP_WINDOW = 16 + zlib.MAX_WBITS  # zlib's way to say: gzip format only
_ZLIB_METHOD = (
    8  # low four bits of the first byte (RFC 1950 §2.2); bare deflate data never begins so
)


class Decoder:
    """Decodes one body, however long. `encoding` is the value of Content-Encoding.

    Raises `ContentError` for a coding that is not supported.
    """

    def __init__(self, encoding: str | None) -> None:
        coding = (encoding or "").strip().lower()
        if coding not in (*_IDENTITY, *_GZIP, "deflate"):
            raise ContentError(f"content coding {coding[:40]!r} is not supported")
        self._coding = coding
        self._inflate: _Inflate | None = None  # of the part being read

    def decode(self, data: bytes) -> Iterator[bytes]:
        """The output for the next bytes of the body, in pieces that are never empty and hold at most `PIECE_BYTES`.

        To be read to its end, unless the rest of the body is of no interest either. Raises `ContentError`.
        """
        if self._coding in _IDENTITY:
            if data:
                yield data
            return
        while data:
            if self._inflate is None or self._inflate.eof:
                data = self._next_part(data)
                continue
            yield from self._pieces(self._inflate, data)
            data = self._inflate.unused_data

    def _pieces(self, inflate: _Inflate, data: bytes) -> Iterator[bytes]:
        full = False
        while data or full:
            try:
                piece = inflate.decompress(data, PIECE_BYTES)
            except zlib.error as exc:
                raise ContentError(f"the {self._coding} body is corrupt: {exc}") from exc
            if piece:
                yield piece
            data = inflate.unconsumed_tail
            full = len(piece) == PIECE_BYTES  # zlib may hold back output without any input left

    def _next_part(self, data: bytes) -> bytes:
        """Begin the body, or what follows a finished part; gives back the bytes still to decode."""
        if self._coding in _GZIP:
            if (
                self._inflate is not None
            ):  # RFC 1952 §2.2: members in a row; padding of zeros is common
                data = data.lstrip(b"\0")
            self._inflate = zlib.decompressobj(_GZIP_WINDOW) if data else self._inflate
        elif self._inflate is None:
            has_header = data[0] & 0x0F == _ZLIB_METHOD
            self._inflate = zlib.decompressobj(zlib.MAX_WBITS if has_header else -zlib.MAX_WBITS)
        else:
            raise ContentError("there are bytes after the end of the deflate body")
        return data

    def finish(self) -> None:
        """The body has ended. Raises `ContentError` if it ended early."""
        if self._inflate is not None and not self._inflate.eof:
            raise ContentError(f"the {self._coding} body is cut short")
