"""Sans-IO cores: bytes in, events out. No I/O, no clock, no randomness, no logging.

* `jsonrpc`   one message: envelope, ids, our own messages
* `splice`    the id replaced, added or found in raw text
* `parts`     the members of params, results and errors that we look at
* `ndjson`    lines of the stdio transport
* `sse`       server-sent events
* `http1`     requests and responses of HTTP/1.1, client side
* `content`   content codings of response bodies
* `excerpt`   what is kept of something too long to keep
* `mcp`       rules of MCP itself
* `wireguard` datagrams in, packets out
"""
