-- What the daemon has to remember about itself, such as when it last saw the clock.

CREATE TABLE notes (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
