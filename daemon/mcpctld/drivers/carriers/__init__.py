"""How WireGuard's datagrams get to the other side.

* `carrier`    what a carrier is
* `udp`        as the protocol has it
* `websocket`  within a stream of bytes, for networks that let no UDP out: Fly's gateways take that
* `path`       the way to one peer: which carriers are up, which is used, and what happens when one dies
* `link`       a device on its paths, as a link that carries packets
"""
