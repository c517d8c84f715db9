"""What survives: `database` keeps sessions, events and search in SQLite, `spool` keeps audio in files.

`base` says what the rest of the daemon may ask of it.
"""

from convod.store.base import BY_USER, Record, SpeakerNames, Store, StoredVoice, StoreFailed, TookTooLong, TooMany
from convod.store.database import Database, backup
from convod.store.sessions import SessionStore
from convod.store.spool import NoRoom, OverQuota, Spool, SpoolFailed
from convod.store.usage import OwnerFull, Usage

__all__ = [
    "BY_USER",
    "Database",
    "NoRoom",
    "OverQuota",
    "OwnerFull",
    "Record",
    "SessionStore",
    "SpeakerNames",
    "Spool",
    "SpoolFailed",
    "Store",
    "StoreFailed",
    "StoredVoice",
    "TooMany",
    "TookTooLong",
    "Usage",
    "backup",
]
