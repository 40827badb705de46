"""trio: each file owns one kind of I/O and pumps the protocols."""
