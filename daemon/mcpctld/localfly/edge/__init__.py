"""The proxy of the local Fly: what fly-proxy does between clients and machines, on one port of loopback.

What is decided, without I/O:

* `names`        whose request it is, by `Host`
* `settings`     what a machine's configuration says of its service
* `routing`      which machine gets a request, or is to be started for it
* `replay`       `fly-replay`: what an answer says; `ways` where it leads; `regions`; `remembering` the replay cache
* `headers`      what is added to requests and answers, and taken away
* `autostop`     which machine may rest

What is done:

* `serve`        starts it all
* `proxying`     a client's connection; `journey` one of its requests; `attempt` that request with one machine
* `client` `link`    the two connections of an attempt
* `finding`      a machine for a request; `holding` starts it while requests wait; `loads` who has how much to do
* `resting`      stops or suspends what nobody uses
"""
