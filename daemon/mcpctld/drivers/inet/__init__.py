"""The network stack of `protocols/inet`, pumped: `host` carries packets and keeps time, `stream` reads and writes."""
