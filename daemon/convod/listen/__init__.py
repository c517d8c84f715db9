"""Turn bytes from clients into requests, and events back into bytes.

`unix` and `tcp` accept connections, `websocket` carries one (see `link`), `serve` handles it, `requests` answers,
`auth` decides whose it is, and `limits` how many there may be.
"""
