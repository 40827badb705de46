"""The far end: a stdio server behind HTTP, for many clients, of every revision of MCP.

    serve.py          composition root: sockets, the order of starting and stopping
    asgi.py           the same within another application; http2.py: HTTP/2, by way of it
    front.py          which request goes where
    guard.py oauth.py who may speak at all; options.py: what is asked for on the command line
    streamable.py     sessions of the legacy revisions      \
    modern.py         2026-07-28: each request by itself     |  one file a way of speaking
    http_sse.py       2024-11-05                             |
    fly_dialect.py    what `fly mcp proxy` speaks           /
    one_stream.py     what the last two have in common
    streams.py        what a client hears, kept for a while so that it can be heard again
    conversation.py   one process of the server, reached through the layers of `sessions`
    children.py       how many processes there may be
    affinity.py       session ids that name the machine, and replays to it
    pulse.py          what is done every few seconds; health.py; figures.py
"""
