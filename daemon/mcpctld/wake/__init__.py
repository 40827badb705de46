"""When a server's machine should be awake: a pure plan, the driver that carries it out, the ledger of its seconds."""
