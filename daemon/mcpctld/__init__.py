"""The resident agent. Read it top down, the way a message goes:

* `run`        builds every object and owns the nursery tree
* `api`        the control API on `control.sock`
* `sessions`   one per attached client: its descriptors, its calls in flight
* `upstreams`  how an MCP server is spoken to, one file per transport
* `tunnels`    how bytes get there, one file per way
* `config`     our own files, secrets
* `drivers`    trio: sockets, processes, HTTP, file watching
* `protocols`  sans-IO: JSON-RPC, framing, HTTP/1.1 (no clock, no I/O)
* `model`, `errors`  the nouns and what can go wrong
"""
