"""A session's life: created, heard, transcribed, summarised, finished.

`transcriber` decides (sans-IO), `feed` carries events to who is attached, `session` drives, `live` and `file` differ in
where audio comes from, `manager` knows them all.
"""

from convod.sessions.feed import Subscription
from convod.sessions.manager import Manager
from convod.sessions.session import Refused, Session

__all__ = ["Manager", "Refused", "Session", "Subscription"]
