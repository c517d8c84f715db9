"""Windows of audio to workers on other machines, and their results back, through a Redis. `lanes` is the daemon's side,
`worker` the other one; `members`, `wire` and `estimate` are shared and do no I/O.
"""
