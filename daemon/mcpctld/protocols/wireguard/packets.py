"""The little that is looked at in the packets inside: where from, where to, how long (RFC 791, RFC 8200)."""

_IPV4_HEADER = 20
_IPV6_HEADER = 40


def destination_of(packet: bytes) -> bytes | None:
    """The address, 4 or 16 bytes; None if it is no IP packet."""
    version = packet[0] >> 4 if packet else 0
    if version == 6 and len(packet) >= _IPV6_HEADER:
        return packet[24:40]
    if version == 4 and len(packet) >= _IPV4_HEADER:
        return packet[16:20]
    return None


def unpad(padded: bytes) -> tuple[bytes, bytes] | None:
    """The packet without its padding, and its source; None if it is no IP packet, or is cut short (§5.4.6)."""
    version = padded[0] >> 4
    if version == 6 and len(padded) >= _IPV6_HEADER:
        end = _IPV6_HEADER + (padded[4] << 8 | padded[5])
        source = padded[8:24]
    elif version == 4 and len(padded) >= _IPV4_HEADER:
        end = padded[2] << 8 | padded[3]
        source = padded[12:16]
        if end < _IPV4_HEADER:
            return None
    else:
        return None
    return (padded[:end], source) if end <= len(padded) else None
