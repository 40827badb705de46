"""A Fly of our own on loopback: the Machines API, machines that are local processes, a proxy that wakes them."""
