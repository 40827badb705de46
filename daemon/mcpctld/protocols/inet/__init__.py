"""A network stack of our own: IPv6 for one host behind a tunnel, client side. `docs/inet.md` says what is supported.

stack.py            the whole: packets in and out, one timer; sockets by address and port
tcp/ udp.py         what runs over it
dns/                names to addresses
icmpv6.py ipv6.py   errors and echo; headers
checksum.py ports.py timers.py limiter.py path_mtu.py drops.py    what several of them need
"""
