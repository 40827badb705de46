"""The HTTP/1.1 client of the data path, over any stream.

* `request`     what is asked, and who is told the answer
* `connection`  one connection: one exchange at a time, one reader task for its whole life
* `pool`        the connections to one origin, and the requests that wait for one
* `client`      the pools of all origins

Answers come by callback, inside the reader's task: no task is made for a call.
"""
