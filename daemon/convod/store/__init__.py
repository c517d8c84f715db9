"""What survives: `database` keeps sessions, events and search in SQLite, `spool` keeps audio in files.

`base` says what the rest of the daemon may ask of it.
"""

from convod.store.base import Record, Store, StoreFailed
from convod.store.database import Database, backup
from convod.store.sessions import SessionStore
from convod.store.spool import NoRoom, OverQuota, Spool, SpoolFailed

__all__ = [
    "Database",
    "NoRoom",
    "OverQuota",
    "Record",
    "SessionStore",
    "Spool",
    "SpoolFailed",
    "Store",
    "StoreFailed",
    "backup",
]
