"""`mcpctld.protocols.wireguard.wg_quick_values`: tables of what is read, and of what is refused."""

import contextlib
import ipaddress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpctld.protocols.wireguard import wg_quick_values as values

READ = [
    (values.interface, "10.0.0.2/24", ipaddress.ip_interface("10.0.0.2/24")),
    (values.interface, "fdaa::2", ipaddress.ip_interface("fdaa::2/128")),
    (values.network, "10.0.0.7/24", ipaddress.ip_network("10.0.0.0/24")),
    (values.network, "fdaa:0:18::/48", ipaddress.ip_network("fdaa:0:18::/48")),
    (values.network, "10.0.0.7", ipaddress.ip_network("10.0.0.7/32")),
    (values.network, "0.0.0.0/0", ipaddress.ip_network("0.0.0.0/0")),
    (values.dns, "fdaa:0:18::3", ipaddress.ip_address("fdaa:0:18::3")),
    (values.dns, "corp.example", "corp.example"),
    (values.mtu, "1280", 1280),
    (values.mtu, "576", 576),
    (values.mtu, "65535", 65535),
    (values.seconds, "25", 25),
    (values.seconds, "65535", 65535),
    (values.seconds, "0", None),
    (values.seconds, "off", None),
    (values.seconds, "OFF", None),
    (values.endpoint, "gw.example:51820", ("gw.example", 51820)),
    (values.endpoint, "192.0.2.1:1", ("192.0.2.1", 1)),
    (values.endpoint, "[2001:db8::1]:65535", ("2001:db8::1", 65535)),
]

REFUSED = [
    *((values.interface, text) for text in ("", "10.0.0", "10.0.0.2/33", "example")),
    *((values.network, text) for text in ("", "fdaa::/129", "all", "10.0.0.0/-1")),
    *((values.dns, text) for text in ("", "a b", "-x", "http://x", "8.8.8.8/32")),
    *((values.mtu, text) for text in ("", "575", "65536", "-1280", "1e3", "0000000001280", "١٢٨٠")),
    *((values.seconds, text) for text in ("", "65536", "-1", "1.5", "on", "9" * 5000)),
    *(
        (values.endpoint, text)
        for text in ("", "gw.example", "gw.example:", "gw.example:0", ":51820")
    ),
    *(
        (values.endpoint, text)
        for text in ("gw:65536", "2001:db8::1:51820", "[192.0.2.1]:1", "[x]:1")
    ),
    *((values.endpoint, text) for text in ("a b:1", "[2001:db8::1:51820", "gw:+1", "gw:1 ")),
]


@pytest.mark.parametrize(("read", "text", "value"), READ)
def test_what_is_read(read, text, value):
    assert read(text) == value


@pytest.mark.parametrize(("read", "text"), REFUSED)
def test_what_is_refused_says_what_to_write_and_does_not_repeat_it(read, text):
    with pytest.raises(ValueError, match=r"^write ") as caught:
        read(text)
    assert len(text) < 3 or text not in str(caught.value)


@settings(deadline=None, derandomize=True)
@given(st.sampled_from(sorted({read for read, _, _ in READ}, key=repr)), st.text(max_size=30))
def test_any_text(read, text):
    with contextlib.suppress(ValueError):
        read(text)
