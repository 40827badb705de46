"""When a server's machine should be awake: a pure plan, the driver that carries it out, the ledger of its seconds.

`plan` decides (no I/O: time and events in, actions out), with `states` as its words, `schedule` for the hours of
`wake_at`, `learning` for how long a machine takes to wake. `watch` carries the plan of one server out with what
`machines` asks of a Fly (`fly_machines` is the real one), and is what sessions see; `engine` knows all of them.
`chronicle` tells what happens, `ledger` counts, `records` keeps.
"""
