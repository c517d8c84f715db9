"""Windows of audio to workers on other machines and their results back, by way of a Redis: `lanes` is the daemon's
side, `worker` the other one, `members`, `wire` and `estimate` are what both agree on, without I/O.
"""
