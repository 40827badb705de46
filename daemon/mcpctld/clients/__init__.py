"""The config files of MCP clients, as the daemon sees them: watched, never written.

`seen.py` is what is known, and small; `watching.py` looks, and is loaded when the daemon stands. What `mcpctl` knows of
clients it knows here too. One entry is put back where its client wiped it, by a process of `mcpctl` (`put_back.py`).
"""
