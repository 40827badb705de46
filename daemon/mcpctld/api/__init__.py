"""The control API: HTTP over `control.sock`, served by quart-trio on hypercorn.

`routes` is the table of everything it can do; `serve` is the only door in. Importing that costs
about a quarter of a second, so the daemon does it when the first client connects; this package
itself imports nothing.
"""
