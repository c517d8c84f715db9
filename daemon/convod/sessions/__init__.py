"""A session's life: created, transcribed, summarised, finished.

`session` drives it; `live` and `file` differ in where audio comes from. `journal` stores its events, `feed` delivers
them. `registry` runs all sessions, and `manager` does what clients ask of them.
"""

from convod.sessions.feed import Subscription
from convod.sessions.manager import Manager
from convod.sessions.session import Refused, Session

__all__ = ["Manager", "Refused", "Session", "Subscription"]
