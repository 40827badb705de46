"""What an attached session costs, measured beside other shims in one interleaved run.

* `echo_server`  the MCP server under test, a process of its own
* `install`      puts the rivals and our own wheel into `.rivals/`
* `contenders`   how each one is started; for ours, the daemon too
* `messages`     the JSON-RPC lines that the benchmark's client writes
* `links`        the client: one attached session over pipes, or over a bare socket (the floor)
* `processes`    starting and ending process groups, their memory and CPU from `/proc`
* `quiet`        how much of the machine somebody else is using
* `measures`     one function for each thing measured
* `figures`      samples in, percentiles out
* `targets`      what the figures ought to be, as ratios
* `report`       Markdown and JSON

Run it with `python -m benchmarks`. Linux only: memory and CPU are read from `/proc`.
"""
