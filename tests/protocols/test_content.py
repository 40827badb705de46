"""`mcpctld.protocols.content`: coded bodies, whole, cut, corrupt and hostile."""

import gzip
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpctld.protocols.content import PIECE_BYTES, ContentError, Decoder

TEXT = b'{"jsonrpc":"2.0","id":1,"result":{}}' * 20


def bare(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(data) + compressor.flush()


CODED = [
    (None, TEXT),
    ("", TEXT),
    ("identity", TEXT),
    ("gzip", gzip.compress(TEXT)),
    (" GZip ", gzip.compress(TEXT)),
    ("x-gzip", gzip.compress(TEXT, compresslevel=0)),
    ("gzip", gzip.compress(TEXT[:300]) + gzip.compress(TEXT[300:])),
    ("gzip", gzip.compress(TEXT) + b"\0" * 600),
    ("gzip", gzip.compress(TEXT[:300]) + b"\0" * 3 + gzip.compress(TEXT[300:])),
    ("deflate", zlib.compress(TEXT)),
    ("deflate", zlib.compress(TEXT, level=0)),
    ("deflate", bare(TEXT)),
]


def decode(encoding: str | None, *pieces: bytes) -> bytes:
    decoder = Decoder(encoding)
    output = []
    for piece in pieces:
        output += decoder.decode(piece)
    assert all(output)
    decoder.finish()
    return b"".join(output)


def bytewise(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


@pytest.mark.parametrize(("encoding", "body"), CODED)
def test_a_body_is_decoded_however_it_is_cut(encoding, body):
    assert decode(encoding, body) == TEXT
    assert decode(encoding, *bytewise(body)) == TEXT


def test_output_comes_as_soon_as_it_can():
    compressor = zlib.compressobj(wbits=31)
    flushed = compressor.compress(b"data: a\n\n") + compressor.flush(zlib.Z_SYNC_FLUSH)
    assert list(Decoder("gzip").decode(flushed)) == [b"data: a\n\n"]


@pytest.mark.parametrize("encoding", [None, "gzip", "deflate"])
def test_an_empty_body_needs_no_coding(encoding):
    assert decode(encoding) == b""
    assert decode(encoding, b"") == b""


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "chunked", "x" * 500])
def test_other_codings_are_refused_by_name(encoding):
    with pytest.raises(ContentError) as caught:
        Decoder(encoding)
    assert encoding[:20] in str(caught.value)
    assert len(str(caught.value)) < 100


@pytest.mark.parametrize(
    ("encoding", "body", "complaint"),
    [
        ("gzip", b"not gzip", "corrupt"),
        ("gzip", zlib.compress(TEXT), "corrupt"),
        ("gzip", gzip.compress(TEXT)[:-8] + b"\0" * 8, "corrupt"),
        ("gzip", gzip.compress(TEXT) + b"garbage", "corrupt"),
        ("deflate", b"\x78\x9cgarbage", "corrupt"),
        ("deflate", b"\xff\xff", "corrupt"),
        ("deflate", zlib.compress(TEXT) + b"x", "after the end"),
        ("gzip", gzip.compress(TEXT)[:-1], "cut short"),
        ("deflate", zlib.compress(TEXT)[:-5], "cut short"),
    ],
)
def test_a_faulty_body_is_an_error(encoding, body, complaint):
    with pytest.raises(ContentError, match=complaint):
        decode(encoding, body)
    with pytest.raises(ContentError, match=complaint):
        decode(encoding, *bytewise(body))


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
@pytest.mark.parametrize("size", [PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 5_000_000])
def test_a_bomb_comes_in_pieces_of_a_bounded_size(encoding, size):
    bomb = b"x" * size
    packed = gzip.compress(bomb) if encoding == "gzip" else zlib.compress(bomb)
    decoder = Decoder(encoding)
    lengths = [len(piece) for piece in decoder.decode(packed)]
    decoder.finish()
    assert sum(lengths) == size
    assert max(lengths) <= PIECE_BYTES


def test_whoever_reads_a_bomb_may_stop():
    pieces = Decoder("gzip").decode(gzip.compress(b"\0" * 50_000_000))
    assert len(next(pieces)) == PIECE_BYTES
    pieces.close()


@pytest.mark.parametrize("cut", [0, 1, 2, 3, 7])
def test_nothing_is_held_back_when_the_input_ends_in_the_middle_of_a_piece(cut):
    """The last bytes of input stand for more output than one piece holds."""
    text = b"\0" * (8 * PIECE_BYTES)
    packed = zlib.compress(text, 9)[:-4]  # all but the checksum
    decoder = Decoder("deflate")
    first = b"".join(decoder.decode(packed[: len(packed) - cut]))
    rest = b"".join(decoder.decode(packed[len(packed) - cut :]))
    assert first + rest == text
    if not cut:
        assert first == text


@given(st.sampled_from(["gzip", "deflate"]), st.binary(max_size=200), st.booleans())
@settings(deadline=None)
def test_any_bytes_are_decoded_or_refused(encoding, body, with_header):
    if with_header:
        body = (gzip.compress(b"a") if encoding == "gzip" else zlib.compress(b"a")) + body
    try:
        decode(encoding, body)
    except ContentError:
        return
