"""Turns bytes from a client into requests, and events back into bytes.

`unix` and `front` accept connections, `websocket` carries one as `link` says, `serve` handles it, `requests` answers,
`auth` says whose it is, and `limits` how many there may be.
"""
