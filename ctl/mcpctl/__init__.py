"""The small client: `mcpctl attach` hands its descriptors to the agent, every other command asks it things.

`wire` and `shapes` are the contract with the daemon, which imports nothing else from here.
"""
