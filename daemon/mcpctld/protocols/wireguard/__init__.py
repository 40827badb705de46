"""WireGuard, both sides of it: datagrams in, packets out, and the other way round.

In the order to read:

* `device`      the façade: a private key and its peers
* `peer`        one peer: messages, packets to send, time
* `handshakes`  Noise, indices, timestamps and cookies put together; `noise`, `cookies`, `tai64n` are the parts
* `keypairs`    the sessions of a peer; `keypair` one session, `replay` its window
* `timers`      what is due when
* `messages`    the four messages; `packets` the little that is read of the packets inside
* `allowed_ips` `indices` `flood` `clock` `shared`   the tables of a device
* `limits` `counters` `events` `addresses` `keys` `hashes` `xchacha`   what all of them use
* `wg_quick`    configuration files; `wg_quick_values` what stands in them
* `carrier`     datagrams in a stream of bytes, as Fly's gateways take them over WebSocket

Everything of the whitepaper is here, and what the Linux kernel adds where the whitepaper is silent. Not here: sockets,
names of hosts, the ECN bits and DSCP of the outer packet.
"""
