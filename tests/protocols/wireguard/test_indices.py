"""`mcpctld.protocols.wireguard.indices`: whose an index is."""

from mcpctld.protocols.wireguard.indices import IndexTable


def test_an_index_is_somebodys_until_it_is_released():
    table: IndexTable[str] = IndexTable(drawn(b"\1\0\0\0", b"\2\0\0\xff"))
    one, other = table.allocate("one"), table.allocate("other")
    assert (one, other) == (1, 0xFF000002)
    assert (table.owner(one), table.owner(other), table.owner(7)) == ("one", "other", None)
    table.release([one, 99])
    assert (table.owner(one), len(table)) == (None, 1)


def drawn(*values: bytes):
    left = iter(values)
    return lambda size: next(left)[:size]


def test_an_index_that_is_taken_is_not_given_again():
    table: IndexTable[str] = IndexTable(drawn(b"\1\0\0\0", b"\1\0\0\0", b"\3\0\0\0"))
    assert [table.allocate("one"), table.allocate("one")] == [1, 3]
