"""One session per attached client, and the bus that tells the rest of the daemon about them."""
