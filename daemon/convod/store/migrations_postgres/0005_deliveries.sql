-- What migrations/0008 makes in SQLite: ends of sessions that hooks must still tell of, each by one convod.

CREATE TABLE deliveries (
    session TEXT COLLATE "C" PRIMARY KEY REFERENCES sessions (id) ON DELETE CASCADE,
    seq BIGINT NOT NULL,
    since DOUBLE PRECISION NOT NULL,
    epoch BIGINT NOT NULL DEFAULT 0
);
