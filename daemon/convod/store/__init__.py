"""What survives: `database` keeps sessions, events and search in SQLite, `spool` keeps audio in files."""

from convod.store.database import Database, StoreFailed
from convod.store.sessions import Record, SessionStore
from convod.store.spool import NoRoom, Spool

__all__ = ["Database", "NoRoom", "Record", "SessionStore", "Spool", "StoreFailed"]
