"""What the app decides between its screens: the link, the session that is spoken, what is deleted, where one is.

In: what somebody wants, what workers said. Out: calls of workers, screens that are pushed and told. Nothing here draws.
"""
