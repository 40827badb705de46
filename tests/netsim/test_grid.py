"""Every transfer over every bad network ends, intact, and as fast as `goodput.txt` says."""

import pytest

from netsim.grid import TROUBLES, cells, measure, read_table

TOLERANCE = 0.1
SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in TROUBLES if name != "none"]


@pytest.mark.parametrize("trouble", ["none", *SLOW])
def test_goodput_is_what_it_was(trouble):
    """A change of more than a tenth, for better or worse, is to be looked at: then write the table anew (grid.py)."""
    table = read_table()
    changed = []
    for cell in cells(trouble):
        found, before = measure(cell) / 1000, table[str(cell)]
        if abs(found - before) > TOLERANCE * before:
            changed.append(f"{cell}: {before} kB/s before, now {found:.0f}")
    assert changed == []


def test_the_table_holds_all_of_them():
    assert set(read_table()) == {str(cell) for trouble in TROUBLES for cell in cells(trouble)}
