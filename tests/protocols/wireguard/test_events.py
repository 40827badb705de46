"""`mcpctld.protocols.wireguard.events`: no contents are shown."""

from mcpctld.protocols.wireguard.events import PacketReceived


def test_a_packet_is_shown_by_its_size_and_whose_it_is():
    shown = repr(PacketReceived(bytes(32), b"secret" * 10))
    assert shown == f"<PacketReceived of 60 bytes from {'A' * 43}=>"
