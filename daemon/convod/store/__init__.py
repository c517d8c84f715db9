"""What survives: `database` keeps sessions, events and search in SQLite, or `postgres` in PostgreSQL; `spool` keeps
audio in files.

`base` says what the rest of the daemon may ask of it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from convod.store.base import (
    BY_USER,
    AlreadyStored,
    Asked,
    Asking,
    Delivery,
    Held,
    Holder,
    InDoubt,
    LeaseLost,
    Leases,
    Member,
    Note,
    Record,
    Refining,
    SpeakerNames,
    Store,
    StoreAway,
    StoredVoice,
    StoreFailed,
    TookTooLong,
    TooMany,
)
from convod.store.database import Database, backup
from convod.store.sessions import SessionStore
from convod.store.spool import NoRoom, OverQuota, Spool, SpoolFailed
from convod.store.usage import OwnerFull, Usage

if TYPE_CHECKING:
    from convod.store.postgres import PostgresDatabase

__all__ = [
    "BY_USER",
    "AlreadyStored",
    "Asked",
    "Asking",
    "Database",
    "Delivery",
    "Held",
    "Holder",
    "InDoubt",
    "LeaseLost",
    "Leases",
    "Member",
    "NoRoom",
    "Note",
    "OverQuota",
    "OwnerFull",
    "Record",
    "Refining",
    "SessionStore",
    "SpeakerNames",
    "Spool",
    "SpoolFailed",
    "Store",
    "StoreAway",
    "StoreFailed",
    "StoredVoice",
    "TooMany",
    "TookTooLong",
    "Usage",
    "backup",
    "database_at",
]


def database_at(
    url: str, path: Path, *, durable: bool = False, alone: bool = False, member: Member | None = None
) -> Database | PostgresDatabase:
    """The database at an address of PostgreSQL, as one of several convods; if that is "", the file at `path`.

    Raises:
        StoreFailed: it is no such address, or there is no client for it.
    """
    if not url:
        return Database(path, durable=durable, alone=alone)
    if not is_address(url):
        raise StoreFailed('store.url is no address of PostgreSQL: expected postgresql://USER@HOST/DATABASE, or ""')
    try:
        from convod.store.postgres import PostgresDatabase
    except ImportError as error:
        raise StoreFailed("PostgreSQL needs a client that is not here: pip install 'convo[cluster]'") from error
    return PostgresDatabase(url, durable=durable, alone=alone, member=member)


def is_address(text: str) -> bool:
    """Whether a text is meant as an address of PostgreSQL."""
    return text.startswith(("postgresql://", "postgres://"))
