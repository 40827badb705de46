"""How bytes get to a server, one file per way.

* `origin`  opens a stream to an origin: chooses the way, lays TLS over it
* `direct`  plain TCP from this machine
* `proxy`   through an HTTP proxy
* `tls`     what is laid over any of them
* `choice`  which tunnel leads to a host; each is opened when it is needed
* `wireguard`  one such tunnel: `assembly` makes its parts from a `wg-quick` file, `names` asks the resolver behind it,
  `eyeballs` connects to the first of several addresses that answers
* `fly`     its settings by Fly's API: `peers` is what is asked there
* `flyctl_agent`  the tunnel that flyctl has
"""
