"""A client with a handshake meets a server without one: MCP up to 2025-11-25 to MCP 2026-07-28.

`bridge` is the whole, the others are its parts:

* `initialize`  the client's `initialize` and the server's discovery, each as the other side knows it
* `envelope`    what each request carries, and what results and notifications must not
* `schemas`     tools whose output is not an object
* `errors`      what the server's errors are to a client that does not know their codes
* `calls`       the requests that the server works on
* `mrtr`        questions of the server within a request ("Multi Round-Trip Requests")
* `listens`     `subscriptions/listen`, behind subscriptions and `list_changed`
* `batches`     requests that came in one array, and are answered in one
* `outbound`    how messages are put to either side
* `pauses`      pauses that grow
"""
