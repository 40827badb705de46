"""How bytes get to a server, one file per way.

A tunnel is a module with `reaches(host) -> bool` and `async open_stream(host, port) -> trio.abc.Stream`; TLS is laid
over it here. `direct` is asked last: it reaches everything.
"""
