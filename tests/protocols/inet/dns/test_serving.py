"""`mcpctld.protocols.inet.dns.serving`: against the side that asks, by tables and by anything at all."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpctld.protocols.inet.dns.message import Code, Kind, decode_answer, encode_query
from mcpctld.protocols.inet.dns.serving import MAX_UDP, encode_reply, read_question

ADDRESSES = [bytes([0xFD, 0xAA]) + bytes(13) + bytes([n]) for n in range(3)]
NAME = "top1.nearest.of.my-app.internal"


def ask(kind: Kind, records, name: str = NAME, most: int = 0xFFFF):
    question = read_question(encode_query(7, name, kind, edns=True))
    assert question is not None
    assert (question.id, question.name, question.kind) == (7, name.lower(), kind)
    return decode_answer(encode_reply(question, records, 5, most), 7, name, kind)


@pytest.mark.parametrize(
    ("kind", "records"),
    [
        (Kind.AAAA, ADDRESSES),
        (Kind.AAAA, []),
        (Kind.TXT, [b"my-app,other"]),
        (Kind.TXT, [b""]),
        (Kind.TXT, [b"x" * 255, b"y" * 256, b"z" * 1000]),
    ],
)
def test_what_is_asked_for_is_answered(kind, records):
    answer = ask(kind, records)
    assert (answer.code, answer.records) == (Code.NO_ERROR, tuple(records))
    assert answer.ttl == (5 if records else 0)


def test_names_have_no_case():
    assert ask(Kind.AAAA, ADDRESSES, "My-App.INTERNAL").records == tuple(ADDRESSES)


def test_no_such_name():
    answer = ask(Kind.AAAA, None)
    assert (answer.code, answer.records) == (Code.NO_SUCH_NAME, ())


def test_an_answer_too_long_for_a_datagram_is_cut_off():
    many = [bytes([n]) * 16 for n in range(100)]
    assert ask(Kind.AAAA, many, most=MAX_UDP).is_truncated
    assert ask(Kind.AAAA, many).records == tuple(many)


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[:11],
        lambda data: data[:20],
        lambda data: data[:2] + b"\x81\x00" + data[4:],  # an answer
        lambda data: data[:2] + b"\x28\x00" + data[4:],  # an update
        lambda data: data[:5] + b"\2" + data[6:],  # two questions
        lambda data: data[:12] + b"\xc0\xff" + data[14:],  # a pointer to nowhere
        lambda data: data.replace(b"\0\x1c\0\1", b"\0\x1c\0\3"),  # another class
    ],
)
def test_what_is_no_question(change):
    assert read_question(change(encode_query(7, NAME, Kind.AAAA, edns=False))) is None


@settings(deadline=None, derandomize=True)
@given(st.binary(max_size=80))
def test_anything_at_all(data):
    question = read_question(data)
    assert question is None or question.raw in data
