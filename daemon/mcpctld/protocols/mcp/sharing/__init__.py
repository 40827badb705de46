"""Several clients on one session with one server process, which knows of one client only.

In the order to read: `session` is the whole of it; `calls`, `handshake`, `questions` and `wishes` are its books.
"""
