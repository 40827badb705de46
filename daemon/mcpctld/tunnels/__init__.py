"""How bytes get to a server, one file per way.

* `origin`  opens a stream to an origin: chooses the way, lays TLS over it
* `direct`  plain TCP from this machine
* `proxy`   through an HTTP proxy
* `tls`     what is laid over any of them
"""
