"""The HTTP/1.1 client of the data path, over any stream.

* `request`     what is asked, who is told the answer, and the handle to give it up with
* `connection`  one connection: one exchange at a time, one reader task for its whole life
* `witness`     what the kernel knows of a connection: whether a request can have arrived
* `pool`        the connections to one origin, and the requests that wait for one
* `alarm`       one task for many deadlines
* `client`      the pools of all origins

Answers come by callback, inside the reader's task: no task is made for a call.
"""
