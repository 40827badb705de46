"""TCP (RFC 9293), active open: one `Connection` each.

connection.py     the state machine
receiver.py       what comes in: order, window, what SACK tells; reassembly.py keeps what is early
sender.py         what goes out, and when; send_buffer.py keeps it until it is acknowledged
  scoreboard.py   what is in flight (RFC 6675); rack.py finds what is lost (RFC 8985)
  allowance.py    how much may be sent; congestion.py: CUBIC (RFC 9438), proportional rate reduction (RFC 6937)
  rto.py          how long to wait (RFC 6298)
state.py          states and what leads from one to another; handshake.py what is agreed on
segment.py        the bytes; sequence.py the numbers
"""
