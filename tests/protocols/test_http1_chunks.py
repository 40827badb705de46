"""`mcpctld.protocols.http1_chunks`: chunks however they are cut, and nothing but chunks."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpctld.protocols.http1_chunks import MAX_IDLE_TALK, MAX_LINE, ChunkedBody


def read(*pieces: bytes, max_bytes: int = 1000) -> tuple[bytes, object, bytes]:
    """What was decoded, how it ended, what is left over."""
    body = ChunkedBody(max_bytes)
    decoded = b"".join(map(body.decode, pieces))
    end = body.broken.status if body.broken else "ended" if body.ended else None
    return decoded, end, body.rest if body.ended else b""


def bytewise(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


NEXT = b"GET / HTTP/1.1"
COMPLETE = {
    "empty": (b"0\r\n\r\n", b""),
    "two": (b"2\r\nhi\r\n3\r\n ho\r\n0\r\n\r\n", b"hi ho"),
    "hexadecimal": (b"00000000000000Aa\r\n" + b"x" * 170 + b"\r\n000\r\n\r\n", b"x" * 170),
    "data like framing": (b"9\r\n\r\n0\r\n\r\n\r\n\r\n0\r\n\r\n", b"\r\n0\r\n\r\n\r\n"),
    "extensions": (b'2;a;b = "c\xe9"\r\nhi\r\n0;\r\n\r\n', b"hi"),
    "trailers": (b"2\r\nhi\r\n0\r\nA: b\r\nContent-Length:9\r\n\r\n", b"hi"),
    "all that fits": (b"3e8\r\n" + b"x" * 1000 + b"\r\n0\r\n\r\n", b"x" * 1000),
    "long trailers": (b"0\r\n" + (b"A:" + b"b" * 4094 + b"\r\n") * 4 + b"\r\n", b""),
}


@pytest.mark.parametrize(("stream", "decoded"), COMPLETE.values(), ids=COMPLETE)
@pytest.mark.parametrize("after", [b"", NEXT, b"\r\n"])
def test_a_body_is_decoded_however_it_is_cut(stream, decoded, after):
    assert read(stream + after) == (decoded, "ended", after)
    assert read(*bytewise(stream + after)) == (decoded, "ended", after)


@pytest.mark.parametrize(("stream", "decoded"), COMPLETE.values(), ids=COMPLETE)
def test_a_body_that_is_cut_off_has_not_ended(stream, decoded):
    for end in range(0, len(stream), 1 + len(stream) // 200):
        found, how, _ = read(stream[:end])
        assert how is None
        assert decoded.startswith(found)


def broken_size(line: bytes) -> tuple[int, bytes, bytes]:
    return 400, line + b"\r\nhi\r\n0\r\n\r\n", b""


BROKEN = {
    "no size": broken_size(b""),
    "no hexadecimal size": broken_size(b"x"),
    "negative size": broken_size(b"-2"),
    "signed size": broken_size(b"+2"),
    "0x": broken_size(b"0x2"),
    "underscore": broken_size(b"0_2"),
    "space before the size": broken_size(b" 2"),
    "space after the size": broken_size(b"2 "),
    "space before an extension": broken_size(b"2 ;a"),
    "size past 64 bits": broken_size(b"00000000000000002"),
    "LF in an extension": broken_size(b"2;a\nb"),
    "CR in an extension": broken_size(b"2;a\rb"),
    "NUL in an extension": broken_size(b"2;\0"),
    "LF for a line's end": broken_size(b"2\nhi\n0\n"),
    "long extension": broken_size(b"2;" + b"a" * MAX_LINE),
    "more than was announced": (400, b"2\r\nhip\r\n0\r\n\r\n", b"hi"),
    "less than was announced": (400, b"3\r\nhi\r\n0\r\n\r\n", b"hi\r"),
    "LF after the data": (400, b"2\r\nhi\n0\r\n\r\n", b"hi"),
    "CR after the data": (400, b"2\r\nhi\r0\r\n\r\n", b"hi"),
    "folded trailer": (400, b"0\r\nA: b\r\n c\r\n\r\n", b""),
    "trailer without a colon": (400, b"0\r\nGET / HTTP/1.1\r\n\r\n", b""),
    "trailer with a space before the colon": (400, b"0\r\nA : b\r\n\r\n", b""),
    "LF in a trailer": (400, b"0\r\nA: b\nC: d\r\n\r\n", b""),
    "long trailer": (400, b"0\r\nA: " + b"b" * MAX_LINE + b"\r\n\r\n", b""),
    "many trailers": (400, b"0\r\n" + b"A: b\r\n" * (MAX_IDLE_TALK // 4 + 1) + b"\r\n", b""),
    "many extensions": (400, b"1;abcdefg\r\nx\r\n" * (MAX_IDLE_TALK // 8 + 1), b"x" * 2048),
    "body too long": (413, b"3e9\r\nx", b""),
    "body too long in the end": (413, b"3e8\r\n" + b"x" * 1000 + b"\r\n1\r\n", b"x" * 1000),
    "body much too long": (413, b"ffffffffffffffff\r\nx", b""),
    "body too long, with too many extensions":
        (413, b"1;abcdefg\r\nx\r\n" * 2048 + b"3b9;a\r\n", b"x" * 2048),
}  # fmt: skip


@pytest.mark.parametrize(("status", "stream", "decoded"), BROKEN.values(), ids=BROKEN)
def test_what_is_no_chunk_is_refused_however_it_is_cut(status, stream, decoded):
    room = 3000 if len(decoded) > 1000 else 1000
    stream += b"\r\nand whatever comes then"
    assert read(stream, max_bytes=room)[:2] == (decoded, status)
    assert read(*bytewise(stream), max_bytes=room)[:2] == (decoded, status)


@settings(deadline=None, derandomize=True)
@given(st.binary(max_size=60) | st.text("0123;\r\n\nA: ", max_size=60).map(str.encode))
def test_any_bytes_are_read_the_same_whole_and_in_pieces(stream):
    assert read(stream) == read(*bytewise(stream))


@settings(deadline=None, derandomize=True)
@given(st.lists(st.binary(min_size=1, max_size=40), max_size=6), st.integers(1, 20))
def test_what_is_encoded_is_decoded(pieces, step):
    stream = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    cut = [stream[at : at + step] for at in range(0, len(stream), step)]
    assert read(*cut) == (b"".join(pieces), "ended", b"")
