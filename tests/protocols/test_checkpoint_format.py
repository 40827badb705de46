"""What a daemon left is read whatever stands there: a checkpoint, half of one, or anything else."""

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpctld.protocols.checkpoint_format import (
    CHECKSUM,
    MAGIC,
    MIDLINE,
    NUMBER,
    PIECE,
    SENT,
    SLOT,
    SLOTS,
    UNIT,
    Extent,
    Found,
    Line,
    Mark,
    Notes,
    Unusable,
    elide,
    encode_notes,
    encode_slot,
    read,
    split,
    split_elided,
)

NO_NOTES = Notes()
WHOLE = [b"", b"x", b"a\x05b", b"a\x05\x05b", b"a\x05x\x05b", b"\x05" + b"9" * 20 + b"\x05"]


def image(
    log: bytes = b"",
    notes: Notes = NO_NOTES,
    generation: int = 1,
    start: int = UNIT,
    size: int = UNIT,
) -> bytearray:
    """Memory with one generation in it."""
    encoded = encode_notes(notes)
    raw = bytearray(4 * UNIT)
    raw[: len(MAGIC)] = MAGIC
    put_slot(raw, Extent(generation, start, size, len(encoded)), encoded)
    raw[start : start + len(encoded) + len(log)] = encoded + log
    return raw


def put_slot(raw: bytearray, extent: Extent, notes: bytes) -> None:
    at = SLOTS[extent.generation & 1]
    slot = encode_slot(extent, notes)
    raw[at : at + len(slot)] = slot


def found_in(raw: bytearray) -> Found:
    found = read(bytes(raw))  # type: ignore[arg-type]
    assert found is not None
    return found


def test_lines_come_with_their_marks_in_order_and_done_and_blank_ones_do_not():
    log = b'{"id":1}\x01{"id":2}\x02{"id":3}\x03 \t\r\n\n{"id":4}\x04{"id":5}\n{"id":6}\x06{"id":7'
    found = found_in(image(log))
    assert found.lines == [
        Line(Mark.HANDED, b'{"id":1}'),
        Line(Mark.KEPT, b'{"id":3}'),
        Line(Mark.LOST, b'{"id":4}'),
        Line(Mark.READ, b'{"id":5}'),
        Line(Mark.HEARD, b'{"id":6}'),
    ]
    assert found.partial == b'{"id":7'
    assert not found.midline
    assert found.sent == 0


def test_notes_and_flags_are_read():
    notes = Notes(12.5, "2025-11-25", ["tools"], b"session", b"owed")
    raw = image(b"", notes)
    raw[MIDLINE] = 1
    raw[SENT : SENT + NUMBER.size] = NUMBER.pack(3)
    found = found_in(raw)
    assert (found.notes, found.midline, found.sent) == (notes, True, 3)


def test_no_more_was_sent_than_there_is():
    raw = image(b"", Notes(output=b"owed"))
    raw[SENT : SENT + NUMBER.size] = NUMBER.pack(2**63)
    assert found_in(raw).sent == 4


def test_a_log_may_fill_its_extent_and_be_longer_than_a_piece():
    notes = encode_notes(Notes())
    log = b"x" * (2 * PIECE - len(notes))
    assert found_in(image(log, size=2 * UNIT)).partial == log


def test_the_higher_generation_is_in_force_unless_its_slot_is_torn():
    raw = image(b"old\n", generation=4)
    notes = encode_notes(Notes(revision="new"))
    put_slot(raw, Extent(5, 2 * UNIT, UNIT, len(notes)), notes)
    raw[2 * UNIT : 2 * UNIT + len(notes) + 4] = notes + b"new\n"
    assert found_in(raw).lines == [Line(Mark.READ, b"new")]
    raw[SLOTS[1] + 3] ^= 1
    assert found_in(raw).lines == [Line(Mark.READ, b"old")]


@pytest.mark.parametrize("length", range(len(MAGIC)))
def test_a_daemon_that_died_before_it_had_begun_has_left_nothing(length: int):
    raw = bytearray(UNIT)
    raw[:length] = MAGIC[:length]
    assert read(raw) is None  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "another version"),
        (bytes(UNIT - 1), "another version"),
        (b"mcpctl\x02\n" + bytes(UNIT), "another version"),
        (MAGIC + bytes(UNIT), "damaged"),
    ],
)
def test_what_is_no_checkpoint_is_unusable(raw: bytes, said: str):
    with pytest.raises(Unusable, match=said):
        read(raw)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("extent", "notes"),
    [
        (Extent(1, 0, UNIT, 0), b""),
        (Extent(1, UNIT + 1, UNIT, 0), b""),
        (Extent(1, UNIT, UNIT + 1, 0), b""),
        (Extent(1, UNIT, UNIT, UNIT + 1), b""),
        (Extent(1, UNIT, 2**63, 0), b""),
        (Extent(1, UNIT, UNIT, 3), b"\xc1\xc1\xc1"),
        (Extent(1, UNIT, UNIT, 900), b"\x91" * 900),
    ],
)
def test_a_slot_with_a_right_checksum_and_wrong_contents_is_unusable(extent: Extent, notes: bytes):
    raw = bytearray(4 * UNIT)
    raw[: len(MAGIC)] = MAGIC
    put_slot(raw, extent, notes)
    raw[UNIT : UNIT + len(notes)] = notes
    with pytest.raises(Unusable):
        read(bytes(raw))  # type: ignore[arg-type]


@given(st.data())
def test_any_bytes_are_read_or_unusable(data: st.DataObject):
    raw = image(data.draw(st.binary(max_size=200)), Notes(output=data.draw(st.binary(max_size=9))))
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.sampled_from((0, *SLOTS, MIDLINE, UNIT))) + data.draw(st.integers(0, 40))
        piece = data.draw(st.binary(max_size=12))
        raw[at : at + len(piece)] = piece
    if data.draw(st.booleans()):  # a hostile one knows how to sum
        text = bytes(raw[SLOTS[1] : SLOTS[1] + SLOT.size])
        start, length = SLOT.unpack(text)[1], SLOT.unpack(text)[3]
        checksum = zlib.crc32(bytes(raw[start : start + length]), zlib.crc32(text))
        raw[SLOTS[1] + SLOT.size : SLOTS[1] + SLOT.size + 4] = CHECKSUM.pack(checksum)
    try:
        found = read(bytes(raw))  # type: ignore[arg-type]
    except Unusable:
        return
    assert found is None or isinstance(found, Found)


@given(st.binary())
def test_splitting_loses_nothing_that_is_to_be_done(log: bytes):
    lines, partial = split(log)
    assert log.endswith(partial)
    for line in lines:
        assert bytes([*line.text, line.mark]) in log


@given(st.binary(max_size=50), st.integers(0, 10**12), st.binary(max_size=50))
def test_a_line_that_is_too_long_comes_apart_as_it_was_put_together(head, count, tail):
    if b"\x05" not in head:
        assert split_elided(elide(head, count, tail)) == (head, count, tail)


@pytest.mark.parametrize("text", WHOLE)
def test_a_line_in_which_nothing_was_left_out(text: bytes):
    assert split_elided(text) is None


def test_what_is_shown_are_sizes():
    secret = "s3cr3t"
    notes = Notes(output=secret.encode(), remembrance=secret.encode())
    found = found_in(image(secret.encode() + b"\n", notes))
    assert secret not in repr(found) + repr(found.notes) + repr(found.lines)
