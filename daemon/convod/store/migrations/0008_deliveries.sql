-- Ends of sessions that hooks must still tell of: noted in the transaction that ends the session.

CREATE TABLE deliveries (
    session TEXT PRIMARY KEY REFERENCES sessions (id) ON DELETE CASCADE,
    seq INTEGER NOT NULL,                   -- of the event that ended it
    since REAL NOT NULL,                    -- Unix seconds
    epoch INTEGER NOT NULL DEFAULT 0        -- of the convod that tells; 0: the only one
) STRICT, WITHOUT ROWID;
