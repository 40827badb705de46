"""DNS, client side: names.py and message.py are the bytes, resolver.py asks."""
