"""Goodput over bad networks, as a table: what is measured, and how it is written down.

`python tests/netsim/grid.py` measures all anew and writes `goodput.txt`; the test compares. All of it is virtual time
and seeded, so a figure changes only if the stack does something else.
"""

import random
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from mcpctld.protocols.inet.tcp.state import Settings
from netsim.network import LEFT_PORT, RIGHT_PORT, Conditions, Network, Transfer

TABLE = Path(__file__).with_name("goodput.txt")
SIZE = 300_000
LOSSES = (0.0, 0.001, 0.01, 0.05)
RTTS_MS = (1, 40, 200)
BUFFERS_KIB = (16, 64, 256)
TROUBLES = {
    "none": Conditions(),
    "reorder": Conditions(reorder=0.02),
    "duplicate": Conditions(duplicate=0.05),
    "corrupt": Conditions(corrupt=0.005),
    "blackhole": Conditions(mtu=1400),
}


class Cell(NamedTuple):
    """One kind of network and of connection."""

    trouble: str
    loss: float
    rtt_ms: int
    buffer_kib: int

    def __str__(self) -> str:
        return f"{self.trouble:<10} {100 * self.loss:>4g} {self.rtt_ms:>5} {self.buffer_kib:>6}"


def cells(trouble: str) -> Iterator[Cell]:
    """All with this trouble."""
    for loss in LOSSES:
        for rtt_ms in RTTS_MS:
            for buffer_kib in BUFFERS_KIB:
                yield Cell(trouble, loss, rtt_ms, buffer_kib)


def measure(cell: Cell) -> float:
    """Bytes a second, from the first SYN until all has been read. Raises `AssertionError` if it is not that."""
    conditions = replace(TROUBLES[cell.trouble], loss=cell.loss, delay=cell.rtt_ms / 2000)
    network = Network(conditions, seed=7)
    size = cell.buffer_kib * 1024
    left, right = network.connect(
        Settings(local_port=LEFT_PORT, send_buffer=size, receive_buffer=size),
        Settings(local_port=RIGHT_PORT, send_buffer=size, receive_buffer=size),
    )
    transfer = Transfer(network, left, right, random.Random(7).randbytes(SIZE))
    begin = network.now
    assert network.run(transfer.step), f"the transfer did not end: {cell}"
    assert transfer.is_intact, f"the transfer was not intact: {cell}"
    return SIZE / (network.now - begin)


def read_table() -> dict[str, int]:
    """The figures that hold, in kB/s, by `str(cell)`."""
    lines = [line for line in TABLE.read_text().splitlines() if line and not line.startswith("#")]
    return {line[:28].rstrip(): int(line[28:]) for line in lines}


def write_table() -> None:
    """Measure all anew."""
    lines = [
        f"# Goodput of {SIZE // 1000} kB in kB/s; written by grid.py, compared by test_grid.py.",
        "# trouble loss_% rtt_ms buffer_KiB kB/s",
    ]
    for trouble in TROUBLES:
        for cell in cells(trouble):
            lines.append(f"{cell!s:<28} {measure(cell) / 1000:>8.0f}")
            print(lines[-1])
    TABLE.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    write_table()
