"""Why a packet was dropped. Parsers raise `Dropped`; the stack catches it in one place and counts."""

import enum


class Drop(enum.Enum):
    """A reason; its value is the name by which it is counted."""

    NOT_IPV6 = "not_ipv6"
    TRUNCATED = "truncated"
    OTHER_DESTINATION = "other_destination"
    BAD_SOURCE = "bad_source"
    EXTENSION_HEADERS = "extension_headers"
    FRAGMENT = "fragment"
    UNKNOWN_PROTOCOL = "unknown_protocol"
    CHECKSUM = "checksum"
    MALFORMED = "malformed"
    NO_SOCKET = "no_socket"
    FORGED_ERROR = "forged_error"
    UNEXPECTED = "unexpected"
    OUT_OF_WINDOW = "out_of_window"
    QUEUE_FULL = "queue_full"
    RATE_LIMITED = "rate_limited"


class Dropped(Exception):
    """The packet is not for us, or is not what it should be."""

    def __init__(self, reason: Drop) -> None:
        super().__init__(reason.value)
        self.reason = reason
