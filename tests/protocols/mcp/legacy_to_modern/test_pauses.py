"""`legacy_to_modern.pauses`: pauses that grow."""

from mcpctld.protocols.mcp.legacy_to_modern.pauses import Pauses


def test_pauses_double_up_to_the_last():
    pauses = Pauses(0.05, 0.25)
    assert [pauses.take() for _ in range(5)] == [0.05, 0.1, 0.2, 0.25, 0.25]
    pauses.reset()
    assert pauses.take() == 0.05
