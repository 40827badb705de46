"""A client of 2026-07-28 in front of a server with a handshake and a session.

In the order in which a request meets them: `requests` (what it says), `session` (opened by the first one), `levels`
(log messages), `listens` (`subscriptions/listen`), `exchanges` (everything else), `results` (what comes back). What
the server asks meanwhile are `questions`: they stop an exchange, which waits in `parking`, or are `unplaced`. `sides`
is the way out, to client and server; `timers` knows what is due. `bridge` is the table that joins them.
"""
