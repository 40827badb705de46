"""`mcpctld.protocols.inet.dns.message`: questions out, answers in."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpctld.protocols.inet.dns.message import (
    MAX_ALIASES,
    MAX_RECORDS,
    MAX_TTL_S,
    Answer,
    Code,
    Kind,
    MalformedMessage,
    decode_answer,
    encode_query,
)
from mcpctld.protocols.inet.dns.names import encode_name

ID, NAME = 0x1234, "my-app.internal"
ONE, TWO = bytes.fromhex("fdaa" + "00" * 13 + "01"), bytes.fromhex("fdaa" + "00" * 13 + "02")
AAAA, TXT, CNAME, SOA = 28, 16, 5, 6
QUESTION = encode_name(NAME) + b"\0\x1c\0\1"
SELF = b"\xc0\x0c"  # the name of the question


def record(name: bytes, kind: int, data: bytes, ttl: int = 60, class_: int = 1) -> bytes:
    return name + struct.pack("!HHIH", kind, class_, ttl, len(data)) + data


def answer(
    *records: bytes,
    authority: tuple[bytes, ...] = (),
    flags: int = 0x8180,
    id_: int = ID,
    question: bytes = QUESTION,
    counts: tuple[int, int, int, int] | None = None,
) -> bytes:
    counts = counts or (1, len(records), len(authority), 0)
    return struct.pack("!HHHHHH", id_, flags, *counts) + question + b"".join((*records, *authority))


def soa(ttl: int, minimum: int) -> bytes:
    return record(b"\0", SOA, b"\0\0" + struct.pack("!IIIII", 1, 2, 3, 4, minimum), ttl)


def decode(data: bytes, name: str = NAME, kind: Kind = Kind.AAAA) -> Answer:
    return decode_answer(data, ID, name, kind)


def test_the_bytes_of_a_question():
    head = "123401000001000000000000"
    assert encode_query(ID, NAME, Kind.AAAA, edns=False).hex() == head + QUESTION.hex()
    edns = encode_query(ID, "_apps.internal", Kind.TXT, edns=True)
    assert edns[10:12] == b"\0\1"
    assert edns.endswith(b"\0\x10\0\1" + b"\0" + bytes.fromhex("002904d0000000000000"))


def test_only_host_names_are_asked_for():
    with pytest.raises(ValueError, match="not a host name"):
        encode_query(ID, "a b", Kind.AAAA, edns=True)


def test_all_addresses_come_with_the_least_of_their_lifetimes():
    data = answer(record(SELF, AAAA, ONE, 60), record(SELF, AAAA, TWO, 5))
    assert decode(data) == Answer(0, (ONE, TWO), 5)
    assert decode(data).exists


def test_case_does_not_matter():
    question = encode_name("My-App.INTERNAL") + b"\0\x1c\0\1"
    assert decode(answer(record(SELF, AAAA, ONE), question=question), "MY-app.internal.").records


def test_texts_are_put_together():
    question = encode_name("_apps.internal") + b"\0\x10\0\1"
    data = answer(
        record(SELF, TXT, b"\5one,t\2wo"), record(SELF, TXT, b"\0"), record(SELF, TXT, b""),
        question=question,
    )  # fmt: skip
    assert decode(data, "_apps.internal", Kind.TXT).records == (b"one,two", b"", b"")


def test_an_alias_is_followed_and_its_lifetime_counts():
    target = encode_name("real.internal")
    data = answer(record(SELF, CNAME, target, 7), record(target, AAAA, ONE, 60))
    assert decode(data) == Answer(0, (ONE,), 7)


def test_the_order_of_records_does_not_matter():
    one, two = encode_name("one.internal"), encode_name("two.internal")
    data = answer(record(two, AAAA, TWO), record(one, CNAME, two), record(SELF, CNAME, one))
    assert decode(data).records == (TWO,)


def test_records_of_other_names_classes_and_kinds_do_not_count():
    data = answer(
        record(encode_name("other.internal"), AAAA, ONE),
        record(SELF, AAAA, ONE, class_=3),
        record(SELF, TXT, b"\1a"),
        record(SELF, AAAA, TWO),
    )
    assert decode(data).records == (TWO,)


def test_an_alias_that_leads_nowhere_is_no_address():
    data = answer(record(SELF, CNAME, encode_name("gone.internal")))
    assert decode(data) == Answer(0, (), 0)


@pytest.mark.parametrize(
    ("ttl", "kept"), [(0, 0), (MAX_TTL_S, MAX_TTL_S), (2**31 - 1, MAX_TTL_S), (2**31, 0)]
)
def test_lifetimes_are_bounded(ttl, kept):
    assert decode(answer(record(SELF, AAAA, ONE, ttl))).ttl == kept


@pytest.mark.parametrize(
    ("authority", "kept"),
    [((), 0), ((soa(30, 5),), 5), ((soa(3, 60),), 3), ((record(b"\0", 2, b"\0"), soa(9, 9)), 9)],
)
def test_absence_may_be_kept_as_long_as_the_soa_says(authority, kept):
    data = answer(authority=authority, flags=0x8183)
    assert decode(data) == Answer(Code.NO_SUCH_NAME, (), kept)
    assert not decode(data).exists


def test_a_truncated_answer_tells_only_that():
    data = answer(flags=0x8380, counts=(1, 9, 0, 0))
    assert decode(data) == Answer(0, is_truncated=True)


@pytest.mark.parametrize("code", range(16))
def test_every_code_is_told(code):
    assert decode(answer(flags=0x8180 | code)).code == code


LOOP = [
    record(encode_name(f"a{n}.internal"), CNAME, encode_name(f"a{n + 1}.internal"))
    for n in range(20)
]
REFUSED = {
    "nothing": b"",
    "half a header": answer()[:11],
    "another id": answer(id_=1),
    "a question": answer(flags=0x0100),
    "another operation": answer(flags=0xA980),
    "no question": answer(counts=(0, 0, 0, 0)),
    "two questions": answer(counts=(2, 0, 0, 0)),
    "another name": answer(question=encode_name("other.internal") + b"\0\x1c\0\1"),
    "another kind": answer(question=encode_name(NAME) + b"\0\x10\0\1"),
    "another class": answer(question=encode_name(NAME) + b"\0\x1c\0\3"),
    "half a question": answer()[:-1],
    "a name without end": answer()[:20],
    "fewer records than told": answer(record(SELF, AAAA, ONE), counts=(1, 2, 0, 0)),
    "half a record": answer(record(SELF, AAAA, ONE)[:-1]),
    "half an address": answer(record(SELF, AAAA, ONE[:15])),
    "a longer address": answer(record(SELF, AAAA, ONE + b"\0")),
    "more records than can be": answer(counts=(1, MAX_RECORDS, 1, 0)),
    "aliases without end": answer(record(SELF, CNAME, encode_name("a0.internal")), *LOOP),
    "an alias of itself": answer(record(SELF, CNAME, SELF)),
    "an alias to no name": answer(record(SELF, CNAME, b"\xff")),
    "half an SOA": answer(authority=(record(b"\0", SOA, bytes(21)),), flags=0x8183),
    "a loop of pointers": answer(record(b"\xc0\x21", AAAA, ONE)),
}


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED)
def test_everything_else_is_no_answer(data):
    with pytest.raises(MalformedMessage):
        decode(data)


def test_a_text_beyond_its_record_is_no_answer():
    question = encode_name(NAME) + b"\0\x10\0\1"
    with pytest.raises(MalformedMessage):
        decode(answer(record(SELF, TXT, b"\5abc"), question=question), kind=Kind.TXT)


def test_so_many_aliases_are_followed():
    chain = [record(SELF, CNAME, encode_name("a0.internal")), *LOOP[: MAX_ALIASES - 1]]
    last = encode_name(f"a{MAX_ALIASES - 1}.internal")
    assert decode(answer(*chain, record(last, AAAA, ONE))).records == (ONE,)


GOOD = answer(
    record(SELF, CNAME, encode_name("real.internal")),
    record(encode_name("real.internal"), AAAA, ONE),
    authority=(soa(30, 5),),
)


def test_an_answer_cut_anywhere_is_none():
    for length in range(len(GOOD) - len(soa(30, 5))):
        with pytest.raises(MalformedMessage):
            decode(GOOD[:length])


@given(st.binary(max_size=200), st.integers(0, len(GOOD)), st.integers(0, len(GOOD)))
@settings(deadline=None, derandomize=True, max_examples=400)
def test_any_bytes_are_an_answer_or_none(noise, start, end):
    for data in (noise, GOOD[:start] + noise + GOOD[end:], answer(noise, counts=(1, 3, 3, 3))):
        for kind in Kind:
            try:
                assert isinstance(decode(data, kind=kind), Answer)
            except MalformedMessage:
                continue
