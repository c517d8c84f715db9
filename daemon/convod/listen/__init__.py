"""Bytes from a client to requests, events back to bytes: `unix` and `websocket` listen, `serve` holds a connection,
`requests` answers, `auth` says whose it is.
"""
